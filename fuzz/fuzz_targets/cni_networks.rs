//! The files of networks that the installer changes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| podgate::fuzzing::cni_networks(bytes));
