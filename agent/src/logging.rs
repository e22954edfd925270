//! Log lines on standard error: fields, not prose.

use std::io::{IsTerminal, stderr};

use anyhow::{Context, anyhow};
use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One JSON object per line
    Json,
}

/// Whoever wants to debug podgate does not want to read how aya relocates programs, unless they say so.
const QUIET: &str = "aya=info,aya_obj=info";

/// The target under which the eBPF programs log.
const DATAPATH: &str = "podgate_ebpf=trace";

/// Sends log lines to standard error from now on.
///
/// `datapath`: whether the programs' own messages are wanted, whatever the filter says.
///
/// # Errors
/// When the filter can't be parsed, naming the part that is wrong.
pub(crate) fn init(format: LogFormat, filter: Option<&str>, datapath: bool) -> anyhow::Result<()> {
    let mut filter = parse_filter(filter)?;
    if datapath {
        filter = filter.add_directive(DATAPATH.parse()?);
    }
    let builder = tracing_subscriber::fmt().with_writer(stderr).with_env_filter(filter);
    let result = match format {
        LogFormat::Text => builder.with_ansi(stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    result.map_err(|error| anyhow!(error)).context("cannot set up logging")
}

/// The filter that was asked for, else the one of `RUST_LOG`, else `info`.
fn parse_filter(filter: Option<&str>) -> anyhow::Result<EnvFilter> {
    let from_environment = std::env::var("RUST_LOG").ok();
    let text = filter.or(from_environment.as_deref()).filter(|text| !text.is_empty()).unwrap_or("info");
    // What follows for the same target counts instead.
    EnvFilter::try_new(format!("{QUIET},{text}"))
        .map_err(|error| anyhow!("--log-level: {text:?} is no log filter ({error}); try `info`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_by_target_are_understood_and_nonsense_is_named() {
        assert!(parse_filter(Some("info,podgate::drop=debug")).is_ok());
        let error = parse_filter(Some("podgate=loud")).expect_err("nonsense was accepted");
        assert!(error.to_string().contains("podgate=loud"), "{error}");
    }
}
