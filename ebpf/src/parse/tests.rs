use podgate_common::Direction::{Egress, Ingress};
use proptest::prelude::*;

use super::*;
use crate::packet::Frame;

/// An IPv4 frame with these options, flags and offset field, protocol and payload.
fn frame4(options: &[u8], fragment: u16, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + options.len() + payload.len()).expect("a small packet");
    let mut frame = vec![0; 12];
    frame.extend([0x08, 0x00, 0x40 | (5 + options.len() / 4) as u8, 0]);
    frame.extend(length.to_be_bytes());
    frame.extend([0x12, 0x34]);
    frame.extend(fragment.to_be_bytes());
    frame.extend([64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend(options);
    frame.extend(payload);
    frame
}

/// An IPv6 frame with these extension headers, each with the number of what follows it.
fn frame6(first: u8, extensions: &[&[u8]], payload: &[u8]) -> Vec<u8> {
    let body: Vec<u8> = extensions.concat().into_iter().chain(payload.iter().copied()).collect();
    let mut frame = vec![0; 12];
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    frame.extend(u16::try_from(body.len()).expect("a small packet").to_be_bytes());
    frame.extend([first, 255]);
    frame.extend([0xfd; 32]);
    frame.extend(body);
    frame
}

fn headers4(packet: &Packet<'_>) -> Result<Headers, Reason> {
    let mut headers = Headers::NONE;
    ipv4(packet, &mut headers).map(|()| headers)
}

fn headers6(packet: &Packet<'_>) -> Result<Headers, Reason> {
    let mut headers = Headers::NONE;
    ipv6(packet, &mut headers).map(|()| headers)
}

const UDP: [u8; 8] = [0x30, 0x39, 0, 53, 0, 8, 0, 0];

fn transport(packet: &Packet<'_>, headers: &Headers, plain: u32) -> Result<Transport, Reason> {
    let mut transport = Transport::PORTLESS;
    read_transport(packet, headers, plain, &mut transport).map(|()| transport)
}

fn ports_of(frame: &[u8], headers: &Headers, plain: u32) -> Result<(u16, u16), Reason> {
    transport(&Frame::new(frame), headers, plain).map(|t| (t.source.number(), t.destination.number()))
}

fn udp4(frame: &[u8]) -> Result<(u16, u16), Reason> {
    ports_of(frame, &headers4(&Frame::new(frame))?, HEADER4)
}

fn udp6(frame: &[u8]) -> Result<(u16, u16), Reason> {
    ports_of(frame, &headers6(&Frame::new(frame))?, HEADER6)
}

#[test]
fn ports_are_found_with_and_without_ipv4_options() {
    assert_eq!(udp4(&frame4(&[], 0, 17, &UDP)), Ok((12345, 53)));
    assert_eq!(udp4(&frame4(&[1; 40], 0, 17, &UDP)), Ok((12345, 53)));
}

#[test]
fn ports_are_found_behind_each_ipv6_extension_header() {
    let options = |next| [next, 0, 1, 4, 0, 0, 0, 0];
    let cases: [(&str, u8, Vec<[u8; 8]>); 6] = [
        ("none", 17, vec![]),
        ("hop-by-hop", 0, vec![options(17)]),
        ("routing", 43, vec![options(17)]),
        ("destination options", 60, vec![options(17)]),
        ("atomic fragment", 44, vec![[17, 0, 0, 0, 9, 9, 9, 9]]),
        ("all of them", 0, vec![options(43), options(60), [60, 0, 0, 0, 1, 1, 1, 1], options(17)]),
    ];
    for (name, first, extensions) in cases {
        let mut extensions = extensions;
        if name == "all of them" {
            extensions[1] = options(44);
        }
        let parts: Vec<&[u8]> = extensions.iter().map(<[u8; 8]>::as_slice).collect();
        assert_eq!(udp6(&frame6(first, &parts, &UDP)), Ok((12345, 53)), "{name}");
    }
}

#[test]
fn too_many_or_misplaced_extension_headers_are_malformed() {
    let destination = [60_u8, 0, 1, 4, 0, 0, 0, 0];
    let last = [17_u8, 0, 1, 4, 0, 0, 0, 0];
    let mut chain = vec![&destination[..]; 7];
    chain.push(&last);
    assert_eq!(udp6(&frame6(60, &chain, &UDP)), Ok((12345, 53)), "eight are followed");
    chain.insert(0, &destination);
    assert_eq!(udp6(&frame6(60, &chain, &UDP)), Err(Reason::Malformed), "nine are not");
    let hop_by_hop_next = [0_u8, 0, 1, 4, 0, 0, 0, 0];
    assert_eq!(udp6(&frame6(60, &[&hop_by_hop_next, &last], &UDP)), Err(Reason::Malformed), "hop-by-hop is first");
    let fragment_next = [44_u8, 0, 0, 0, 0, 0, 0, 1];
    let more = [44_u8, 0, 0, 1, 0, 0, 0, 1];
    assert_eq!(udp6(&frame6(44, &[&more, &fragment_next], &UDP)), Err(Reason::Malformed), "one fragment header");
}

#[test]
fn fragments_are_told_apart_and_never_lend_payload_as_ports() {
    let part = |frame: Vec<u8>| headers4(&Frame::new(&frame)).map(|headers| headers.fragment);
    let id = |frame: Vec<u8>| fragment_id4(&Frame::new(&frame));
    let expected = FragmentId { id: u32::from(u16::from_ne_bytes([0x12, 0x34])), protocol: 17 };
    assert_eq!(part(frame4(&[], 0x4000, 17, &UDP)), Ok(Fragment::Whole), "don't fragment");
    assert_eq!(part(frame4(&[], 0x2000, 17, &UDP)), Ok(Fragment::First));
    assert_eq!(part(frame4(&[], 0x2001, 17, &UDP)), Ok(Fragment::Later));
    assert_eq!(part(frame4(&[], 0x0001, 17, &UDP)), Ok(Fragment::Later));
    assert_eq!([0x2000, 0x2001].map(|field| id(frame4(&[], field, 17, &UDP))), [Ok(expected), Ok(expected)]);
    assert_eq!(part(frame4(&[], 0x0001, 6, &UDP)), Err(Reason::FragmentTiny), "would overwrite TCP's flags");
    assert_eq!(part(frame4(&[], 0x0002, 6, &UDP)).map(|_| ()), Ok(()));
}

#[test]
fn ipv6_fragments_carry_the_next_header_of_the_fragment_header() {
    let later = frame6(44, &[&[60, 0, 0, 9, 1, 2, 3, 4]], &[0; 16]);
    let headers = headers6(&Frame::new(&later)).expect("a later fragment");
    assert_eq!(headers.fragment, Fragment::Later);
    let expected = FragmentId { id: u32::from_ne_bytes([1, 2, 3, 4]), protocol: 60 };
    assert_eq!(fragment_id6(&Frame::new(&later)), Ok(expected));
    let tiny = frame6(44, &[&[6, 0, 0, 8, 1, 2, 3, 4]], &[0; 16]);
    assert_eq!(headers6(&Frame::new(&tiny)), Err(Reason::FragmentTiny));
}

#[test]
fn a_first_fragment_without_its_ports_is_tiny_and_a_whole_packet_malformed() {
    assert_eq!(udp4(&frame4(&[], 0x2000, 17, &UDP[..4])), Err(Reason::FragmentTiny));
    assert_eq!(udp4(&frame4(&[], 0, 17, &UDP[..4])), Err(Reason::Malformed));
}

#[test]
fn lengths_that_contradict_each_other_are_malformed() {
    let good = frame4(&[], 0, 17, &UDP);
    let changed = |at: usize, value: u8| {
        let mut frame = good.clone();
        frame[at] = value;
        udp4(&frame)
    };
    let cases = [
        ("version 5", changed(14, 0x55)),
        ("header of 16 bytes", changed(14, 0x44)),
        ("header beyond the packet", changed(14, 0x4f)),
        ("total length beyond the frame", changed(17, 200)),
        ("total length within the header", changed(17, 19)),
        ("protocol 0", changed(23, 0)),
        ("UDP length below its header", changed(39, 7)),
        ("UDP length beyond the packet", changed(39, 9)),
        ("no IP header at all", udp4(&good[..20])),
    ];
    for (name, result) in cases {
        assert_eq!(result, Err(Reason::Malformed), "{name}");
    }
    let mut padded = good.clone();
    padded.extend([0; 18]);
    assert_eq!(udp4(&padded), Ok((12345, 53)), "padding behind the packet is not part of it");
}

#[test]
fn tcp_needs_its_whole_header() {
    let tcp = |offset: u8, length: usize| {
        let mut segment = vec![0, 80, 0x30, 0x39, 0, 0, 0, 0, 0, 0, 0, 0, offset, 0x02, 0, 0, 0, 0, 0, 0];
        segment.resize(length, 0);
        let frame = frame4(&[], 0, 6, &segment);
        let headers = headers4(&Frame::new(&frame)).expect("IPv4");
        transport(&Frame::new(&frame), &headers, HEADER4).map(|t| t.tcp_flags)
    };
    assert_eq!([tcp(0x50, 20), tcp(0x60, 24), tcp(0xf0, 60)], [Ok(2); 3]);
    let broken = [tcp(0x50, 19), tcp(0x40, 20), tcp(0x60, 20), tcp(0xf0, 59)];
    assert_eq!(broken, [Err(Reason::Malformed); 4]);
}

#[test]
fn echoes_are_keyed_by_identifier_and_by_who_asked() {
    let ports = |icmp_type, direction| {
        let frame = frame4(&[], 0, 1, &[icmp_type, 0, 0, 0, 0x12, 0x34, 0, 1]);
        let headers = headers4(&Frame::new(&frame)).expect("IPv4");
        let transport = transport(&Frame::new(&frame), &headers, HEADER4).expect("ICMP");
        (transport.local_port(direction).number(), transport.remote_port(direction).to_network())
    };
    let (pod_asked, remote_asked) = ((0x1234, 0), (0x1234, 1));
    assert_eq!([ports(8, Egress), ports(0, Ingress)], [pod_asked; 2]);
    assert_eq!([ports(8, Ingress), ports(0, Egress)], [remote_asked; 2]);
}

#[test]
fn redirects_and_router_advertisements_are_of_routers_behind_options_and_in_first_fragments_too() {
    const MORE: u16 = 0x2000;
    for (options, fragment) in [(&[][..], 0), (&[1, 1, 1, 0], 0), (&[], MORE)] {
        let kind = |icmp_type: u8| {
            let frame = frame4(options, fragment, 1, &[icmp_type, 0, 0, 0, 10, 0, 0, 3]);
            let packet = Frame::new(&frame);
            transport(&packet, &headers4(&packet)?, HEADER4).map(|transport| transport.kind)
        };
        let of_routers: Vec<u8> =
            (0..=u8::MAX).filter(|&icmp_type| kind(icmp_type) == Ok(TransportKind::OfRouter)).collect();
        assert_eq!(of_routers, [5, 9]);
    }
}

#[test]
fn icmp_of_the_other_family_is_a_protocol_like_any_other() {
    for icmp_type in [1, 3, 8, 128, 129, 134, 135, 136, 143] {
        let message = [icmp_type, 0, 0, 0, 0x12, 0x34, 0, 1];
        let (four, six) = (frame4(&[], 0, 58, &message), frame6(1, &[], &message));
        let headers = [headers4(&Frame::new(&four)), headers6(&Frame::new(&six))].map(|headers| headers.expect("IP"));
        let seen = [(&four, &headers[0], HEADER4), (&six, &headers[1], HEADER6)]
            .map(|(frame, headers, plain)| transport(&Frame::new(frame), headers, plain));
        assert_eq!(seen, [Ok(Transport::PORTLESS); 2], "type {icmp_type}");
    }
}

#[test]
fn an_icmp_error_leads_to_the_packet_it_is_about() {
    let inner = &frame4(&[1; 4], 0, 17, &UDP)[14..];
    let error = frame4(&[], 0, 1, &[&[3, 4, 0, 0, 0, 0, 5, 0], inner].concat());
    let packet = Frame::new(&error);
    let about = embedded4(&packet, &headers4(&packet).expect("IPv4")).expect("an embedded packet");
    let ports = embedded_transport(&packet, &about.headers).map(|t| (t.source.number(), t.destination.number()));
    assert_eq!((about.source.octets(), about.destination.octets()), ([10, 0, 0, 1], [10, 0, 0, 2]));
    assert_eq!(ports, Ok((12345, 53)));
}

#[test]
fn an_icmp_error_about_a_later_fragment_or_too_short_is_about_nothing() {
    let about = |inner: &[u8]| {
        let error = frame4(&[], 0, 1, &[&[3, 4, 0, 0, 0, 0, 5, 0], inner].concat());
        let packet = Frame::new(&error);
        embedded4(&packet, &headers4(&packet)?).and_then(|about| embedded_transport(&packet, &about.headers))
    };
    assert_eq!(about(&frame4(&[], 7, 17, &UDP)[14..]), Err(Reason::IcmpUnrelated));
    assert_eq!(about(&frame4(&[], 0, 17, &UDP)[14..38]), Err(Reason::IcmpUnrelated));
    assert_eq!(about(&[]), Err(Reason::IcmpUnrelated));
}

proptest! {
    /// Whatever the bytes, offsets that the parser hands on lie inside the packet.
    #[test]
    fn hostile_bytes_never_lead_outside_of_the_packet(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        version in prop_oneof![Just(0x45_u8), Just(0x4f), Just(0x60)],
        protocol in prop_oneof![Just(6_u8), Just(17), Just(1), Just(58), Just(44), Just(0), Just(60), any::<u8>()],
    ) {
        let mut bytes = bytes;
        if let Some(first) = bytes.get_mut(14) { *first = version; }
        let at = if version == 0x60 { 20 } else { 23 };
        if let Some(field) = bytes.get_mut(at) { *field = protocol; }
        let packet = Frame::new(&bytes);
        for (headers, plain) in [(headers4(&packet), HEADER4), (headers6(&packet), HEADER6)] {
            let Ok(headers) = headers else { continue };
            prop_assert!(headers.l4 <= headers.end && headers.end as usize <= bytes.len());
            if !matches!(headers.fragment, Fragment::Later) {
                let _either = transport(&packet, &headers, plain);
            }
        }
    }
}

#[test]
fn a_checksum_may_be_written_behind_what_is_judged_alone() {
    let first = |protocol| (0..80).find(|&place| may_be_summed(place, 40, protocol, Fragment::Whole));
    let [tcp, udp, sctp, gre] = [6, 17, 132, 47].map(first);
    assert_eq!([tcp, udp, sctp, gre], [Some(56), Some(46), Some(48), Some(40)]);
    assert_eq!([1, 58].map(first), [None; 2], "ICMP's is made by its sender");
    for fragment in [Fragment::First, Fragment::Later] {
        assert!(!may_be_summed(60, 40, 17, fragment), "the kernel completes it before");
    }
}
