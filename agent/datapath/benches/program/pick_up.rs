//! Packets of no known flow about which the pod's own sockets are asked, beside the same packets where nobody can be asked.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use podgate_common::{Direction, Reason, Verdict};
use podgate_datapath::PortWalk;

use crate::frames::{ACK, tcp, udp};
use crate::inside::{Inside, listener, repaired};
use crate::measure::{At, Case, PICK_UPS, Packets};
use crate::rig::{Ends, Rig, SLOT, Side};

const INTO: At = At::Pod(Direction::Ingress);

/// A pod's network namespace, and sockets in it that live as long as the cases.
pub(crate) struct Home {
    pub(crate) inside: Inside,
    _sockets: Vec<OwnedFd>,
}

/// Packets of one family, in benchmarks of so many rounds.
pub(crate) fn cases(family: &str, ends: Ends, rounds: u32) -> [Case; 7] {
    let nobody = Rc::new(Rig::new(Side::Web, Side::Web));
    let (rig, home) = at_home(ends, rounds);
    let case = |row: &str, is_asked, frame, packets, expected| Case {
        table: "Pick-up",
        row: row.to_owned(),
        column: family.to_owned(),
        rig: Rc::clone(if is_asked { &rig } else { &nobody }),
        home: is_asked.then(|| Rc::clone(&home)),
        at: INTO,
        frame,
        packets,
        expected,
    };
    let (web, dns) = ((ends.pod, 80), (ends.pod, 9));
    let known = tcp((ends.stranger, KNOWN), web, ACK);
    let unknown = tcp((ends.stranger, KNOWN + 1), web, ACK);
    let datagram = udp((ends.friend, 53), dns);
    let friends = tcp((ends.friend, PortWalk::FIRST), web, ACK);
    let (same, denied, allowed) = (Packets::Same, Verdict::Denied, Verdict::Allowed);
    [
        case("TCP, denied, nobody to ask", false, unknown.clone(), same, denied),
        case("TCP, denied, the pod has no socket for it", true, unknown, same, denied),
        case("TCP, denied, the pod has a socket for it", true, known, same, denied),
        case("UDP, denied, nobody to ask", false, datagram.clone(), same, denied),
        case("UDP, denied, the pod has no socket for it", true, datagram, same, denied),
        case("TCP, allowed, nobody to ask: no flow", false, friends.clone(), Packets::AnyPort, allowed),
        case("TCP, allowed, the pod has a socket for it: a flow", true, friends, Packets::PickUps, allowed),
    ]
}

/// The stranger's port in a connection that the pod has a socket for.
const KNOWN: u16 = 9;

/// A rig whose pod serves the stranger, and the friend from as many ports as are picked up in so many rounds.
fn at_home(ends: Ends, rounds: u32) -> (Rc<Rig>, Rc<Home>) {
    let mut rig = Rig::new(Side::Web, Side::Web);
    let inside = Inside::new();
    let web = (ends.pod, 80);
    let ports = std::iter::successors(Some(PortWalk::FIRST), |&port| Some(PortWalk::next(port)));
    let sockets = inside.run(|| {
        let friends = ports.take(1 + (rounds * PICK_UPS) as usize).map(|port| repaired(web, (ends.friend, port)));
        [listener(web), repaired(web, (ends.stranger, KNOWN))].into_iter().chain(friends).collect()
    });
    rig.datapath.identify(SLOT, &inside.identity(false)).expect("the pod's slot");
    let first = tcp((ends.friend, PortWalk::FIRST), web, ACK);
    assert_eq!([rig.ingress(&first), rig.ingress(&first)], [Reason::Rule, Reason::Established], "it is picked up");
    assert_eq!(rig.ingress(&tcp((ends.stranger, KNOWN), web, ACK)), Reason::Cut, "the socket says who opened it");
    (Rc::new(rig), Rc::new(Home { inside, _sockets: sockets }))
}
