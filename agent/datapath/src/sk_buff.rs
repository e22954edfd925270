//! Where the running kernel has the fields of `struct sk_buff` that the programs read.
//!
//! Its layout depends on how the kernel was built: the type information that the kernel has of itself (BTF,
//! Documentation/bpf/btf.rst) tells where a field is.

use std::fs;

use podgate_common::map::SUM_WINDOW;

use crate::sys;

/// The kernel's own types.
const TYPES: &str = "/sys/kernel/btf/vmlinux";

/// Where the fields are that the programs read. `None`: the kernel does not have them, does not tell its types, or does
/// not let programs read its memory (lockdown).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields {
    /// `_nfct`, what the packet is to its connection, in bytes. What only that field can tell is else taken for a question.
    pub(crate) connection: Option<u32>,
    /// What says where the kernel is to write a checksum.
    pub(crate) checksum: Option<Checksum>,
    /// The number of the kernel's function that lets programs read these fields like others (Linux 6.2); without it they
    /// copy them, which takes longer.
    pub(crate) cast: Option<u32>,
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
    let found = Types::new(&types).map(|types| types.fields()).unwrap_or_default();
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
    Fields { cast: found.cast.filter(may_cast), ..found }
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
    /// Where each type begins; the type with the number 1 comes first.
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
        Some(Self { types, strings, places })
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
        Fields { connection: bytes("_nfct"), checksum: checksum(), cast: self.function("bpf_cast_to_kern_ctx") }
    }

    /// The offset in bits of a field of a structure, which may be in structures without a name.
    fn offset(&self, structure: &str, field: &str) -> Option<u32> {
        let mut structures = self.places.iter().filter(|&&at| self.is(at, STRUCT) && self.is_called(at, structure));
        let bits = self.offset_in(*structures.next()?, field, NESTING)?;
        u32::try_from(bits).ok()
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
            let inside = self.places.get(word(self.types, member + MEMBER_TYPE)?.checked_sub(1)?)?;
            let deeper = nesting.checked_sub(1).filter(|_| is_nameless)?;
            Some(bits + self.offset_in(*inside, field, deeper)?)
        })
    }

    /// The number of one of the kernel's functions.
    fn function(&self, name: &str) -> Option<u32> {
        let index = self.places.iter().position(|&at| self.is(at, FUNCTION) && self.is_called(at, name))?;
        u32::try_from(index + 1).ok()
    }

    fn is(&self, at: usize, kind: usize) -> bool {
        word(self.types, at + 4).is_some_and(|info| info >> 24 & 0x1f == kind)
    }

    /// Whether the name that stands at the beginning of a type or member is this one.
    fn is_called(&self, at: usize, name: &str) -> bool {
        let text = word(self.types, at).and_then(|name| self.strings.get(name..));
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
        let header = [0x0001_eb9f, 24, 0, types.len() as u32 * 4, types.len() as u32 * 4, strings.len() as u32];
        let words = header.into_iter().chain(types).flat_map(u32::to_ne_bytes);
        words.chain(strings.iter().copied()).collect()
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
        let Fields { connection, checksum, cast: _ } = fields();
        let Some(Checksum { summed, start, network }) = checksum else { return };
        let all = [connection.unwrap_or(0), summed / 8, start, network];
        assert!(all.iter().all(|&at| at < 256), "{all:?}");
        assert_ne!(summed, 0);
    }
}
