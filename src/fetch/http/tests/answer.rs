use proptest::prelude::*;

use super::*;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect()
}

fn part(start: u64, end: u64, total_bytes: Option<u64>) -> Part {
    Part { range: start..end, total_bytes, validator: Some(Validator::Etag("\"a\"".to_owned())) }
}

#[test]
fn only_strong_validators_count() {
    let of = |pairs: &[(&'static str, &str)]| Validator::of(&headers(pairs));
    assert_eq!(of(&[("etag", "\"a-1\"")]), Some(Validator::Etag("\"a-1\"".to_owned())));
    for weak in ["W/\"a-1\"", "a-1", "\"\"", "\""] {
        assert_eq!(of(&[("etag", weak)]), None, "{weak}");
    }
    let (old, date) = ("Tue, 14 Feb 2017 01:58:09 GMT", "Tue, 14 Feb 2017 01:59:09 GMT");
    assert_eq!(of(&[("last-modified", old), ("date", date)]), Some(Validator::LastModified(old.to_owned())));
    assert_eq!(of(&[("last-modified", old)]), None, "without a date, nobody knows how old that is");
    assert_eq!(of(&[("last-modified", old), ("date", "Tue, 14 Feb 2017 01:59:08 GMT")]), None);
    assert_eq!(of(&[("last-modified", date), ("date", old)]), None, "from the future");
    assert_eq!(of(&[("etag", "W/\"x\""), ("last-modified", old), ("date", date)]), None);
}

#[test]
fn ranges_are_open_at_the_files_end() {
    assert_eq!(part(5, u64::MAX, None).header(), "bytes=5-");
    assert_eq!(part(5, 9, Some(9)).header(), "bytes=5-");
    assert_eq!(part(5, 8, Some(9)).header(), "bytes=5-7");
}

#[test]
fn only_the_very_range_is_taken() {
    let granted = |range: &str, part: &Part| granted(&headers(&[("content-range", range)]), part);
    assert_eq!(granted("bytes 5-8/9", &part(5, 9, Some(9))), Ok(9));
    assert_eq!(granted("bytes 5-6/9", &part(5, 7, Some(9))), Ok(9));
    assert_eq!(granted("bytes 5-8/9", &part(5, u64::MAX, None)), Ok(9));
    for wrong in [
        "bytes 4-8/9",
        "bytes 6-8/9",
        "bytes 5-7/9",
        "bytes 5-8/10",
        "bytes 5-9/10",
        "bytes 5-8/*",
        "bytes */9",
        "bytes 5-8",
        "octets 5-8/9",
        "bytes=5-8/9",
        "bytes 5-+8/9",
        "bytes 5-8/8",
        "bytes 8-5/9",
        "bytes 5-18446744073709551616/9",
        "",
    ] {
        let message = granted(wrong, &part(5, 9, Some(9))).unwrap_err();
        assert_eq!(message, format!("asked for `bytes 5-` of 9 bytes, it is `{wrong}`"));
    }
    let lying = headers(&[("content-range", "bytes 5-8/9"), ("content-length", "7")]);
    assert_eq!(
        super::granted(&lying, &part(5, 9, Some(9))).unwrap_err(),
        "its length is 7, its range `bytes 5-8/9`"
    );
}

proptest! {
    #[test]
    fn no_content_range_makes_it_panic(value in "[ -~]{0,40}", start in any::<u64>(), end in any::<u64>()) {
        if let Some((first, last, total)) = content_range(&value) {
            prop_assert!(first <= last && last < total);
        }
        let found = headers(&[("content-range", &value)]);
        let _ = granted(&found, &part(start, end, Some(end)));
        let _ = Validator::of(&headers(&[("etag", &value), ("last-modified", &value), ("date", &value)]));
    }
}
