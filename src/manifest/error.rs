//! Why a manifest could not be used.

/// A fact file that does not have the form this program expects.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not TOML, or has unknown, missing or wrongly typed keys.
    #[error("`{file}` is not a valid manifest: {source}")]
    Toml {
        /// The file, relative to the repository.
        file: String,
        /// Where and how it is wrong.
        source: toml::de::Error,
    },
    /// It is well formed, but its facts contradict each other.
    #[error("`{file}` is not a valid manifest: {what}")]
    Invalid {
        /// The file, relative to the repository.
        file: String,
        /// Which fact, and what would be right.
        what: String,
    },
}
