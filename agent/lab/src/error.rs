//! What can go wrong while a lab is built or used.

use std::fmt;
use std::io;

/// A failure of the lab itself. A probe that gets no answer is not one: that is a [`Seen`](crate::Seen).
#[derive(thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("{action}: {source}")]
    Io {
        /// What the lab was about to do.
        action: String,
        /// Why it could not.
        source: io::Error,
    },
    /// A program that the lab ran failed.
    #[error("`{command}` failed ({status}): {output}")]
    Command {
        /// The command line.
        command: String,
        /// Its exit status in words.
        status: String,
        /// What it printed.
        output: String,
    },
    /// Something did not become true in time.
    #[error("{0}")]
    Timeout(String),
    /// A program answered in a way that the lab does not understand.
    #[error("{0}")]
    Answer(String),
}

/// Shows the message: tests unwrap these, and a message reads better than a structure.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The result of everything in this crate that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// Says what was being done when an I/O error happened.
pub(crate) trait During<T> {
    fn during(self, action: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> During<T> for std::result::Result<T, E> {
    fn during(self, action: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::Io { action: action(), source: error.into() })
    }
}

/// Whether reading may simply be tried again: the time slice is over, or a signal came.
pub(crate) fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
