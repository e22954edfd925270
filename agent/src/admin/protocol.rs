//! Requests and responses.

use serde::{Deserialize, Serialize};

use podgate_engine::flows::{Filter, Line};
use podgate_engine::handover::HandedOver;
use podgate_engine::status::Status;

/// The version of the protocol. A change that old clients can't read changes it.
pub(super) const VERSION: u32 = 1;

/// The longest request in bytes, its line end included.
pub(super) const MAX_REQUEST: u64 = 4096;

/// The longest response in bytes that a client reads: room for the status of a node full of pods.
pub(super) const MAX_RESPONSE: u64 = 64 << 20;

/// What a client sends.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Request {
    /// [`VERSION`] of the client.
    pub(super) version: u32,
    /// What it wants.
    pub(super) request: Command,
}

/// What a client can want.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Command {
    /// The agent's status.
    Status,
    /// To enforce a pod that is being wired. Answered when that is done.
    HandOver(HandedOver),
    /// Whether the pod on the interface with this index is enforced.
    Check(u32),
    /// Whether the agent is at work.
    Alive,
    /// Flows, one by one.
    Flows(FlowsQuery),
}

/// Which flows a client wants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FlowsQuery {
    /// What they must be like.
    #[serde(default)]
    pub(crate) filter: Filter,
    /// How many of the kept lines; `None`: all.
    #[serde(default)]
    pub(crate) last: Option<usize>,
    /// Whether those that come are wanted too, until the client hangs up.
    #[serde(default)]
    pub(crate) follow: bool,
}

/// What the agent answers.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Response {
    /// [`VERSION`] of the agent.
    pub(super) version: u32,
    /// The answer.
    #[serde(flatten)]
    pub(super) answer: Answer,
}

/// An answer.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// To [`Command::Status`].
    Status(Box<Status>),
    /// To [`Command::HandOver`] and [`Command::Check`]: the pod is enforced.
    Enforced {
        /// As its policies say; otherwise it is isolated altogether because it is not known.
        known: bool,
    },
    /// To [`Command::Alive`]: it is.
    Alive,
    /// To [`Command::Flows`], one for each.
    Line(Box<Line>),
    /// To [`Command::Flows`]: there are no more.
    End,
    /// The request could not be answered, and why.
    Error(String),
}

impl Response {
    /// An answer of this version.
    pub(super) fn new(answer: Answer) -> Self {
        Self { version: VERSION, answer }
    }
}

/// Reads a request's line.
///
/// # Errors
/// What to tell the client.
pub(super) fn parse_request(line: &[u8]) -> Result<Command, String> {
    #[derive(Deserialize)]
    struct Envelope {
        version: u32,
    }
    let envelope: Envelope = serde_json::from_slice(line).map_err(|error| format!("not a request: {error}"))?;
    if envelope.version != VERSION {
        return Err(format!("this agent speaks version {VERSION} of the protocol, not {}", envelope.version));
    }
    let request: Request = serde_json::from_slice(line).map_err(|error| format!("unknown request: {error}"))?;
    Ok(request.request)
}

#[cfg(test)]
mod tests {
    use super::*;
    use podgate_engine::flows::Lost;
    use podgate_engine::handover::PodRecord;

    #[test]
    fn a_request_has_one_stable_form() {
        let request = Request { version: VERSION, request: Command::Status };
        let line = serde_json::to_string(&request).unwrap();
        assert_eq!(line, r#"{"version":1,"request":"status"}"#);
        assert_eq!(parse_request(line.as_bytes()), Ok(Command::Status));
    }

    #[test]
    fn a_pod_is_handed_over_in_one_stable_form() {
        let pod = PodRecord { namespace: "shop".to_owned(), name: "web".to_owned(), uid: "u-1".to_owned() };
        let addresses = ["10.0.0.1".parse().unwrap()].into();
        let command = Command::HandOver(HandedOver { pod, ifindex: 7, addresses, mac: Some([2, 0, 0, 0, 0, 9]) });
        let line = serde_json::to_string(&Request { version: VERSION, request: command.clone() }).unwrap();
        let expected = concat!(
            r#"{"version":1,"request":{"hand_over":{"namespace":"shop","name":"web","uid":"u-1","#,
            r#""ifindex":7,"addresses":["10.0.0.1"],"mac":[2,0,0,0,0,9]}}}"#
        );
        assert_eq!(line, expected);
        assert_eq!(parse_request(line.as_bytes()), Ok(command));
    }

    #[test]
    fn a_response_is_read_back() {
        let answers = [
            Answer::Error("no".to_owned()),
            Answer::Status(Box::default()),
            Answer::Enforced { known: true },
            Answer::Alive,
            Answer::Line(Box::new(Line::Lost(Lost {
                time: "2026-01-01T00:00:00Z".to_owned(),
                node: "node-a".to_owned(),
                denied: 1,
                allowed: 2,
                unread: 3,
            }))),
            Answer::End,
        ];
        for answer in answers {
            let response = Response::new(answer);
            let line = serde_json::to_string(&response).unwrap();
            assert_eq!(serde_json::from_str::<Response>(&line).unwrap(), response);
        }
    }

    #[test]
    fn other_versions_are_refused_whatever_they_ask() {
        let error = parse_request(br#"{"version":2,"request":{"teleport":"now"}}"#).unwrap_err();
        assert_eq!(error, "this agent speaks version 1 of the protocol, not 2");
    }

    #[test]
    fn unknown_requests_and_garbage_are_told_apart() {
        let unknown = parse_request(br#"{"version":1,"request":"teleport"}"#).unwrap_err();
        assert!(unknown.starts_with("unknown request: "), "{unknown}");
        let garbage = parse_request(b"GET / HTTP/1.1").unwrap_err();
        assert!(garbage.starts_with("not a request: "), "{garbage}");
    }
}
