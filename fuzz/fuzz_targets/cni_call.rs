//! What a CNI runtime hands to the plugin.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| podgate::fuzzing::cni_call(bytes));
