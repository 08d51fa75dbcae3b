//! Numbers and Markdown tables for people.

pub(super) use crate::text::{group_thousands, thousands as count};

/// `1 image`, `2 images`.
pub(super) fn plural(n: usize, noun: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{n} {noun}{s}")
}

/// A time span: milliseconds are noise to a reader of minutes.
pub(super) fn seconds(value: f64) -> String {
    match value {
        v if v < 10.0 => format!("{v:.2} s"),
        v if v < 120.0 => format!("{v:.0} s"),
        v if v < 7200.0 => format!("{:.1} min", v / 60.0),
        v => format!("{:.1} h", v / 3600.0),
    }
}

/// Bytes as MiB, or as bytes when that would be nothing.
pub(super) fn mebibytes(bytes: u64) -> String {
    if bytes < 10_240 {
        format!("{} B", count(bytes))
    } else {
        format!("{:.2} MiB", bytes as f64 / 1_048_576.0)
    }
}

/// Text that shows as written inside a Markdown table or sentence: one line, no cell ends, and outside code spans no markup.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    // A code span needs its closing mark; an odd one out is an ordinary character.
    let spans = text.matches('`').count() / 2;
    let (mut marks, mut in_code) = (0, false);
    for character in text.chars() {
        match character {
            '`' if marks < 2 * spans => {
                marks += 1;
                in_code = !in_code;
                escaped.push('`');
            }
            '|' => escaped.push_str("\\|"),
            '\n' | '\r' | '\t' => escaped.push(' '),
            '<' | '*' | '[' | '`' if !in_code => escaped.extend(['\\', character]),
            other => escaped.push(other),
        }
    }
    escaped
}

/// How a column is aligned.
#[derive(Clone, Copy)]
pub(super) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A Markdown table in which every line has every cell.
pub(super) struct Grid {
    columns: usize,
    text: String,
}

impl Grid {
    /// A table with these column heads.
    pub(super) fn new(columns: &[(&str, Align)]) -> Self {
        let mut grid = Self { columns: columns.len(), text: String::new() };
        grid.push(columns.iter().map(|(title, _)| (*title).to_owned()));
        let rules = columns.iter().map(|(_, align)| match align {
            Align::Left => "---".to_owned(),
            Align::Right => "---:".to_owned(),
        });
        grid.push(rules);
        grid
    }

    /// Adds a line; cells that are missing are empty, cells too many are dropped.
    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.push(cells.iter().map(|cell| escape(cell)));
    }

    fn push(&mut self, cells: impl Iterator<Item = String>) {
        let mut cells: Vec<String> = cells.take(self.columns).collect();
        cells.resize(self.columns, String::new());
        self.text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }

    /// The table, with the empty line after it that Markdown needs.
    pub(super) fn finish(mut self) -> String {
        self.text.push('\n');
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_and_signs() {
        for (digits, grouped) in [
            ("0", "0"),
            ("999", "999"),
            ("1000", "1,000"),
            ("1234567.25", "1,234,567.25"),
            ("-123456", "-123,456"),
            ("+123", "+123"),
        ] {
            assert_eq!(group_thousands(digits), grouped);
        }
        assert_eq!(seconds(0.456), "0.46 s");
        assert_eq!(seconds(90.0), "90 s");
        assert_eq!(seconds(600.0), "10.0 min");
        assert_eq!(seconds(7200.0), "2.0 h");
        assert_eq!(mebibytes(1024), "1,024 B");
        assert_eq!(mebibytes(3_191_643), "3.04 MiB");
    }

    #[test]
    fn nothing_breaks_a_table() {
        assert_eq!(escape("a | b\nc"), "a \\| b c");
        assert_eq!(escape("<b>*x*"), "\\<b>\\*x\\*");
        assert_eq!(escape("`esr check --size <W>`"), "`esr check --size <W>`");
        assert_eq!(escape("odd ` one"), "odd \\` one");
        let mut grid = Grid::new(&[("a", Align::Left), ("b", Align::Right)]);
        grid.row(["x|y".to_owned()]);
        grid.row(["1".to_owned(), "2".to_owned(), "3".to_owned()]);
        assert_eq!(grid.finish(), "| a | b |\n| --- | ---: |\n| x\\|y |  |\n| 1 | 2 |\n\n");
    }
}
