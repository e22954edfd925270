//! Findings as SARIF 2.1.0, the format of code scanning services.
//! <https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>

use std::path::{Component, Path};

use serde_json::{Value, json};

use super::Entry;
use super::entry::rules;

const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// A log with one run. What is ignored is in it, as suppressed.
pub(super) fn log(entries: &[Entry], ignored: &[Entry]) -> Value {
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": driver()},
            "columnKind": "unicodeCodePoints",
            "results": entries.iter().chain(ignored).map(result).collect::<Vec<_>>(),
        }],
    })
}

fn driver() -> Value {
    let rule = |(name, about, severity): (&str, &str, podgate_judge::check::Severity)| {
        json!({
            "id": name,
            "shortDescription": {"text": about},
            "defaultConfiguration": {"level": severity.as_str()},
        })
    };
    json!({
        "name": "podgate",
        "semanticVersion": env!("CARGO_PKG_VERSION"),
        "informationUri": env!("CARGO_PKG_REPOSITORY"),
        "rules": rules().map(rule).collect::<Vec<_>>(),
    })
}

fn result(entry: &Entry) -> Value {
    let instead = entry.instead.as_ref().map(|instead| format!(". Instead: {instead}"));
    let yaml = entry.yaml.as_ref().map(|yaml| format!(":\n{yaml}"));
    let text = entry.why.clone() + &instead.unwrap_or_default() + &yaml.unwrap_or_default();
    let mut result = json!({
        "ruleId": entry.rule,
        "ruleIndex": rules().position(|(name, ..)| name == entry.rule),
        "level": entry.severity.as_str(),
        "message": {"text": text},
        "locations": [location(entry)],
    });
    if let Some(reason) = &entry.ignored {
        result["suppressions"] = json!([{"kind": "inSource", "justification": reason}]);
    }
    result
}

fn location(entry: &Entry) -> Value {
    let mut location = json!({});
    if let Some(file) = &entry.file {
        location["physicalLocation"] = json!({
            "artifactLocation": {"uri": uri(Path::new(file))},
            "region": {"startLine": entry.line.unwrap_or(1)},
        });
    }
    let names: Vec<_> = [&entry.object, &entry.field].into_iter().flatten().map(String::as_str).collect();
    if !names.is_empty() {
        location["logicalLocations"] = json!([{"fullyQualifiedName": names.join(": "), "kind": "object"}]);
    }
    location
}

/// A path as a reference: relative ones stay so, as code scanning services expect of files of a repository.
fn uri(path: &Path) -> String {
    let parts = path.components().filter(|part| !matches!(part, Component::CurDir | Component::RootDir));
    let parts: Vec<_> = parts.map(|part| encoded(part.as_os_str().as_encoded_bytes())).collect();
    let start = if path.is_absolute() { "file:///" } else { "" };
    start.to_owned() + &parts.join("/")
}

/// Percent-encoded but for what RFC 3986 calls unreserved.
fn encoded(bytes: &[u8]) -> String {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encode = |&byte: &u8| if unreserved(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    bytes.iter().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_references() {
        for (path, expected) in [
            ("net.yaml", "net.yaml"),
            ("./a b/ä.yaml", "a%20b/%C3%A4.yaml"),
            ("../net.yaml", "../net.yaml"),
            ("/etc/net:1.yaml", "file:///etc/net%3A1.yaml"),
        ] {
            assert_eq!(uri(Path::new(path)), expected);
        }
    }
}
