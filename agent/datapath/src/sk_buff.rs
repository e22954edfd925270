//! Where the running kernel has the fields of `struct sk_buff`, and of connections, that the programs read.
//!
//! Its layout depends on how the kernel was built: the type information that the kernel has of itself (BTF,
//! Documentation/bpf/btf.rst) tells where a field is.

use std::fs;

use podgate_common::map::SUM_WINDOW;
use podgate_host::netlink::conntrack;

use crate::sys;

/// The kernel's own types.
const TYPES: &str = "/sys/kernel/btf/vmlinux";
/// Those of its connection tracking, where that is a module.
const TYPES_OF_CONNTRACK: &str = "/sys/kernel/btf/nf_conntrack";

/// Whether the kernel tells its own types.
pub(crate) fn has_types() -> bool {
    fs::metadata(TYPES).is_ok()
}

/// Where the fields are that the programs read. `None`: the kernel does not have them, does not tell its types, or does
/// not let programs read its memory (lockdown).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields {
    /// `_nfct`, what the packet is to its connection, in bytes. What only that field can tell is else taken for a question.
    pub(crate) connection: Option<u32>,
    /// Where a connection says whether it is translated. Without that, what is given another destination behind a pod's
    /// hook is not noticed, unless it went to an address that is known to do so.
    pub(crate) translation: Option<Translation>,
    /// Where packets tell the network namespaces of their socket and device. Without that a socket proves nothing.
    pub(crate) nets: Option<Nets>,
    /// What says where the kernel is to write a checksum.
    pub(crate) checksum: Option<Checksum>,
    /// The number of the kernel's function that lets programs read these fields like others (Linux 6.2); without it they
    /// copy them, which takes longer.
    pub(crate) cast: Option<u32>,
    /// What lets them read a connection like that.
    pub(crate) read_as: Option<ReadAs>,
}

/// How programs read a connection's `status` without copying it (Linux 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadAs {
    /// The number of the kernel's function.
    pub(crate) function: u32,
    /// The number of a structure of the kernel's own that has eight readable bytes where a connection has its status.
    pub(crate) structure: u32,
}

/// Fields of `struct nf_conn`, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Translation {
    /// The destination of the packets that opened the connection, behind which the source of the answers stands as the
    /// programs know it.
    pub(crate) opened_to: u32,
    /// `status`
    pub(crate) status: u32,
}

/// Fields of `struct sk_buff`, `struct sock` and `struct net_device`, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Nets {
    /// `sk` of a packet.
    pub(crate) socket: u32,
    /// A socket's `skc_net`.
    pub(crate) of_socket: u32,
    /// `dev` of a packet.
    pub(crate) device: u32,
    /// A device's `nd_net`.
    pub(crate) of_device: u32,
}

/// The fields of a packet whose checksum is left to a later device or function of the kernel (`CHECKSUM_PARTIAL`). All lie
/// within [`SUM_WINDOW`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checksum {
    /// `ip_summed`, in bits.
    pub(crate) summed: u32,
    /// `csum_start`, in bytes. `csum_offset` follows it.
    pub(crate) start: u32,
    /// `network_header`, in bytes.
    pub(crate) network: u32,
}

/// Finds them on this machine.
pub(crate) fn fields() -> Fields {
    let Ok(types) = fs::read(TYPES).inspect_err(|error| log::info!("{TYPES} is not readable: {error}")) else {
        return Fields::default();
    };
    let own = Types::new(&types);
    let mut found = own.as_ref().map(Types::fields).unwrap_or_default();
    found.translation = own.as_ref().and_then(|own| own.translation().or_else(|| translation_in_module(own)));
    if found.connection.is_some() && found.translation.is_none() {
        log::warn!(
            "the kernel does not tell how connections are laid out: what rules other than Services' translate \
                    is judged by its first destination"
        );
    }
    // The programs would be refused if they might not read them.
    let Some(at) = found.connection.or(found.checksum.map(|checksum| checksum.start)) else { return found };
    if let Err(error) = sys::classifier_load(&copying(at)) {
        log::info!("programs may not read the kernel's memory: {error}");
        return Fields::default();
    }
    let may_cast = |&function: &u32| {
        let tried = found.checksum.map(|checksum| sys::classifier_load(&casting(function, checksum)));
        tried.is_some_and(|tried| tried.is_ok())
    };
    let cast = found.cast.filter(may_cast);
    let read_as = cast.and_then(|_| own?.reading_as(found.translation?.status));
    Fields { cast, read_as, ..found }
}

/// The same where connection tracking is a module, which is loaded first: its types are not known before.
fn translation_in_module(own: &Types<'_>) -> Option<Translation> {
    let read = || fs::read(TYPES_OF_CONNTRACK);
    let types = read().or_else(|_| conntrack::load().and_then(|()| read()));
    let types = types.inspect_err(|error| log::info!("{TYPES_OF_CONNTRACK} is not readable: {error}")).ok()?;
    own.with(&types)?.translation()
}

/// A program that reads fields of a packet by the kernel's function that has this number.
fn casting(function: u32, Checksum { start, network, .. }: Checksum) -> [u64; 6] {
    let read = |register: u64, at: u32| 0x0069 | register << 8 | u64::from(at) << 16;
    [
        call(function),     // r0 = r1 as struct sk_buff
        read(1, start),     // r1 = the 16 bits at start of r0
        read(2, start + 2), // r2 = those behind
        read(3, network),   // r3 = those at network
        0x00b7,             // r0 = 0
        0x0095,             // return
    ]
}

/// A program that reads eight bytes at this offset of what it says is such a structure.
fn reading(ReadAs { function, structure }: ReadAs, at: u32) -> [u64; 5] {
    [
        0x02b7 | u64::from(structure) << 32, // r2 = structure
        call(function),                      // r0 = r1 as that
        0x0179 | u64::from(at) << 16,        // r1 = the 64 bits at that place of r0
        0x00b7,                              // r0 = 0
        0x0095,                              // return
    ]
}

/// The instruction that calls the kernel's function with this number.
pub(crate) fn call(function: u32) -> u64 {
    /// `BPF_PSEUDO_KFUNC_CALL`, in the place of the source register.
    const KERNEL_FUNCTION: u64 = 2 << 12;
    0x0085 | KERNEL_FUNCTION | u64::from(function) << 32
}

/// A program that reads eight bytes at this offset of a packet's `struct sk_buff`.
fn copying(at: u32) -> [u64; 8] {
    /// `BPF_FUNC_probe_read_kernel`
    const PROBE_READ_KERNEL: u64 = 113;
    [
        0x13bf,                           // r3 = r1
        0x0307 | u64::from(at) << 32,     // r3 += at
        0xa1bf,                           // r1 = r10
        0x0107 | 0xffff_fff8 << 32,       // r1 += -8
        0x02b7 | 8 << 32,                 // r2 = 8
        0x0085 | PROBE_READ_KERNEL << 32, // call it
        0x00b7,                           // r0 = 0
        0x0095,                           // return
    ]
}

/// Bytes of `struct btf_type` and of `struct btf_member`, and where the latter has its type and its offset.
const TYPE: usize = 12;
const MEMBER: usize = 12;
const MEMBER_TYPE: usize = 4;
const MEMBER_OFFSET: usize = 8;

/// `BTF_KIND_STRUCT`, `BTF_KIND_UNION` and `BTF_KIND_FUNC`
const STRUCT: usize = 4;
const UNION: usize = 5;
const FUNCTION: usize = 12;

/// The kernel's types.
struct Types<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// The names of the types that these come in addition to.
    former_strings: &'a [u8],
    /// How many those are.
    former: usize,
    /// Where each type begins; the type that follows the former ones comes first.
    places: Vec<usize>,
}

impl<'a> Types<'a> {
    /// Reads BTF; `None`: that is none.
    fn new(btf: &'a [u8]) -> Option<Self> {
        const MAGIC: usize = 0xeb9f;
        if word(btf, 0)? & 0xffff != MAGIC {
            return None;
        }
        let header = word(btf, 4)?;
        let section = |at| btf.get(header.checked_add(word(btf, at)?)?..)?.get(..word(btf, at + 4)?);
        let (types, strings) = (section(8)?, section(16)?);
        let size = |at| word(types, at + 4).and_then(|info| more(info >> 24 & 0x1f, info & 0xffff));
        // What stands behind a type of an unknown kind is not found.
        let next = |&at: &usize| size(at).map(|more| at + TYPE + more).filter(|&next| next < types.len());
        let places = std::iter::successors(Some(0), next).collect();
        Some(Self { types, strings, former_strings: &[], former: 0, places })
    }

    /// The types of a module, which come in addition to these.
    fn with(&self, btf: &'a [u8]) -> Option<Self> {
        Some(Self { former_strings: self.strings, former: self.places.len(), ..Self::new(btf)? })
    }

    /// See [`Fields::translation`]. `None` also where the two tuples of a connection don't lie as the programs take them to.
    fn translation(&self) -> Option<Translation> {
        /// Bytes from the destination in the one tuple to the source in the other.
        const APART: usize = 36;
        let bytes = |structure, field| self.offset(structure, field).map(|bits| bits / 8);
        let (tuples, tuple) = (bytes("nf_conn", "tuplehash")?, bytes("nf_conntrack_tuple_hash", "tuple")?);
        let (source, destination) = (bytes("nf_conntrack_tuple", "src")?, bytes("nf_conntrack_tuple", "dst")?);
        let apart = self.size("nf_conntrack_tuple_hash")? + source as usize - destination as usize;
        let status = bytes("nf_conn", "status")?;
        (apart == APART).then_some(Translation { opened_to: tuples + tuple + destination, status })
    }

    fn fields(&self) -> Fields {
        let bits = |field| self.offset("sk_buff", field);
        let bytes = |field| bits(field).map(|bits| bits / 8);
        let checksum = || {
            let (start, offset) = (bytes("csum_start")?, bytes("csum_offset")?);
            let (summed, network) = (bits("ip_summed")?, bytes("network_header")?);
            let window = summed / 8..summed / 8 + SUM_WINDOW - 3;
            let is_near = offset == start + 2 && window.contains(&start) && window.contains(&network);
            is_near.then_some(Checksum { summed, start, network })
        };
        let cast = self.function("bpf_cast_to_kern_ctx");
        let nets = self.nets();
        Fields { connection: bytes("_nfct"), translation: None, nets, checksum: checksum(), cast, read_as: None }
    }

    fn nets(&self) -> Option<Nets> {
        let bytes = |structure, field| self.offset(structure, field).map(|bits| bits / 8);
        let of_socket = bytes("sock", "__sk_common")? + bytes("sock_common", "skc_net")?;
        let (socket, device) = (bytes("sk_buff", "sk")?, bytes("sk_buff", "dev")?);
        Some(Nets { socket, of_socket, device, of_device: bytes("net_device", "nd_net")? })
    }

    /// How programs may read the status of a connection at this offset. The function takes types of the kernel itself only:
    /// where connection tracking is a module, a structure that is words throughout stands in for a connection.
    fn reading_as(&self, status: u32) -> Option<ReadAs> {
        let function = self.function("bpf_rdonly_cast")?;
        let structures = ["nf_conn", "pt_regs"].into_iter().filter_map(|name| self.structure(name));
        let mut ways = structures.filter_map(|at| Some(ReadAs { function, structure: self.number(at)? }));
        ways.find(|&way| sys::classifier_load(&reading(way, status)).is_ok())
    }

    /// The offset in bits of a field of a structure, which may be in structures without a name.
    fn offset(&self, structure: &str, field: &str) -> Option<u32> {
        let bits = self.offset_in(self.structure(structure)?, field, NESTING)?;
        u32::try_from(bits).ok()
    }

    /// How many bytes a structure has.
    fn size(&self, structure: &str) -> Option<usize> {
        word(self.types, self.structure(structure)? + 8)
    }

    fn structure(&self, name: &str) -> Option<usize> {
        self.places.iter().copied().find(|&at| self.is(at, STRUCT) && self.is_called(at, name))
    }

    fn offset_in(&self, at: usize, field: &str, nesting: usize) -> Option<usize> {
        if !self.is(at, STRUCT) && !self.is(at, UNION) {
            return None;
        }
        let info = word(self.types, at + 4)?;
        (0..info & 0xffff).map(|index| at + TYPE + index * MEMBER).find_map(|member| {
            // In a structure with bit fields, the upper byte is the size of one.
            let bits =
                word(self.types, member + MEMBER_OFFSET)? & if info >> 31 == 1 { 0x00ff_ffff } else { usize::MAX };
            if self.is_called(member, field) {
                return Some(bits);
            }
            let is_nameless = word(self.types, member)? == 0;
            let inside = self.places.get(word(self.types, member + MEMBER_TYPE)?.checked_sub(1 + self.former)?)?;
            let deeper = nesting.checked_sub(1).filter(|_| is_nameless)?;
            Some(bits + self.offset_in(*inside, field, deeper)?)
        })
    }

    /// The number of one of the kernel's functions.
    fn function(&self, name: &str) -> Option<u32> {
        self.number(self.places.iter().copied().find(|&at| self.is(at, FUNCTION) && self.is_called(at, name))?)
    }

    /// The number of the type at a place.
    fn number(&self, at: usize) -> Option<u32> {
        u32::try_from(self.places.binary_search(&at).ok()? + 1 + self.former).ok()
    }

    fn is(&self, at: usize, kind: usize) -> bool {
        word(self.types, at + 4).is_some_and(|info| info >> 24 & 0x1f == kind)
    }

    /// Whether the name that stands at the beginning of a type or member is this one.
    fn is_called(&self, at: usize, name: &str) -> bool {
        let text = word(self.types, at).and_then(|name| match name.checked_sub(self.former_strings.len()) {
            Some(name) => self.strings.get(name..),
            None => self.former_strings.get(name..),
        });
        text.is_some_and(|text| text.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0)))
    }
}

/// How many structures without a name may stand in each other.
const NESTING: usize = 8;

/// How many bytes follow a type of this kind (`BTF_KIND_*` in the order of their numbers).
fn more(kind: usize, entries: usize) -> Option<usize> {
    const EACH: [usize; 20] = [0, 0, 0, 0, 12, 12, 8, 0, 0, 0, 0, 0, 0, 8, 0, 12, 0, 0, 0, 12];
    match kind {
        // An integer, a variable, a tag of a declaration; an array.
        1 | 14 | 17 => Some(4),
        3 => Some(12),
        _ => Some(EACH.get(kind)? * entries),
    }
}

/// The 32 bits at an offset.
fn word(bytes: &[u8], at: usize) -> Option<usize> {
    let word = bytes.get(at..)?.first_chunk()?;
    usize::try_from(u32::from_ne_bytes(*word)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// BTF with an integer, a structure without and one with bit fields, a function and its prototype before them, and a
    /// structure that has the first of them in itself without a name.
    fn btf() -> Vec<u8> {
        let strings = b"\0int\0plain\0first\0second\0packed\0outer\0";
        let names = ["int", "plain", "first", "second", "packed", "outer"];
        let [int, plain, first, second, packed, outer] =
            names.map(|name| strings.windows(name.len()).position(|window| window == name.as_bytes()).unwrap() as u32);
        let types = [
            [int, 1 << 24, 4].as_slice(),
            &[32],
            &[0, 13 << 24 | 1, 1],
            &[0, 1],
            &[plain, 4 << 24 | 2, 8],
            &[first, 1, 0, second, 1, 32],
            &[packed, 1 << 31 | 4 << 24 | 2, 12],
            &[first, 1, 3 << 24, second, 1, 64],
            &[second, 12 << 24, 2],
            &[outer, 4 << 24 | 2, 20],
            &[packed, 1, 0, 0, 3, 32],
        ]
        .concat();
        blob(&types, strings)
    }

    fn blob(types: &[u32], strings: &[u8]) -> Vec<u8> {
        let length = types.len() as u32 * 4;
        let header = [0x0001_eb9f, 24, 0, length, length, strings.len() as u32];
        let words = header.into_iter().chain(types.iter().copied()).flat_map(u32::to_ne_bytes);
        words.chain(strings.iter().copied()).collect()
    }

    /// The types of a module for connection tracking, in addition to those of [`btf`] if `former` is how many bytes their names
    /// take. `hash`: how many bytes a tuple in a list has.
    fn conntrack(former: u32, hash: u32) -> Vec<u8> {
        let strings = b"\0nf_conn\0tuplehash\0status\0nf_conntrack_tuple_hash\0tuple\0nf_conntrack_tuple\0src\0dst\0";
        let name = |name: &str| {
            let name = format!("\0{name}\0");
            strings.windows(name.len()).position(|window| window == name.as_bytes()).unwrap() as u32 + 1 + former
        };
        let types = [
            [name("nf_conntrack_tuple"), 4 << 24 | 2, 40].as_slice(),
            &[name("src"), 1, 0, name("dst"), 1, 160],
            &[name("nf_conntrack_tuple_hash"), 4 << 24 | 1, hash],
            &[name("tuple"), 1, 128],
            &[name("nf_conn"), 4 << 24 | 2, 248],
            &[name("tuplehash"), 1, 128, name("status"), 1, 1024],
        ]
        .concat();
        blob(&types, strings)
    }

    #[test]
    fn a_connections_first_destination_is_found_where_the_programs_know_its_layout() {
        let (base, own) = (btf(), conntrack(0, 56));
        let base = Types::new(&base).unwrap();
        let names = base.strings.len() as u32;
        let [module, other] = [56, 64].map(|hash| conntrack(names, hash));
        let found = [Types::new(&own).unwrap(), base.with(&module).unwrap(), base.with(&other).unwrap()];
        let expected = Some(Translation { opened_to: 52, status: 128 });
        assert_eq!(found.map(|types| types.translation()), [expected, expected, None]);
        assert_eq!(base.translation(), None);
    }

    #[test]
    fn fields_are_found_by_the_names_of_their_structure_and_their_own() {
        let btf = btf();
        let types = Types::new(&btf).unwrap();
        let all = [
            ("plain", "first"),
            ("plain", "second"),
            ("packed", "first"),
            ("packed", "second"),
            ("outer", "packed"),
            ("outer", "second"),
        ];
        let found = all.map(|(structure, field)| types.offset(structure, field));
        assert_eq!(found, [Some(0), Some(32), Some(0), Some(64), Some(0), Some(64)]);
        assert_eq!(["plai", "plainer", "int"].map(|structure| types.offset(structure, "second")), [None; 3]);
        assert_eq!(types.offset("plain", "third"), None);
    }

    #[test]
    fn functions_are_found_by_name() {
        let btf = btf();
        let types = Types::new(&btf).unwrap();
        assert_eq!(["second", "first", "plain"].map(|name| types.function(name)), [Some(5), None, None]);
    }

    #[test]
    fn bytes_that_are_no_types_have_no_fields() {
        let btf = btf();
        for length in 0..btf.len() {
            let found = Types::new(&btf[..length]).and_then(|types| types.offset("plain", "third"));
            assert_eq!(found, None);
        }
        assert!(Types::new(&[0; 64]).is_none());
    }

    #[test]
    fn the_fields_of_this_kernel_lie_within_its_packets() {
        let Fields { connection, translation, nets: _, checksum, cast: _, read_as: _ } = fields();
        assert!(translation.is_none_or(|it| it.opened_to < it.status && it.status < 256), "{translation:?}");
        let Some(Checksum { summed, start, network }) = checksum else { return };
        let all = [connection.unwrap_or(0), summed / 8, start, network];
        assert!(all.iter().all(|&at| at < 256), "{all:?}");
        assert_ne!(summed, 0);
    }
}
