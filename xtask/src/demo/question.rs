//! What the demo asks the network, and what the answer must be in each phase.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use podgate_lab::{Namespace, Probe, Seen};

use super::dns;
use super::shop::Shop;

/// How long the answer may take to become the expected one after a change.
const LIMIT: Duration = Duration::from_secs(10);

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Tcp(u16),
    Udp(u16),
    Ping,
    DnsUdp,
    DnsTcp,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(port) => write!(f, "TCP {port}"),
            Self::Udp(port) => write!(f, "UDP {port}"),
            Self::Ping => f.write_str("ping"),
            Self::DnsUdp => f.write_str("DNS by UDP"),
            Self::DnsTcp => f.write_str("DNS by TCP"),
        }
    }
}

/// One line of the table. An end is a pod, `Service` and a name, `node` or `outside`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
    pub(crate) what: What,
    /// One character per phase: `+` passes, `-` is dropped.
    answers: &'static str,
}

const fn question(from: &'static str, to: &'static str, what: What, answers: &'static str) -> Question {
    Question { from, to, what, answers }
}

/// Every question, over both families in every phase.
#[rustfmt::skip]
pub(crate) const QUESTIONS: [Question; 16] = [
    //                                                                     no policy
    //                                                                     | default-deny
    //                                                                     | | allow-dns
    //                                                                     | | | frontend-to-api
    //                                                                     | | | | api-to-database
    //                                                                     | | | | | allow-monitoring
    //                                                                     | | | | | | port 8443
    //                                                                     | | | | | | | other label
    //                                                                     | | | | | | | | all removed
    question("shop/frontend", "Service shop/api", What::Tcp(80),          "+ - - + + + - + +"),
    question("shop/frontend", "Service shop/api", What::Udp(80),          "+ - - + + + - + +"),
    question("shop/frontend", "Service shop/api", What::Tcp(443),         "+ - - - - - + - +"),
    question("shop/frontend", "shop/api", What::Tcp(8080),                "+ - - + + + - + +"),
    question("shop/frontend", "shop/api", What::Ping,                     "+ - - - - - - - +"),
    question("shop/api", "Service shop/database", What::Tcp(15432),       "+ - - - + + + - +"),
    question("shop/api", "shop/database", What::Tcp(5432),                "+ - - - + + + - +"),
    question("shop/frontend", "Service shop/database", What::Tcp(15432),  "+ - - - - - - - +"),
    question("shop/frontend", "Service kube-system/kube-dns", What::DnsUdp, "+ - + + + + + + +"),
    question("shop/frontend", "Service kube-system/kube-dns", What::DnsTcp, "+ - + + + + + + +"),
    question("shop/frontend", "outside", What::Tcp(443),                  "+ - - - - - - - +"),
    question("outside", "shop/frontend", What::Tcp(8080),                 "+ - - - - - - - +"),
    question("elsewhere/stranger", "Service shop/api", What::Udp(80),     "+ - - - - - - - +"),
    question("monitoring/prober", "Service shop/api", What::Tcp(80),      "+ - - - - + + + +"),
    question("monitoring/prober", "shop/database", What::Ping,            "+ - - - - + + + +"),
    question("node", "Service shop/api", What::Tcp(80),                   "+ + + + + + + + +"),
];

impl Question {
    /// What must be seen in a phase, counted from 0. Phases that are not in the table pass nothing.
    pub(crate) fn expected(&self, phase: usize) -> Seen {
        if self.answers.split(' ').nth(phase) == Some("+") { Seen::Answered } else { Seen::Silence }
    }

    /// How many phases the table knows.
    pub(crate) fn phases(&self) -> usize {
        self.answers.split(' ').count()
    }

    /// Asks over one family until the answer is the expected one, and returns the last.
    pub(crate) fn ask(&self, shop: &Shop, v6: bool, expected: Seen) -> Seen {
        let (from, to) = (shop.namespace(self.from), shop.address(self.to, v6));
        let start = Instant::now();
        loop {
            let seen = self.what.ask(from, to);
            if seen == expected || start.elapsed() > LIMIT {
                return seen;
            }
        }
    }
}

impl What {
    fn ask(self, from: &Namespace, to: IpAddr) -> Seen {
        match self {
            Self::Tcp(port) => from.probe(Probe::tcp(to, port)),
            Self::Udp(port) => from.probe(Probe::udp(to, port)),
            Self::Ping => from.probe(Probe::ping(to)),
            Self::DnsUdp => dns::ask_udp(from, to),
            Self::DnsTcp => dns::ask_tcp(from, to),
        }
    }
}
