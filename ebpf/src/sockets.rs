//! Asking the pod's own sockets about a packet of no known flow.
//!
//! The helpers look into the network namespace with the id of the pod's, from the hook on the host's side. They don't
//! see sockets that are bound to a device.
//!
//! A pod makes its sockets as it likes: one in any state and with any ends, by TCP_REPAIR, by an address of its own that is
//! another's, by packets that it sends to itself. So what they say of a packet that leaves the pod licenses nothing, and
//! what they say of one that enters it only what the pod might as well have opened, or been asked for. See `flow`.

use aya_ebpf::bindings::{
    bpf_sock_tuple, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 as Tuple4,
    bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 as Tuple6,
};
use aya_ebpf::helpers::generated::{bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp};
use podgate_common::{Direction, NetPort};

use crate::family::Family;
use crate::scene::Scene;

/// States of a TCP socket, by the kernel's include/net/tcp_states.h.
mod tcp_state {
    pub(super) const ESTABLISHED: u32 = 1;
    pub(super) const SYN_SENT: u32 = 2;
    pub(super) const SYN_RECV: u32 = 3;
    pub(super) const LISTEN: u32 = 10;
    pub(super) const NEW_SYN_RECV: u32 = 12;
}

/// What the pod's kernel knows of a TCP connection.
#[derive(Clone, Copy)]
pub(crate) enum Connection {
    /// Nothing.
    None,
    /// It has a socket for it that is not a listener.
    Known {
        /// By the pod if it waits for the answer to its SYN, by the peer if the pod has answered one; else by the peer if
        /// the pod listens on the local port.
        opened: Direction,
        /// The handshake is not over.
        half_open: bool,
    },
}

/// What the pod's kernel knows of the connection that a packet belongs to.
#[inline(always)]
pub(crate) fn tcp<F: Family>(scene: &Scene<'_, F>) -> Connection {
    let states = match scene.direction {
        Direction::Ingress => tcp_states::<F, false>(scene),
        Direction::Egress => tcp_states::<F, true>(scene),
    };
    let known = states & !LISTENED;
    if known == 0 || known == tcp_state::LISTEN {
        return Connection::None;
    }
    let (by_peer, half_open) = match known {
        tcp_state::SYN_SENT => (false, true),
        tcp_state::SYN_RECV | tcp_state::NEW_SYN_RECV => (true, true),
        _ => (states & LISTENED != 0, false),
    };
    Connection::Known { opened: if by_peer { Direction::Ingress } else { Direction::Egress }, half_open }
}

/// Beside the state of a socket: the pod listens on its port.
const LISTENED: u32 = 1 << 8;

/// The state of the socket that a packet belongs to, with [`LISTENED`]; 0: there is none. A function of its own, so that
/// the ends are off the stack when policy is asked, and one for each direction (`OUT`: out of the pod), so that the ends need
/// not be on it twice.
#[inline(never)]
fn tcp_states<F: Family, const OUT: bool>(scene: &Scene<'_, F>) -> u32 {
    let (Some(netns), Some(mut ends)) = (netns(scene), Ends::of(scene, OUT)) else { return 0 };
    let context = scene.packet.context().cast();
    let known = tcp_socket_state(context, netns, &ends);
    // No connection can have an unspecified remote address, so only a listener answers.
    ends.forget_remote();
    let listens = known != 0 && tcp_socket_state(context, netns, &ends) == tcp_state::LISTEN;
    known | if listens { LISTENED } else { 0 }
}

/// Whether the pod has a UDP socket connected to the packet's other end.
#[inline(always)]
pub(crate) fn is_connected_udp<F: Family>(scene: &Scene<'_, F>) -> bool {
    match scene.direction {
        Direction::Ingress => has_connected_udp::<F, false>(scene),
        Direction::Egress => has_connected_udp::<F, true>(scene),
    }
}

/// As [`tcp_states`], for both directions.
#[inline(never)]
fn has_connected_udp<F: Family, const OUT: bool>(scene: &Scene<'_, F>) -> bool {
    let (Some(netns), Some(ends)) = (netns(scene), Ends::of(scene, OUT)) else { return false };
    let remote_port = u64::from(scene.key.ports.remote().to_network());
    connected_udp_port(scene.packet.context().cast(), netns, &ends) == (1 << 16 | remote_port)
}

#[inline(always)]
fn netns<F: Family>(scene: &Scene<'_, F>) -> Option<u64> {
    // A negative id would mean this hook's own namespace.
    u64::try_from(scene.config.netns_id).ok()
}

/// A socket's ends as the helpers want them: the remote end is the source.
#[repr(C)]
struct Ends<F> {
    remote: F,
    local: F,
    remote_port: NetPort,
    local_port: NetPort,
}

const _: () = assert!(size_of::<Ends<podgate_common::Addr4>>() == size_of::<Tuple4>());
const _: () = assert!(size_of::<Ends<podgate_common::Addr6>>() == size_of::<Tuple6>());

impl<F: Family> Ends<F> {
    #[inline(always)]
    fn of(scene: &Scene<'_, F>, out: bool) -> Option<Self> {
        let (source, destination) = F::ends(&scene.packet).ok()?;
        let (local, remote) = if out { (source, destination) } else { (destination, source) };
        let ports = scene.key.ports;
        Some(Self { remote, local, remote_port: ports.remote(), local_port: ports.local() })
    }

    /// Makes the remote end unspecified. Word by word: of one assignment the compiler makes a call of `memset`, whose frame
    /// the stack has no room for.
    #[inline(always)]
    fn forget_remote(&mut self) {
        let words: *mut u32 = (&raw mut self.remote).cast();
        for word in 0..size_of::<F>() / size_of::<u32>() {
            // SAFETY: within the address, which is made of words, all of them zero if it is unspecified.
            unsafe { words.add(word).write_volatile(0) };
        }
        self.remote_port = NetPort::new(0);
    }

    #[inline(always)]
    fn tuple(&self) -> *mut bpf_sock_tuple {
        (&raw const *self).cast_mut().cast()
    }
}

/// The state of the TCP socket with these ends; 0: there is none.
///
/// A function of its own, as is its twin for UDP: merged loads of both sockets' fields are refused by the verifier.
#[inline(never)]
fn tcp_socket_state<F: Family>(context: *mut core::ffi::c_void, netns: u64, ends: &Ends<F>) -> u32 {
    // SAFETY: valid context; the tuple has the given size; the socket is released on the only path that has one.
    unsafe {
        let socket = bpf_skc_lookup_tcp(context.cast(), ends.tuple(), size_of::<Ends<F>>() as u32, netns, 0);
        if socket.is_null() {
            return 0;
        }
        let state = (*socket).state;
        bpf_sk_release(socket.cast());
        state
    }
}

/// The remote port, in network byte order, of the connected UDP socket with these ends, above it a 1; 0: there is none.
#[inline(never)]
fn connected_udp_port<F: Family>(context: *mut core::ffi::c_void, netns: u64, ends: &Ends<F>) -> u64 {
    // SAFETY: as in `tcp_socket_state`.
    unsafe {
        let socket = bpf_sk_lookup_udp(context.cast(), ends.tuple(), size_of::<Ends<F>>() as u32, netns, 0);
        if socket.is_null() {
            return 0;
        }
        let (state, port) = ((*socket).state, (*socket).dst_port);
        bpf_sk_release(socket.cast());
        // A connected UDP socket is in the state that is called established.
        if state == tcp_state::ESTABLISHED { 1 << 16 | u64::from(port) } else { 0 }
    }
}
