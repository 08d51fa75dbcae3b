//! From library errors to documented exit codes. Exit codes are an interface: scripts rely on them.

use std::fmt;

/// Why the program stopped, as its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCode {
    /// Everything asked for was done.
    Fine,
    /// A fault of the program itself.
    Internal,
    /// The arguments or settings make no sense, or a device is not there.
    Usage,
    /// A rule of the challenge, or of a submission archive, is not met.
    RulesNotMet,
    /// Data is missing, unreadable or fails its checksum.
    Data,
    /// The network failed.
    Network,
    /// No sample was accepted, or the measurement is not valid although `--require-valid` was given.
    NoValidMeasurement,
    /// Stopped by SIGINT (Ctrl-C); the state is saved.
    Interrupted,
    /// Stopped by SIGTERM; the state is saved.
    Terminated,
}

impl ExitCode {
    /// The number the operating system sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Internal => 1,
            Self::Usage => 2,
            Self::RulesNotMet => 3,
            Self::Data => 4,
            Self::Network => 5,
            Self::NoValidMeasurement => 6,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }
}

/// An error on its way out of the program: what happened, and the exit code it means.
#[derive(Debug)]
pub struct CliError {
    exit: ExitCode,
    source: anyhow::Error,
}

impl CliError {
    /// An error of the given class.
    pub fn new(exit: ExitCode, source: impl Into<anyhow::Error>) -> Self {
        Self {
            exit,
            source: source.into(),
        }
    }

    /// The arguments make no sense; `message` says what is wrong and what would be right.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self {
            exit: ExitCode::Usage,
            source: anyhow::anyhow!("{message}"),
        }
    }

    /// The data is missing or wrong; `message` says what, where, and what to do.
    pub fn data(message: impl fmt::Display) -> Self {
        Self {
            exit: ExitCode::Data,
            source: anyhow::anyhow!("{message}"),
        }
    }

    /// Says what was being done when the error came up.
    #[must_use]
    pub fn context(self, doing: impl fmt::Display + Send + Sync + 'static) -> Self {
        Self {
            exit: self.exit,
            source: self.source.context(doing),
        }
    }

    /// The exit code it means.
    pub fn exit_code(&self) -> ExitCode {
        self.exit
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The alternate form of anyhow prints the whole chain on one line.
        write!(f, "{:#}", self.source)
    }
}

/// Gives each library error its exit code. A new error type is a new line here.
macro_rules! exit_codes {
    ($($error:ty => $exit:ident),+ $(,)?) => {
        $(impl From<$error> for CliError {
            fn from(error: $error) -> Self {
                Self::new(ExitCode::$exit, error)
            }
        })+
    };
}

exit_codes! {
    std::io::Error => Internal,
    crate::fsio::Error => Data,
    crate::weights::Error => Data,
    crate::submission::Error => Data,
    crate::weights::StrictError => Data,
}
