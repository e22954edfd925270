//! What the fuzz targets reach of the plugin.

use std::collections::BTreeMap;

use serde_json::Value;

use super::NAME;
use super::call::{Attachment, Call};
use super::config::{Config, Settings, VERSIONS, version_of};
use super::conflist::{Json, Network};
use super::failure::Failure;
use super::result::Previous;

/// Reads a call as the plugin does: the variables of the runtime, one in each line, without their `CNI_`, and behind an
/// empty line the configuration.
pub(crate) fn call(bytes: &[u8]) {
    let end = bytes.windows(2).position(|window| window == b"\n\n").unwrap_or(bytes.len());
    let input = bytes.get(end + 2..).unwrap_or_default();
    let variables = String::from_utf8_lossy(&bytes[..end]);
    let variables: BTreeMap<&str, &str> = variables.lines().filter_map(|line| line.split_once('=')).collect();
    let variable = |name: &str| name.strip_prefix("CNI_").and_then(|name| variables.get(name)).map(ToString::to_string);
    match Call::parse(variable) {
        Ok(Call::Add(attachment) | Call::Check(attachment)) => assert_complete(&attachment),
        Ok(_) => {}
        Err(failure) => assert_said(&failure, bytes),
    }
    match Config::parse(input) {
        Ok(config) => configuration(&config, bytes),
        Err(failure) => assert_said(&failure, bytes),
    }
}

fn assert_complete(attachment: &Attachment) {
    assert!(!attachment.netns.as_os_str().is_empty() && !attachment.interface.is_empty());
    let half = |pod: &super::arguments::PodName| pod.namespace.is_empty() || pod.name.is_empty();
    assert!(!attachment.pod.as_ref().is_some_and(half));
}

/// Our settings mean the same when they are written and read again, and the previous result can be used.
fn configuration(config: &Config, bytes: &[u8]) {
    assert!(VERSIONS.contains(&config.version.as_str()));
    let mut written = config.settings.entry(NAME).and_then(serde_json::to_value).unwrap_or_default();
    written["cniVersion"] = config.version.as_str().into();
    let read = Config::parse(written.to_string().as_bytes());
    assert_eq!(read, Ok(Config { previous: None, ..config.clone() }));
    match Previous::parse(config.previous.as_ref()) {
        Ok(previous) => {
            let _addresses = previous.addresses("eth0");
            assert!(previous.host_interfaces().iter().all(|name| !name.is_empty()));
            assert!(config.previous.as_ref().is_some_and(Value::is_object), "the plugin hands it on with its version");
        }
        Err(failure) => assert_said(&failure, bytes),
    }
}

/// The runtime gets an object of a version that it can read, and not many times what it said itself.
fn assert_said(failure: &Failure, bytes: &[u8]) {
    let said = failure.json(version_of(bytes).as_deref());
    assert!(VERSIONS.iter().any(|version| said["cniVersion"] == *version), "{said}");
    assert!(said.to_string().len() <= 500 + 16 * bytes.len(), "{said}");
}

/// Puts the plugin's entry into a network's list and out of it.
pub(crate) fn networks(bytes: &[u8]) {
    let Ok(network) = Network::parse(bytes) else { return };
    let Ok(entry) = Settings::default().entry(NAME) else { return };
    let list = network.into_list();
    let with = list.clone().with_entry(&entry);
    assert_eq!(with.clone().with_entry(&entry), with);
    assert_eq!(with.clone().without_entry(), list.without_entry());
    let read = Network::parse(&with.contents());
    assert_eq!(read, Ok(with.clone()));
    assert_eq!(entries(&with, &entry), usize::from(with.has_plugins()));
}

/// How often the entry is in a list.
fn entries(network: &Network, entry: &Json) -> usize {
    let contents: Value = serde_json::from_slice(&network.contents()).unwrap_or_default();
    let entry = serde_json::to_value(entry).unwrap_or_default();
    let plugins = contents["plugins"].as_array();
    plugins.map_or(0, |plugins| plugins.iter().filter(|plugin| **plugin == entry).count())
}
