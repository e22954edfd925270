//! Lines that a client of the admin socket sends.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| podgate::fuzzing::admin_request(line));
