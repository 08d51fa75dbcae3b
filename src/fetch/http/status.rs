//! What each HTTP status means for a download. Source: RFC 9110 section 15 and the IANA registry of status codes.

use reqwest::StatusCode;

/// What is done about a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// 200: the whole file follows.
    Whole,
    /// 206: the part that was asked for follows.
    Part,
    /// 301, 302, 303, 307, 308: it is elsewhere.
    Redirect,
    /// 416: there is nothing at that place of the file.
    PastEnd,
    /// It may work later: tried again on the same URL.
    Transient,
    /// Trying again would not help: the next URL is tried.
    Refused,
}

/// The class of a status.
///
/// An unregistered code counts as the first of its hundred (RFC 9110 section 15): an unknown 5xx is as transient as 500. Of the
/// registered 5xx, those that speak of the request or of the machine between (501, 505, 506, 508, 510, 511) are refusals. 421 and
/// 425 ask for another connection and for patience.
pub fn class(status: u16) -> Class {
    match status {
        200 => Class::Whole,
        206 => Class::Part,
        301 | 302 | 303 | 307 | 308 => Class::Redirect,
        416 => Class::PastEnd,
        408 | 421 | 425 | 429 => Class::Transient,
        501 | 505 | 506 | 508 | 510 | 511 => Class::Refused,
        500..=599 => Class::Transient,
        _ => Class::Refused,
    }
}

/// A status in words, with what to do about it where that is known.
pub(super) fn in_words(status: u16) -> String {
    let name = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    let hint = match status {
        401 | 403 => "it may have to be fetched by hand after accepting its terms",
        404 | 410 => "it is not there any more",
        407 | 511 => "the network asks for a login",
        429 => "too many requests from here",
        _ => "",
    };
    match (name, hint) {
        (Some(name), "") => format!("{status} {name}"),
        (Some(name), hint) => format!("{status} {name}: {hint}"),
        (None, _) => format!("{status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_from_100_to_599_has_a_class() {
        let of = |wanted: Class| (100..600).filter(|status| class(*status) == wanted).collect::<Vec<u16>>();
        assert_eq!(of(Class::Whole), [200]);
        assert_eq!(of(Class::Part), [206]);
        assert_eq!(of(Class::Redirect), [301, 302, 303, 307, 308]);
        assert_eq!(of(Class::PastEnd), [416]);
        let refused_5xx = [501, 505, 506, 508, 510, 511];
        let transient: Vec<u16> = [408, 421, 425, 429]
            .into_iter()
            .chain((500..600).filter(|status| !refused_5xx.contains(status)))
            .collect();
        assert_eq!(of(Class::Transient), transient);
        assert_eq!(transient.len(), 4 + 94);
        // The rest, all 500 together: interim answers, other successes and redirects, and what cannot get better by waiting.
        let refused = of(Class::Refused);
        assert_eq!(refused.len(), 500 - 1 - 1 - 5 - 1 - 98);
        for status in [100, 101, 199, 201, 204, 205, 226, 299, 300, 304, 305, 306, 399] {
            assert!(refused.contains(&status), "{status}");
        }
        for status in
            [400, 401, 402, 403, 404, 405, 407, 410, 412, 413, 414, 418, 422, 423, 426, 431, 451, 499]
        {
            assert!(refused.contains(&status), "{status}");
        }
        assert!(refused_5xx.iter().all(|status| refused.contains(status)));
    }

    #[test]
    fn a_status_is_told_with_what_to_do() {
        assert_eq!(in_words(404), "404 Not Found: it is not there any more");
        assert_eq!(in_words(503), "503 Service Unavailable");
        assert_eq!(in_words(599), "599");
    }
}
