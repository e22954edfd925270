//! `podgate explain`.

mod miss;
mod view;

use std::net::IpAddr;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use podgate_policy::explain::{End, Query, Service, explain};
use podgate_policy::model::Protocol;

use super::agent::object_key;
use super::input::{self, Files};
use super::output::{Format, print, print_json};

/// Exit status when the packet is denied.
const DENIED: u8 = 1;

/// Tell whether a connection is allowed, and why
///
/// Names the policies that isolate either end and the rule that allows the connection; if it is denied, what would have
/// had to match. Judges from the given files alone: needs no cluster and no root. Exit status: 0 allowed, 1 denied, 2 when the
/// input is invalid or the question can't be decided.
#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    files: Files,

    /// Who opens the connection: a pod, or an address
    #[arg(long, value_name = "NS/POD|IP", value_parser = end)]
    from: End,

    /// Who is connected to: a pod, or an address
    #[arg(long, value_name = "NS/POD|IP", value_parser = end)]
    to: End,

    /// The destination's port: a number, or the name of a container port
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
enum Port {
    Number(u16),
    Name(String),
}

/// What carries the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carried {
    /// A protocol with ports.
    Ported(Protocol),
    /// A protocol without.
    Icmp,
}

impl ExplainArgs {
    /// Prints the answer.
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let query = Query { from: self.from.clone(), to: self.to.clone(), service: self.service()? };
        let cluster = self.files.load()?;
        let explanation = explain(&cluster, &query)?;
        match self.output {
            Format::Text => print(&explanation.to_string())?,
            Format::Json => print_json(&view::Answer::new(&explanation))?,
        }
        Ok(if explanation.is_allowed() { ExitCode::SUCCESS } else { ExitCode::from(DENIED) })
    }

    fn service(&self) -> anyhow::Result<Service> {
        Ok(match (self.protocol, &self.port) {
            (Carried::Ported(protocol), Some(Port::Number(number))) => Service::Number(protocol, *number),
            (Carried::Ported(protocol), Some(Port::Name(name))) => Service::Name(protocol, name.as_str().into()),
            (Carried::Ported(protocol), None) => bail!("{protocol} needs a --port"),
            (Carried::Icmp, None) => Service::Other,
            (Carried::Icmp, Some(_)) => bail!("ICMP has no ports: leave --port out"),
        })
    }
}

fn end(text: &str) -> Result<End, String> {
    match text.parse::<IpAddr>() {
        Ok(address) => Ok(End::Address(address)),
        Err(_) => object_key(text).map(End::Pod).map_err(|_| "expected NAMESPACE/POD or an IP address".to_owned()),
    }
}

fn port(text: &str) -> Result<Port, String> {
    if text.is_empty() {
        return Err("expected a port number or a container port's name".to_owned());
    }
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-' || byte == b'+') {
        return input::port_number(text).map(Port::Number);
    }
    Ok(Port::Name(text.to_owned()))
}

fn carried(text: &str) -> Result<Carried, String> {
    if text.eq_ignore_ascii_case("icmp") {
        return Ok(Carried::Icmp);
    }
    input::protocol(text).map(Carried::Ported).ok_or_else(|| "the protocol is TCP, UDP, SCTP or ICMP".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use podgate_policy::model::ObjectKey;

    #[test]
    fn ends_are_pods_or_addresses() {
        assert_eq!(end("shop/web"), Ok(End::Pod(ObjectKey::new("shop", "web"))));
        assert_eq!(end("fd00::1"), Ok(End::Address("fd00::1".parse().unwrap())));
        for bad in ["web", "10.0.0.256", "10.0.0.0/8/1", ""] {
            assert!(end(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_port_of_digits_is_a_number_or_wrong() {
        assert_eq!(port("80"), Ok(Port::Number(80)));
        assert_eq!(port("http-2"), Ok(Port::Name("http-2".to_owned())));
        for bad in ["70000", "0", "-1", ""] {
            assert!(port(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
