//! Numbers as people read them.

/// Puts commas between the thousands of a printed number: `1234567.89` becomes `1,234,567.89`.
pub fn group_thousands(digits: &str) -> String {
    let whole_length = digits.find('.').unwrap_or(digits.len());
    let sign_length = usize::from(digits.starts_with(['-', '+']));
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > sign_length && index < whole_length && (whole_length - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A count with commas between the thousands.
pub fn thousands(count: u64) -> String {
    group_thousands(&count.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        for (count, expected) in [(0, "0"), (999, "999"), (1000, "1,000"), (51_757_711_360, "51,757,711,360")]
        {
            assert_eq!(thousands(count), expected);
        }
        assert_eq!(group_thousands("-1234.5678"), "-1,234.5678");
    }
}
