//! Floods at a server whose pod is isolated, and those who come to it meanwhile.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use etherparse::PacketBuilder;
use podgate_lab::{Connection, LinkSocket, Namespace, Pod, Result, Wiring};

use crate::connections::{ARRIVES, PORT};
use crate::packets::ip_header;
use crate::support::{World, policy};

/// Everybody may ask the server, which may ask nobody.
fn serve_everybody() -> String {
    policy(
        "shop",
        "server",
        &format!(
            "podSelector: {{matchLabels: {{app: server}}}}\npolicyTypes: [Ingress, Egress]\ningress: [{{ports: [{{port: {PORT}}}]}}]"
        ),
    )
}

/// The n-th of many hosts that answer nothing, of the family of an address.
fn host(like: IpAddr, n: u16) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::from_bits(0xc612_0000 | u32::from(n)).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(n)).into(),
    }
}

fn syn(flooding: &Pod, from: IpAddr, to: SocketAddr) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(flooding.interface().mac, flooding.gateway().mac)
        .ip(ip_header(from, to.ip()))
        .tcp(4000, to.port(), 1, 64_000)
        .syn()
        .write(&mut frame, &[])
        .expect("a vector takes every frame");
    frame
}

/// How many SYN cookies a namespace's kernel has sent.
fn cookies(namespace: &Namespace) -> Result<u64> {
    let told = namespace.output("nstat", &["-a", "-s", "-z", "TcpExtSyncookiesSent"])?;
    Ok(told.split_whitespace().find_map(|word| word.parse().ok()).unwrap_or(0))
}

#[test]
fn a_flood_of_syns_at_a_server_that_answers_with_cookies_keeps_nobody_away() -> Result<()> {
    let mut world = World::started("cookies", &[])?;
    let [server, client, flooding] =
        ["server", "client", "flooding"].map(|name| world.pod(&format!("shop/{name}"), Wiring::Ptp));
    let (server, client, flooding) = (server?, client?, flooding?);
    server.set("core/somaxconn", "128")?;
    let listener = server.listen(PORT)?;
    world.write("policy.yaml", &serve_everybody())?;
    for to in server.addresses().both().map(|address| SocketAddr::new(address, PORT)) {
        let before = cookies(&server)?;
        let sending = LinkSocket::open(&flooding, "eth0")?;
        for n in 0..4000 {
            sending.send(&syn(&flooding, host(to.ip(), n), to))?;
        }
        for n in 0..20 {
            let mut connection = Connection::open_to(&client, &listener, to, 0)?;
            assert!(connection.server_reaches_client(ARRIVES), "connection {n} to {to}");
            assert!(connection.client_reaches_server(ARRIVES), "connection {n} to {to}");
        }
        assert!(cookies(&server)? > before, "the listener was full");
    }
    let reasons = world.allowed(&server, "ingress")?;
    assert!(reasons.contains_key("over_share"), "{reasons:?}");
    Ok(())
}
