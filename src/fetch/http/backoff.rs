//! How long to wait before the next try.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant, SystemTime};

use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

use super::options::Options;
use super::progress::Progress;

/// The wait before retry number `retry` (from 0): twice as long each time up to the cap, the upper half of it random, so that many
/// clients that failed together do not come back together. `random` is from 0 to 1.
pub(super) fn backoff(options: &Options, retry: u32, random: f64) -> Duration {
    let doubled = options.backoff_base.saturating_mul(2u32.saturating_pow(retry));
    doubled.min(options.backoff_cap).mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
}

/// The wait before a retry, given what the server asked for.
pub(super) fn wait(options: &Options, retry: u32, retry_after: Option<Duration>) -> Duration {
    let asked = retry_after.unwrap_or_default().min(options.retry_after_cap);
    backoff(options, retry, random()).max(asked)
}

/// A number from 0 to 1 that differs from process to process and from call to call; not for secrets.
fn random() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 11;
    bits as f64 / (1u64 << 53) as f64
}

/// What a Retry-After header asks for: seconds, or a date. The date is taken relative to the server's own Date where it gives one,
/// so that neither clock has to be right; `now` stands in otherwise.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    let date = headers
        .get(DATE)
        .and_then(|date| date.to_str().ok())
        .and_then(|date| httpdate::parse_http_date(date).ok());
    Some(until.duration_since(date.unwrap_or(now)).unwrap_or_default())
}

/// Sleeps in short pieces, so that a signal ends it. Says whether the whole time passed.
pub(super) fn sleep(wait: Duration, progress: &dyn Progress) -> bool {
    const PIECE: Duration = Duration::from_millis(50);
    // Monotonic: setting the clock during the wait changes nothing.
    let start = Instant::now();
    loop {
        if progress.stopped() {
            return false;
        }
        match wait.checked_sub(start.elapsed()) {
            Some(left) if !left.is_zero() => std::thread::sleep(left.min(PIECE)),
            _ => return true,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let asked = |pairs: &[(&'static str, &str)]| retry_after(&headers(pairs), now);
        assert_eq!(asked(&[]), None);
        assert_eq!(asked(&[("retry-after", "7")]), Some(Duration::from_secs(7)));
        // RFC 9110's example date, Sun, 06 Nov 1994 08:49:37 GMT, is 784111777 seconds after 1970.
        let until = ("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT");
        assert_eq!(asked(&[until]), Some(Duration::from_secs(10)));
        assert_eq!(asked(&[until, ("date", "Sun, 06 Nov 1994 08:49:44 GMT")]), Some(Duration::from_secs(3)));
        assert_eq!(asked(&[("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT")]), Some(Duration::ZERO));
        for nonsense in ["", "-1", "soon", "1.5", "99999999999999999999999"] {
            assert_eq!(asked(&[("retry-after", nonsense)]), None, "{nonsense}");
        }
    }

    #[test]
    fn a_server_cannot_make_us_wait_for_ever() {
        let options = Options { retry_after_cap: Duration::from_secs(120), ..Options::default() };
        assert_eq!(wait(&options, 0, Some(Duration::from_secs(u64::MAX))), Duration::from_secs(120));
        assert!(wait(&options, 0, None) <= Duration::from_millis(500));
    }

    #[test]
    fn random_numbers_differ() {
        assert_ne!(random(), random());
    }

    proptest! {
        #[test]
        fn waits_double_within_their_bounds(retry in 0u32..100, random in 0f64..1.0) {
            let options = Options::default();
            let wait = backoff(&options, retry, random);
            let full = options.backoff_base.saturating_mul(2u32.saturating_pow(retry)).min(options.backoff_cap);
            prop_assert!(wait >= full / 2 && wait <= full, "{wait:?} of {full:?}");
        }
    }
}
