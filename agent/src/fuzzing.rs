//! What the fuzz targets reach of the binary.

use crate::{admin, cni};

/// Reads the variables and the configuration that a CNI runtime hands to the plugin.
///
/// # Panics
/// What is accepted can't be used, or what is said of the rest can't be read.
pub fn cni_call(bytes: &[u8]) {
    cni::fuzzing::call(bytes);
}

/// Reads a file of networks, and puts the plugin's entry into it and out of it.
///
/// # Panics
/// The entry stands in a place where it must not, more than once, or leaves something behind.
pub fn cni_networks(bytes: &[u8]) {
    cni::fuzzing::networks(bytes);
}

/// Reads a line of the admin socket.
///
/// # Panics
/// A request is read otherwise than it would be written, or the answer to another line is long.
pub fn admin_request(bytes: &[u8]) {
    admin::fuzzing::request(bytes);
}
