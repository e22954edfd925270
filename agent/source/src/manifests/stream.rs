//! What the command line reads that is no file: standard input, pipes, and addresses, which it doesn't read.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use super::open::MAX_BYTES;

/// Standard input, as a path of the command line.
pub(super) const STANDARD_INPUT: &str = "-";

/// The bytes that come through standard input or a pipe, or why they can't be had; `None`: this is neither. Waits for
/// as long as whoever writes there takes.
pub(super) fn bytes(path: &Path) -> Option<Result<Vec<u8>, String>> {
    if path == Path::new(STANDARD_INPUT) {
        return Some(read(io::stdin().lock()));
    }
    if ["http://", "https://"].iter().any(|scheme| path.to_string_lossy().starts_with(scheme)) {
        let message = "addresses are not read: expected a file, or what `curl -sSfL ADDRESS` prints, by -f -";
        return Some(Err(message.to_owned()));
    }
    let is_pipe = path.metadata().is_ok_and(|found| found.file_type().is_fifo() || found.file_type().is_char_device());
    is_pipe.then(|| read(File::open(path).map_err(|error| format!("can't be opened: {error}"))?))
}

fn read(from: impl Read) -> Result<Vec<u8>, String> {
    let mut bytes = vec![];
    from.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| format!("can't be read: {error}"))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("larger than {} MiB: expected less", MAX_BYTES >> 20));
    }
    Ok(bytes)
}
