//! What an image says of the sources that it was made from.

use anyhow::{Context, Result};
use xshell::cmd;

use crate::workspace::shell;

/// The state of the checkout.
pub(crate) struct Checkout {
    /// The commit.
    pub(crate) revision: String,
    /// When the commit was made, in the form of RFC 3339.
    pub(crate) created: String,
    /// The same in seconds since 1970.
    pub(crate) seconds: u64,
    /// What the binary says of itself behind its version: the commit, shortened, and its date.
    pub(crate) stamp: String,
}

impl Checkout {
    /// Asks git.
    pub(crate) fn look() -> Result<Self> {
        let shell = shell()?;
        let log =
            |format: &str| cmd!(shell, "git log -1 --format={format}").quiet().read().context("ask git for the commit");
        let changed = !cmd!(shell, "git status --porcelain").quiet().read().context("ask git for changes")?.is_empty();
        let mark = if changed { "-changed" } else { "" };
        let revision = log("%H")?;
        Ok(Self {
            stamp: format!("{}{mark} {}", &revision[..revision.len().min(12)], log("%cs")?),
            revision: revision + mark,
            created: log("%cI")?,
            seconds: log("%ct")?.parse().context("git tells the commit's time as a number")?,
        })
    }
}
