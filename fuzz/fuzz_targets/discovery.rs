//! Frames, as the programs read them and as a second, slow reading of the RFCs does.
#![no_main]

use std::net::Ipv4Addr;

use libfuzzer_sys::fuzz_target;
use podgate_common::{Direction, Reason};
use podgate_ebpf::discovery::{Arp, Message};
use podgate_ebpf::packet::Frame;
use podgate_ebpf::parse::{self, Fragment, HEADER4, HEADER6, Headers, Transport};

#[path = "../../ebpf/src/discovery/reference.rs"]
mod reference;

fuzz_target!(|bytes: &[u8]| {
    let frame = Frame::new(bytes);
    let mut message = Message::NONE;
    let _unreadable = Message::read(&frame, &mut message);
    for direction in Direction::ALL {
        assert_eq!(message.is_valid(direction), reference::is_discovery(bytes, direction), "{direction:?}: {message:?}");
    }
    let arp = Arp::read(&frame);
    assert_eq!(arp.is_some_and(|arp| arp.is_valid()), reference::is_arp(bytes));
    let is_bare = arp.is_some_and(|arp| arp.is_valid() && arp.is_filled_with_zeros(&frame));
    assert_eq!(is_bare, reference::is_bare_arp(bytes));
    let ends = arp.map(|arp| [arp.sender, arp.target].map(|address| Ipv4Addr::from(address.octets())));
    assert_eq!(ends, reference::arp_ends(bytes));
    assert_within::<HEADER4>(&frame, parse::ipv4);
    assert_within::<HEADER6>(&frame, parse::ipv6);
});

/// Asserts that the headers that are read lie in the frame, and reads what stands behind them.
fn assert_within<const HEADER: u32>(frame: &Frame<'_>, read: impl Fn(&Frame<'_>, &mut Headers) -> Result<(), Reason>) {
    let mut headers = Headers::NONE;
    if read(frame, &mut headers).is_err() {
        return;
    }
    assert!(headers.l4 <= headers.end && headers.end <= frame.length(), "{headers:?}");
    if headers.fragment != Fragment::Later {
        let _unreadable = parse::read_transport(frame, &headers, HEADER, &mut Transport::PORTLESS.clone());
    }
}
