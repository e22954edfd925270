//! `podgate explain`.

pub(super) mod ends;
mod forwarded;
mod miss;
mod tiers;
mod view;

use std::process::ExitCode;

use anyhow::Error;
use clap::Args;
use podgate_judge::explain::{Answer, Asked, Destination, End, Query, explain};
use podgate_policy::model::Protocol;
use serde::Serialize;

use super::input::{self, Files};
use super::output::{Format, print, print_json};
use super::progress::Progress;

use ends::{destination, source};

/// Exit status when the packet is denied, or is at some of a Service's backends.
const DENIED: u8 = 1;

/// Tell whether a connection is allowed, and why
///
/// Names the policies that isolate either end and the rule that allows the connection; if it is denied, what would have
/// had to match. Judges from the given files alone: needs no cluster and no root.
///
/// A Service is judged by its backends: the destination may be a Service's name or any of its addresses (also its node port at
/// the source's own node, and a hostPort there), and the answer has the verdict of each backend by its own address and target
/// port. Backends come from EndpointSlices; for a Service without any, from the pods that its selector matches.
///
/// Exit status: 0 allowed, at every backend; 1 denied, at one backend or more; 2 when the input is invalid, the question can't be
/// decided, or the Service has no such port or no backends, so that connections to it fail whatever policies say.
#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    files: Files,

    /// Who opens the connection: a pod, or an address
    #[arg(long, value_name = "NS/POD|IP", value_parser = source)]
    from: End,

    /// Who is connected to: a pod, a Service (pod/NS/NAME or svc/NS/NAME where both have the name), or an address
    #[arg(long, value_name = "NS/NAME|IP", value_parser = destination)]
    to: Destination,

    /// The destination's port: a number, or the name of a container port or of the Service's port
    #[arg(long, value_name = "NUMBER|NAME", value_parser = port)]
    port: Option<Port>,

    /// TCP, UDP, SCTP, or ICMP, which has no port
    #[arg(long, value_name = "PROTOCOL", default_value = "TCP", value_parser = carried)]
    protocol: Carried,

    /// How to print the answer
    #[arg(short = 'o', long, value_enum, default_value = "text")]
    output: Format,
}

/// A port as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Port {
    Number(u16),
    Name(String),
}

/// What carries the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carried {
    /// A protocol with ports.
    Ported(Protocol),
    /// A protocol without.
    Icmp,
}

impl ExplainArgs {
    /// Prints the answer.
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let asked = asked(self.protocol, self.port.as_ref(), "--port").map_err(Error::msg)?;
        let query = Query { from: self.from.clone(), to: self.to.clone(), asked };
        let progress = Progress::new();
        let cluster = self.files.load(&progress)?;
        progress.doing("judging the connection");
        let answer = explain(&cluster, &query);
        drop(progress);
        let answer = answer?;
        match self.output {
            Format::Text => print(&answer.to_string())?,
            Format::Json => print_json(&AnswerView::new(&answer))?,
        }
        Ok(if answer.is_allowed() { ExitCode::SUCCESS } else { ExitCode::from(DENIED) })
    }
}

/// An answer, as JSON has it.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct AnswerView(Shape);

#[derive(Serialize)]
#[serde(untagged)]
enum Shape {
    Direct(view::Answer),
    Forwarded(forwarded::Answer),
}

impl AnswerView {
    pub(super) fn new(answer: &Answer) -> Self {
        Self(match answer {
            Answer::Direct(explanation) => Shape::Direct(view::Answer::new(explanation)),
            Answer::Forwarded(answer) => Shape::Forwarded(forwarded::Answer::new(answer)),
        })
    }
}

/// What is asked for; `field` is what the port is called there.
pub(super) fn asked(protocol: Carried, port: Option<&Port>, field: &str) -> Result<Asked, String> {
    Ok(match (protocol, port) {
        (Carried::Ported(protocol), Some(Port::Number(number))) => Asked::Number(protocol, *number),
        (Carried::Ported(protocol), Some(Port::Name(name))) => Asked::Name(protocol, name.as_str().into()),
        (Carried::Ported(protocol), None) => return Err(format!("{protocol} needs a {field}")),
        (Carried::Icmp, None) => Asked::Other,
        (Carried::Icmp, Some(_)) => return Err(format!("ICMP has no ports: leave {field} out")),
    })
}

pub(super) fn port(text: &str) -> Result<Port, String> {
    if text.is_empty() {
        return Err("expected a port number or a port's name".to_owned());
    }
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-' || byte == b'+') {
        return input::port_number(text).map(Port::Number);
    }
    Ok(Port::Name(text.to_owned()))
}

pub(super) fn carried(text: &str) -> Result<Carried, String> {
    if text.eq_ignore_ascii_case("icmp") {
        return Ok(Carried::Icmp);
    }
    input::protocol(text).map(Carried::Ported).ok_or_else(|| "the protocol is TCP, UDP, SCTP or ICMP".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_of_digits_is_a_number_or_wrong() {
        assert_eq!(port("80"), Ok(Port::Number(80)));
        assert_eq!(port("http-2"), Ok(Port::Name("http-2".to_owned())));
        for bad in ["70000", "0", "-1", ""] {
            assert!(port(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
