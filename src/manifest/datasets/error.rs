//! Why a list of datasets cannot be used.

/// Why a list of datasets, or a name looked up in it, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read.
    #[error(transparent)]
    File(#[from] crate::fsio::Error),
    /// It is not TOML, or has unknown, missing or wrongly typed keys.
    #[error("`{file}` is not a valid list of datasets: {source}")]
    Syntax {
        /// The file.
        file: String,
        /// Where and how it is wrong.
        source: Box<toml::de::Error>,
    },
    /// It was written for a newer version of the program.
    #[error(
        "`{file}` has schema {found} of a list of datasets, this program reads {supported}: use a newer esr"
    )]
    NewerSchema {
        /// The file.
        file: String,
        /// The version in the file.
        found: u64,
        /// The newest version this program knows.
        supported: u64,
    },
    /// A value is not what it must be.
    #[error("`{file}`, {place}: `{key}` is {found}, expected {expected}")]
    Value {
        /// The file.
        file: String,
        /// Which entry, e.g. "archive `benchmark.tar`".
        place: String,
        /// Its key.
        key: String,
        /// What is there.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// Nobody knows a dataset or group of this name.
    #[error("there is no dataset or group named `{name}`{}\ngroups: {groups}\ndatasets: {datasets}", hint(.nearest.as_deref()))]
    UnknownName {
        /// What was asked for.
        name: String,
        /// The known name that looks most like it, if one does.
        nearest: Option<String>,
        /// The groups there are, separated by commas.
        groups: String,
        /// The datasets there are, separated by commas.
        datasets: String,
    },
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default()
}
