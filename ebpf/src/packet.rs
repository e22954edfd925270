//! The packet under judgement: the one place that touches its bytes.

/// Where the IP header begins behind an Ethernet header.
pub const ETHERNET: u32 = 14;

/// Where the source address stands in an Ethernet header.
pub const ETHERNET_SOURCE: u32 = 6;

/// Where the IP header begins on a device without link-layer headers, as many tunnels are.
pub const BARE: u32 = 0;

/// A type whose every bit pattern is a value, so that it may be read from a packet.
///
/// # Safety
///
/// Implementors have no padding and no invalid values.
pub unsafe trait Wire: Copy + Default {}

// SAFETY: integers and arrays of integers have neither padding nor invalid values.
unsafe impl Wire for u8 {}
// SAFETY: as above.
unsafe impl Wire for u16 {}
// SAFETY: as above.
unsafe impl Wire for u32 {}
// SAFETY: as above.
unsafe impl<const N: usize> Wire for [u16; N] where [u16; N]: Default {}
// SAFETY: as above.
unsafe impl<const N: usize> Wire for [u32; N] where [u32; N]: Default {}

#[cfg(target_arch = "bpf")]
mod imp {
    use core::ffi::c_void;
    use core::marker::PhantomData;
    use core::mem::MaybeUninit;

    use aya_ebpf::bindings::__sk_buff;
    use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_skb_load_bytes, bpf_skb_pull_data};
    use podgate_common::map::{CAST, READ_AS, SUM_WINDOW};
    use podgate_common::{Tag, protocol};

    use super::{ETHERNET, Wire};
    use crate::maps;

    /// Bytes that are made linear behind the link layer's header: the fixed headers of IPv6, or of IPv4 and TCP.
    const LINEAR: u32 = 40;

    /// The bits of `_nfct` that are not the connection's address.
    const INFO: u64 = 7;

    /// Whether a packet goes against the direction in which its connection was opened.
    #[inline(always)]
    const fn is_against(connection: u64) -> bool {
        const ESTABLISHED_REPLY: u64 = 3;
        const RELATED_REPLY: u64 = 4;
        matches!(connection & INFO, ESTABLISHED_REPLY | RELATED_REPLY)
    }

    /// A connection, by the address of its `struct nf_conn`, and what a packet is to it.
    #[derive(Clone, Copy)]
    pub struct Opening(pub u64);

    impl Opening {
        const NEW: u64 = 2;
        /// `IPS_DST_NAT` of the kernel's uapi.
        const TRANSLATED: u64 = 1 << 5;
        /// One that is nowhere.
        const UNKNOWN: Self = Self(1 << 3);

        /// Whether who it was opened to has answered. What can't be read is not known to be.
        #[inline(always)]
        pub const fn is_answered(self) -> bool {
            const ESTABLISHED: u64 = 0;
            self.0 & INFO == ESTABLISHED && self.0 != Self::UNKNOWN.0
        }

        /// Whether connection tracking gives its packets another destination than the one to which it was opened. `opened_to` and
        /// `status`: where `struct nf_conn` has that destination, and its `status`. What can't be read counts as translated.
        ///
        /// Of a connection that nobody has answered yet the two directions are compared, whoever translates; of others, whose first
        /// packets came by here, the status says whether a rule does, which takes half as long to read.
        #[inline(always)]
        pub fn is_translated(self, opened_to: u32, status: u32) -> bool {
            let connection = self.0 & !INFO;
            if self.0 & INFO == Self::NEW {
                differs(connection + u64::from(opened_to))
            } else {
                self.may_be_translated(status)
            }
        }

        /// The same by the status alone, which does not tell of a connection that nobody has answered.
        #[inline(always)]
        pub fn may_be_translated(self, status: u32) -> bool {
            let mut bits = 0_u64;
            self.0 & INFO == Self::NEW
                || !read_kernel((self.0 & !INFO) + u64::from(status), &mut bits)
                || bits & Self::TRANSLATED != 0
        }

        /// The same of a connection that has been answered, without copying: by the kernel's function that lets programs read a
        /// connection as a structure of this number. `None`: there is none, or nobody has answered.
        #[inline(always)]
        pub fn says_translated(self, status: u32, structure: u32) -> Option<bool> {
            if structure == 0 || self.0 & INFO == Self::NEW {
                return None;
            }
            // SAFETY: how programs call the kernel's functions, as in `aya_ebpf::helpers`. The loader has put the function in the
            // place of this number.
            let read_as: unsafe extern "C" fn(u64, u32) -> *const u8 =
                unsafe { core::mem::transmute(READ_AS as usize) };
            // SAFETY: the packet holds its connection; the structure has eight bytes there, as the loader has tried.
            let bits = unsafe { read_as(self.0 & !INFO, structure).add(status as usize).cast::<u64>().read_volatile() };
            Some(bits & Self::TRANSLATED != 0)
        }
    }

    /// Whether the answers of a connection come from somewhere else than it was opened to: the destination in the one tuple of
    /// `struct nf_conn`, which stands at an address of the kernel's, and the source in the other, as `struct
    /// nf_conntrack_tuple_hash` lays them out.
    #[inline(always)]
    fn differs(destination: u64) -> bool {
        /// Words from one to the other: the rest of the one tuple, and the list that the other is in.
        const APART: usize = 9;
        /// Behind the address stand port and protocol.
        const PORT: usize = 4;
        let mut tuples = [0_u32; APART + PORT + 1];
        if !read_kernel(destination, &mut tuples) {
            return true;
        }
        let [low, high, protocol, _] = tuples[PORT].to_ne_bytes();
        let [other_low, other_high, ..] = tuples[APART + PORT].to_ne_bytes();
        let has_ports = matches!(protocol, protocol::TCP | protocol::UDP | protocol::SCTP);
        let differ = |word: usize| tuples[word] != tuples[APART + word];
        differ(0) || differ(1) || differ(2) || differ(3) || has_ports && (low != other_low || high != other_high)
    }

    /// See [`Packet::sum_place`]. `field` points to what the structure has at an offset.
    #[inline(always)]
    fn sum_place(field: impl Fn(u32) -> *const u8, summed: u32, start: u32, network: u32) -> Option<u32> {
        const CHECKSUM_PARTIAL: u8 = 3;
        // SAFETY: the caller's fields. The verifier knows the numbers, which the compiler doesn't, and sees to it that they are
        // within the structure.
        let read = |at: u32| unsafe { u32::from(field(at).cast::<u16>().read_volatile()) };
        // SAFETY: as above.
        let sum = unsafe { field(summed / 8).read_volatile() };
        if sum >> (summed % 8) & CHECKSUM_PARTIAL != CHECKSUM_PARTIAL {
            return None;
        }
        Some((read(start) + read(start + 2)).saturating_sub(read(network)))
    }

    /// Copies from an address of the kernel's; false: there is no memory.
    #[inline(always)]
    fn read_kernel<T>(address: u64, value: &mut T) -> bool {
        // SAFETY: the helper copies as much as there is room, or nothing.
        unsafe { bpf_probe_read_kernel((&raw mut *value).cast(), size_of::<T>() as u32, address as *const c_void) == 0 }
    }

    /// A packet at a TC hook, whose IP header begins at the offset `L3`.
    #[derive(Clone, Copy)]
    pub struct Packet<'a, const L3: u32 = ETHERNET> {
        skb: *mut __sk_buff,
        context: PhantomData<&'a __sk_buff>,
    }

    impl<const L3: u32> Packet<'_, L3> {
        /// The packet of a program's context, which must be valid.
        #[inline(always)]
        pub fn new(skb: *mut __sk_buff) -> Self {
            Self { skb, context: PhantomData }
        }

        /// The context, for helpers that want it.
        #[inline(always)]
        pub fn context(&self) -> *mut __sk_buff {
            self.skb
        }

        /// Bytes from the Ethernet header on.
        #[inline(always)]
        pub fn length(&self) -> u32 {
            // SAFETY: the kernel gives a valid context; so in every accessor of this type.
            unsafe { (*self.skb).len }
        }

        /// The interface whose hook this is.
        #[inline(always)]
        pub fn ifindex(&self) -> u32 {
            // SAFETY: see `length`.
            unsafe { (*self.skb).ifindex }
        }

        /// The interface by which it came into this host; 0: it was made here.
        #[inline(always)]
        pub fn ingress_ifindex(&self) -> u32 {
            // SAFETY: see `length`.
            unsafe { (*self.skb).ingress_ifindex }
        }

        /// Whether it has a socket of this host, and not of a container: one in the network namespace of the device that it is at.
        /// The fields are where `struct sk_buff` has both, and these their namespaces. What can't be read is no such socket.
        #[inline(always)]
        pub fn has_socket_here(&self, [socket, socket_net, device, device_net]: [u32; 4]) -> bool {
            let (mut of, mut at) = (0_u64, 0_u64);
            let mut nets = [0_u64; 2];
            self.copy(socket, &mut of)
                && of != 0
                && read_kernel(of + u64::from(socket_net), &mut nets[0])
                && self.copy(device, &mut at)
                && read_kernel(at + u64::from(device_net), &mut nets[1])
                && nets[0] == nets[1]
        }

        /// Whether connection tracking says that it goes against the direction in which its connection was opened. `at`:
        /// where `struct sk_buff` has `_nfct`.
        #[inline(always)]
        pub fn is_reply(&self, at: u32) -> bool {
            self.connection(at).is_some_and(|word| word > INFO && is_against(word))
        }

        /// `_nfct`: the address of the packet's connection, 0 without one, and in the lowest three bits what the packet is to
        /// it (`enum ip_conntrack_info` of the kernel's uapi). `None`: it can't be read.
        #[inline(always)]
        fn connection(&self, at: u32) -> Option<u64> {
            if maps::MAY_CAST.load() != 0 {
                // SAFETY: within the kernel's `struct sk_buff`, aligned as it is there.
                return Some(unsafe { self.cast().add(at as usize).cast::<u64>().read_volatile() });
            }
            let mut word = 0;
            self.copy(at, &mut word).then_some(word)
        }

        /// The packet's connection, if it goes in the direction in which that was opened, and `None` where nothing is tracked.
        /// `at`: where `struct sk_buff` has `_nfct`. What can't be read is [`Opening::UNKNOWN`].
        #[inline(always)]
        pub fn opening(&self, at: u32) -> Option<Opening> {
            let word = self.connection(at).unwrap_or(Opening::UNKNOWN.0);
            (word > INFO && !is_against(word)).then_some(Opening(word))
        }

        /// Where the kernel is yet to write a checksum, in bytes from the IP header on; `None`: nowhere. Only in what the
        /// kernel's own functions make is that the checksum's place: a packet socket may name any (`PACKET_VNET_HDR`,
        /// packet(7)). The fields are where `struct sk_buff` has `ip_summed`, in bits, and behind it, within [`SUM_WINDOW`],
        /// `csum_start` and `network_header`. Only where the programs may cast.
        #[inline(always)]
        pub fn sum_place(&self, summed: u32, start: u32, network: u32) -> Option<u32> {
            // SAFETY: only where they may.
            let skb = unsafe { self.cast() };
            sum_place(|at| skb.wrapping_add(at as usize), summed, start, network)
        }

        /// The same where they have to copy. If the fields can't be read, that is in the IP header.
        #[inline(always)]
        pub fn copied_sum_place(&self, summed: u32, start: u32, network: u32) -> Option<u32> {
            let first = summed / 8;
            let mut window = MaybeUninit::<[u8; SUM_WINDOW as usize]>::uninit();
            if !self.copy(first, &mut window) {
                return Some(0);
            }
            let window = window.as_ptr().cast::<u8>();
            sum_place(|at| window.wrapping_add((at - first) as usize), summed, start, network)
        }

        /// Copies from the kernel's `struct sk_buff`; false: it can't be read.
        #[inline(always)]
        fn copy<T>(&self, at: u32, value: &mut T) -> bool {
            // SAFETY: the context is the kernel's own `struct sk_buff`, of which the helper copies as much as there is room.
            let status = unsafe {
                let field = self.skb.cast::<u8>().add(at as usize);
                bpf_probe_read_kernel((&raw mut *value).cast(), size_of::<T>() as u32, field.cast())
            };
            status == 0
        }

        /// The kernel's own `struct sk_buff`.
        ///
        /// # Safety
        /// The loader has put the kernel's function in the place of [`CAST`].
        #[inline(always)]
        unsafe fn cast(&self) -> *const u8 {
            // SAFETY: how programs call the kernel's functions, as in `aya_ebpf::helpers`.
            let cast: unsafe extern "C" fn(*mut __sk_buff) -> *const u8 =
                unsafe { core::mem::transmute(CAST as usize) };
            // SAFETY: valid context.
            unsafe { cast(self.skb) }
        }

        /// What kind of packet the link layer says it is, an EtherType.
        #[inline(always)]
        pub fn ethertype(&self) -> u16 {
            // SAFETY: see `length`.
            u16::from_be(unsafe { (*self.skb).protocol } as u16)
        }

        /// The tag that it carries.
        #[inline(always)]
        pub fn tag(&self) -> Tag {
            // SAFETY: see `length`.
            Tag::from_raw(unsafe { (*self.skb).tc_index } as u16)
        }

        /// Gives it a tag. Written to `tc_classid` too, from where TCX restores it when a later program returns OK.
        #[inline(always)]
        pub fn set_tag(&self, tag: Tag) {
            self.write_tag(u32::from(tag.raw()));
        }

        /// Takes its tag away.
        #[inline(always)]
        pub fn clear_tag(&self) {
            self.write_tag(0);
        }

        #[inline(always)]
        fn write_tag(&self, raw: u32) {
            // SAFETY: see `length`; TC programs may write both fields.
            unsafe {
                (&raw mut (*self.skb).tc_index).write_volatile(raw);
                (&raw mut (*self.skb).tc_classid).write_volatile(raw);
            }
        }

        /// Notes for the program that judges it next whether it is known to have no flow: in the last word of `cb`, which is
        /// the programs' own from one to the next.
        #[inline(always)]
        pub fn note_missing(&self, missing: bool) {
            // SAFETY: see `length`; TC programs may write the field.
            unsafe { (&raw mut (*self.skb).cb[4]).write_volatile(u32::from(missing)) };
        }

        /// Whether it was noted that it has no flow.
        #[inline(always)]
        pub fn is_missing(&self) -> bool {
            // SAFETY: see `length`.
            unsafe { (&raw const (*self.skb).cb[4]).read_volatile() != 0 }
        }

        /// Whether a VLAN tag stands in its metadata.
        #[inline(always)]
        pub fn has_vlan_metadata(&self) -> bool {
            // SAFETY: see `length`.
            unsafe { (*self.skb).vlan_present != 0 }
        }

        /// How many packets it is on the wire.
        #[inline(always)]
        pub fn segments(&self) -> u32 {
            // SAFETY: see `length`.
            let segments = unsafe { (*self.skb).gso_segs };
            if segments == 0 { 1 } else { segments }
        }

        /// Whether segmentation is left to a later device: lengths in its headers may then be 0 (BIG TCP).
        #[inline(always)]
        pub fn is_gso(&self) -> bool {
            // SAFETY: see `length`.
            unsafe { (*self.skb).gso_size != 0 }
        }

        /// Makes the headers readable by [`Self::read`], where the driver left them outside of linear memory.
        #[inline(always)]
        pub fn linearise(&self) {
            if !self.is_linear((L3 + LINEAR) as usize) {
                let length = self.length();
                let wanted = if length < L3 + LINEAR { length } else { L3 + LINEAR };
                // SAFETY: valid context. If it fails, what was not linear stays unreadable, which `read` tells.
                unsafe { bpf_skb_pull_data(self.skb, wanted) };
            }
        }

        /// Reads at an offset known at compile time, from linear memory.
        #[inline(always)]
        pub fn read<T: Wire>(&self, offset: usize) -> Option<T> {
            let (data, data_end) = self.bounds();
            if data + offset + size_of::<T>() > data_end {
                return None;
            }
            // SAFETY: the bytes lie before data_end; T is valid for every bit pattern. The pointer may be less aligned
            // than T: the BPF machine's loads take that (the verifier refuses the program on machines that don't),
            // while `read_unaligned` would become a load per byte on the hot path.
            Some(unsafe { (data as *const u8).add(offset).cast::<T>().read() })
        }

        /// Reads at an offset, wherever the bytes are.
        #[inline(always)]
        pub fn read_or_load<T: Wire>(&self, offset: u32) -> Option<T> {
            self.read(offset as usize).or_else(|| self.load(offset))
        }

        #[inline(always)]
        fn is_linear(&self, end: usize) -> bool {
            let (data, data_end) = self.bounds();
            data + end <= data_end
        }

        /// Where linear memory begins and ends. Loaded anew for each read: values that the compiler kept in half a
        /// register in between would no longer be packet pointers to the verifier.
        #[inline(always)]
        fn bounds(&self) -> (usize, usize) {
            // SAFETY: see `length`.
            unsafe {
                (
                    (&raw const (*self.skb).data).read_volatile() as usize,
                    (&raw const (*self.skb).data_end).read_volatile() as usize,
                )
            }
        }

        /// Reads at any offset, by a helper call.
        #[inline(always)]
        pub fn load<T: Wire>(&self, offset: u32) -> Option<T> {
            let mut value = T::default();
            // SAFETY: valid context; the destination has the given size; the helper checks the packet's bounds.
            let status =
                unsafe { bpf_skb_load_bytes(self.skb.cast(), offset, (&raw mut value).cast(), size_of::<T>() as u32) };
            if status != 0 { None } else { Some(value) }
        }
    }
}

#[cfg(not(target_arch = "bpf"))]
mod imp {
    use super::{ETHERNET, Wire};

    /// A packet in memory, for tests on the host.
    #[derive(Clone, Copy, Debug)]
    pub struct Packet<'a, const L3: u32 = ETHERNET> {
        bytes: &'a [u8],
    }

    impl<'a, const L3: u32> Packet<'a, L3> {
        /// The packet with these bytes, from the Ethernet header on.
        #[must_use]
        pub const fn new(bytes: &'a [u8]) -> Self {
            Self { bytes }
        }

        /// Bytes from the Ethernet header on.
        #[must_use]
        pub fn length(&self) -> u32 {
            u32::try_from(self.bytes.len()).unwrap_or(u32::MAX)
        }

        /// Whether segmentation is left to a later device: never, here.
        #[must_use]
        pub const fn is_gso(&self) -> bool {
            false
        }

        /// Reads at an offset.
        #[must_use]
        pub fn read<T: Wire>(&self, offset: usize) -> Option<T> {
            let bytes = self.bytes.get(offset..)?.get(..size_of::<T>())?;
            // SAFETY: as many bytes as T has; T is valid for every bit pattern.
            Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
        }

        /// Reads at an offset.
        #[must_use]
        pub fn load<T: Wire>(&self, offset: u32) -> Option<T> {
            self.read(offset as usize)
        }
    }
}

#[cfg(target_arch = "bpf")]
pub use imp::Opening;
pub use imp::Packet;

/// A packet that begins with an Ethernet header.
pub type Frame<'a> = Packet<'a, ETHERNET>;
