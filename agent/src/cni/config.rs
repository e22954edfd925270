//! The network's configuration on standard input.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use podgate_datapath::DEFAULT_BPFFS;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::conflist::Json;
use super::failure::{Code, Failure};
use crate::cli::{DEFAULT_SOCKET, bindings};

/// The versions of the specification that are spoken. Their results have the same form.
pub(crate) const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", NEWEST];

/// The newest of them.
pub(crate) const NEWEST: &str = "1.1.0";

/// The longest input in bytes. The largest results have a few kilobytes.
pub(crate) const MAX_INPUT: u64 = 1 << 20;

/// What becomes of a pod that is wired while no agent answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum WhenAgentDown {
    /// It does not start; the runtime tries again
    Fail,
    /// It starts and is not isolated until the agent is back
    Allow,
    /// It gets the policies that were last known for it, else none but its node may reach it
    #[default]
    LastKnown,
}

/// Our entry in a network's list of plugins, without what libcni adds to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Settings {
    /// What becomes of a pod that is wired while no agent answers.
    pub(crate) when_agent_down: WhenAgentDown,
    /// The agent's admin socket, where that is not the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) socket: Option<PathBuf>,
    /// Where the agent pins, where that is not the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bpffs: Option<PathBuf>,
    /// The agent's file of bindings, where that is not the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bindings: Option<PathBuf>,
    /// For how many seconds after the node was booted an agent is expected to come, where that is not the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) boot_grace: Option<u32>,
}

/// The default of `--boot-grace`, in seconds: an agent comes with the node's first pods.
pub(crate) const BOOT_GRACE: u32 = 120;

impl Settings {
    /// The entry in a network's list of plugins.
    ///
    /// # Errors
    /// A path is not UTF-8.
    pub(crate) fn entry(&self, name: &str) -> serde_json::Result<Json> {
        let mut entry = serde_json::json!({ "type": name });
        if let (Value::Object(fields), Value::Object(settings)) = (&mut entry, serde_json::to_value(self)?) {
            fields.extend(settings);
        }
        serde_json::from_value(entry)
    }

    /// The agent's admin socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| DEFAULT_SOCKET.into())
    }

    /// Where the agent pins.
    pub(crate) fn bpffs(&self) -> PathBuf {
        self.bpffs.clone().unwrap_or_else(|| DEFAULT_BPFFS.into())
    }

    /// For how long after the node was booted an agent is expected to come.
    pub(crate) fn boot_grace(&self) -> Duration {
        Duration::from_secs(self.boot_grace.unwrap_or(BOOT_GRACE).into())
    }

    /// The agent's file of bindings.
    pub(crate) fn bindings(&self) -> PathBuf {
        bindings(self.bindings.as_ref(), &self.socket())
    }
}

/// A network's configuration, as far as it matters here.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    /// The version of the specification that the runtime speaks.
    pub(crate) version: String,
    /// Our own settings.
    pub(crate) settings: Settings,
    /// What the plugins before this one have done.
    pub(crate) previous: Option<Value>,
}

impl Config {
    /// Reads a configuration.
    ///
    /// # Errors
    /// It is no JSON object, of a version that is not spoken, or its settings make no sense.
    pub(crate) fn parse(input: &[u8]) -> Result<Self, Failure> {
        let mut object = object(input)?;
        let version = version(&object)?;
        if !VERSIONS.contains(&version.as_str()) {
            let known = VERSIONS.join(", ");
            let message = format!("version {version:?} of CNI is not supported, only {known}");
            return Err(Failure::new(Code::IncompatibleVersion, message));
        }
        let previous = object.as_object_mut().and_then(|fields| fields.remove("prevResult"));
        let settings = serde_json::from_value(object).map_err(|error| {
            Failure::new(Code::InvalidConfig, "the plugin's configuration makes no sense").details(error)
        })?;
        Ok(Self { version, settings, previous: previous.filter(|value| !value.is_null()) })
    }
}

/// The version that an input names, if it is well-formed at all.
pub(crate) fn version_of(input: &[u8]) -> Option<String> {
    object(input).and_then(|object| version(&object)).ok().filter(|version| VERSIONS.contains(&version.as_str()))
}

fn object(input: &[u8]) -> Result<Value, Failure> {
    if input.len() as u64 > MAX_INPUT {
        return Err(Failure::new(Code::Undecodable, format!("the configuration has more than {MAX_INPUT} bytes")));
    }
    let value: Value = serde_json::from_slice(input)
        .map_err(|error| Failure::new(Code::Undecodable, "the configuration is no JSON").details(error))?;
    if value.is_object() { Ok(value) } else { Err(Failure::new(Code::Undecodable, "the configuration is no object")) }
}

/// A configuration without a version is of one before all that are spoken.
fn version(object: &Value) -> Result<String, Failure> {
    match &object["cniVersion"] {
        Value::Null => Ok("0.1.0".to_owned()),
        Value::String(version) => Ok(version.clone()),
        _ => Err(Failure::new(Code::Undecodable, "cniVersion is no string")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    fn refused(input: &str) -> (Code, String) {
        let failure = Config::parse(input.as_bytes()).unwrap_err();
        (failure.code, failure.message)
    }

    #[test]
    fn every_version_is_read_with_settings_and_previous_result() {
        for version in VERSIONS {
            let input = json!({
                "cniVersion": version, "name": "pods", "type": "podgate-cni", "whenAgentDown": "fail",
                "socket": "/run/x.sock", "unknown": [1], "prevResult": {"cniVersion": version, "ips": []},
            });
            let settings = Settings {
                when_agent_down: WhenAgentDown::Fail,
                socket: Some("/run/x.sock".into()),
                ..Settings::default()
            };
            let previous = Some(json!({"cniVersion": version, "ips": []}));
            let expected = Config { version: version.to_owned(), settings, previous };
            assert_eq!(Config::parse(input.to_string().as_bytes()), Ok(expected));
        }
    }

    #[test]
    fn settings_that_are_left_out_are_the_agents_defaults() {
        let config = Config::parse(br#"{"cniVersion": "1.0.0", "prevResult": null}"#).unwrap();
        assert_eq!((config.previous, config.settings.when_agent_down), (None, WhenAgentDown::LastKnown));
        let settings = Settings { socket: Some("/a/b.sock".into()), ..Settings::default() };
        assert_eq!(settings.bindings(), Path::new("/a/b.bindings"));
        assert_eq!(serde_json::to_value(Settings::default()).unwrap(), json!({"whenAgentDown": "last-known"}));
    }

    #[test]
    fn what_is_no_configuration_is_refused() {
        let deep = format!(r#"{{"cniVersion":"1.0.0","x":{}{}}}"#, "[".repeat(5000), "]".repeat(5000));
        let large = format!(r#"{{"cniVersion":"1.0.0","x":"{}"}}"#, "y".repeat(MAX_INPUT as usize));
        let cases = [
            ("", Code::Undecodable),
            ("\u{0}", Code::Undecodable),
            ("[]", Code::Undecodable),
            (r#"{"cniVersion":"1.0.0""#, Code::Undecodable),
            (r#"{"cniVersion":1}"#, Code::Undecodable),
            (&deep, Code::Undecodable),
            (&large, Code::Undecodable),
            ("{}", Code::IncompatibleVersion),
            (r#"{"cniVersion":"0.2.0"}"#, Code::IncompatibleVersion),
            (r#"{"cniVersion":"2.0.0"}"#, Code::IncompatibleVersion),
            (r#"{"cniVersion":"1.0.0","whenAgentDown":"maybe"}"#, Code::InvalidConfig),
            (r#"{"cniVersion":"1.0.0","socket":{}}"#, Code::InvalidConfig),
        ];
        for (input, code) in cases {
            assert_eq!(refused(input).0, code, "{}", &input[..input.len().min(60)]);
        }
    }

    #[test]
    fn an_answer_is_of_the_version_that_was_asked_for_where_that_is_spoken() {
        assert_eq!(version_of(br#"{"cniVersion":"0.4.0"}"#), Some("0.4.0".to_owned()));
        assert_eq!(version_of(br#"{"cniVersion":"9.0.0"}"#), None);
        assert_eq!(version_of(b"?"), None);
    }
}
