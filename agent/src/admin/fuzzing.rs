//! What the fuzz targets reach of the admin socket.

use super::protocol::{Request, VERSION, parse_request};

/// Reads a line: a request means the same when it is written and read again, and the answer to any other line is not
/// many times as long.
pub(crate) fn request(line: &[u8]) {
    match parse_request(line) {
        Ok(command) => {
            let written = serde_json::to_vec(&Request { version: VERSION, request: command.clone() });
            let read = written.map_err(|error| error.to_string()).and_then(|line| parse_request(&line));
            assert_eq!(read, Ok(command));
        }
        Err(answer) => assert!(answer.len() <= 500 + 16 * line.len(), "{answer}"),
    }
}
