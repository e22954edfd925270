//! What commands print.

use std::io::{self, BufWriter, ErrorKind, Write};

use clap::ValueEnum;
use serde::{Serialize, Serializer as _};

/// How a command prints its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Writes a command's whole result. A reader that has had enough (`| head`) is no error.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    unless_read_enough(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()))
}

fn unless_read_enough(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Writes values as one list of indented JSON with a line end, each as it comes: all of them together may be larger than memory.
pub(crate) fn print_json_list<T: Serialize>(values: impl Iterator<Item = T>) -> anyhow::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let written = serde_json::Serializer::pretty(&mut out)
        .collect_seq(values)
        .map_err(io::Error::from)
        .and_then(|()| writeln!(out))
        .and_then(|()| out.flush());
    Ok(unless_read_enough(written)?)
}

/// Writes a value as indented JSON with a line end.
pub(crate) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    Ok(print(&text)?)
}
