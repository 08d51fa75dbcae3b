//! Why a fact could not be had.

/// Why a manifest could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not what its typed view expects. Manifests are compiled in, so this is a fault of the program.
    #[error("`manifest/{file}` is not valid: {source}")]
    Invalid {
        /// The file's name.
        file: &'static str,
        /// Where and how it is wrong.
        source: Box<toml::de::Error>,
    },
    /// The file contradicts itself.
    #[error("`manifest/{file}` contradicts itself: {what}")]
    Inconsistent {
        /// The file's name.
        file: &'static str,
        /// What does not fit together.
        what: String,
    },
    /// No rules are known for this year.
    #[error("there are no rules for the year {year}; the years known are: {known}")]
    UnknownYear {
        /// The year asked for.
        year: u16,
        /// The years known, separated by commas.
        known: String,
    },
}
