//! Events of watches, as an API server sends them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use podgate_source::api::fuzzing::events;
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').filter(|line| is_possible(line)).collect();
    events(&lines.join(&b'\n'));
});

/// An API server gives every object a name, by which the object is known when it is deleted.
fn is_possible(line: &[u8]) -> bool {
    let event: Value = line.get(1..).and_then(|event| serde_json::from_slice(event).ok()).unwrap_or_default();
    event["object"].is_null() || event["object"]["metadata"]["name"].as_str().is_some_and(|name| !name.is_empty())
}
