//! Errors as the CNI specification has them.

use std::fmt;

use serde_json::{Value, json};

use super::config::NEWEST;

/// Why a call failed. The numbers are the specification's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Code {
    /// The configuration is of a version of CNI that the plugin does not speak.
    IncompatibleVersion = 1,
    /// There is no such network namespace.
    UnknownContainer = 3,
    /// A variable is missing or makes no sense.
    InvalidEnvironment = 4,
    /// Reading or writing failed.
    Io = 5,
    /// The input can't be decoded.
    Undecodable = 6,
    /// The network's configuration makes no sense.
    InvalidConfig = 7,
    /// Not now: the runtime is to try again.
    TryAgain = 11,
    /// STATUS: pods can't be added.
    NotAvailable = 50,
}

/// An error, as it is printed for the runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    /// What is wrong, and what to do.
    pub(crate) message: String,
    /// More, where there is more to say.
    pub(crate) details: String,
}

impl Failure {
    /// An error without details.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: String::new() }
    }

    /// The same with details.
    pub(crate) fn details(self, details: impl fmt::Display) -> Self {
        Self { details: details.to_string(), ..self }
    }

    /// The object that the runtime reads from standard output, in the version that it speaks, if that is known.
    pub(crate) fn json(&self, version: Option<&str>) -> Value {
        let mut object = json!({
            "cniVersion": version.unwrap_or(NEWEST),
            "code": self.code as u32,
            "msg": format!("podgate: {}", self.message),
        });
        if !self.details.is_empty() {
            object["details"] = self.details.as_str().into();
        }
        object
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if self.details.is_empty() { Ok(()) } else { write!(f, ": {}", self.details) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_the_specifications_form() {
        let failure = Failure::new(Code::TryAgain, "the agent is away").details("connection refused");
        let expected = json!({
            "cniVersion": "0.4.0", "code": 11, "msg": "podgate: the agent is away", "details": "connection refused"
        });
        assert_eq!(failure.json(Some("0.4.0")), expected);
        let plain = Failure::new(Code::Undecodable, "no JSON");
        assert_eq!(plain.json(None), json!({"cniVersion": "1.1.0", "code": 6, "msg": "podgate: no JSON"}));
    }
}
