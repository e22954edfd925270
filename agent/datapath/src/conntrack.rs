//! Where the kernel notes what a packet is to its connection.
//!
//! The programs read one word of `struct sk_buff`, whose layout depends on how the kernel was built: the type information
//! that the kernel has of itself (BTF, Documentation/bpf/btf.rst) tells where the word is.

use std::fs;

use crate::sys;

/// The kernel's own types.
const TYPES: &str = "/sys/kernel/btf/vmlinux";

/// Where `struct sk_buff` has its field `_nfct`, in bytes. `None`: the kernel has no connection tracking, does not tell its
/// types, or does not let programs read its memory (lockdown). What only that field can tell is then taken for a question.
pub(crate) fn field() -> Option<u32> {
    let types = fs::read(TYPES).inspect_err(|error| log::info!("{TYPES} is not readable: {error}")).ok()?;
    let at = offset(&types, "sk_buff", "_nfct")?;
    // The programs would be refused if they might not read it.
    let tried = sys::classifier_load(&reader(at)).inspect_err(|error| log::info!("the kernel's memory: {error}"));
    tried.is_ok().then_some(at)
}

/// A program that reads eight bytes at this offset of a packet's `struct sk_buff`.
fn reader(at: u32) -> [u64; 8] {
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

/// Bytes of `struct btf_type` and of `struct btf_member`, and where the latter has its offset.
const TYPE: usize = 12;
const MEMBER: usize = 12;
const MEMBER_OFFSET: usize = 8;

/// `BTF_KIND_STRUCT`
const STRUCT: usize = 4;

/// The offset in bytes of a field of a structure, not of one that is in it.
fn offset(btf: &[u8], structure: &str, field: &str) -> Option<u32> {
    const MAGIC: usize = 0xeb9f;
    if word(btf, 0)? & 0xffff != MAGIC {
        return None;
    }
    let header = word(btf, 4)?;
    let section = |at| btf.get(header.checked_add(word(btf, at)?)?..)?.get(..word(btf, at + 4)?);
    let (types, strings) = (section(8)?, section(16)?);
    let is_called = |at, name: &str| {
        let text = word(types, at).and_then(|name| strings.get(name..));
        text.is_some_and(|text| text.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0)))
    };
    let mut at = 0;
    loop {
        let info = word(types, at + 4)?;
        let (kind, entries) = (info >> 24 & 0x1f, info & 0xffff);
        let members = at + TYPE;
        if kind == STRUCT && is_called(at, structure) {
            let member = (0..entries).map(|index| members + index * MEMBER).find(|&member| is_called(member, field))?;
            // In a structure with bit fields, the upper byte is the size of one.
            let bits = word(types, member + MEMBER_OFFSET)? & if info >> 31 == 1 { 0x00ff_ffff } else { usize::MAX };
            return u32::try_from(bits / 8).ok();
        }
        at = members + more(kind, entries)?;
    }
}

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

    /// BTF with an integer, a structure without and one with bit fields, and a function's prototype before them.
    fn btf() -> Vec<u8> {
        let strings = b"\0int\0plain\0first\0second\0packed\0";
        let names = ["int", "plain", "first", "second", "packed"];
        let [int, plain, first, second, packed] =
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
        ]
        .concat();
        let header = [0x0001_eb9f, 24, 0, types.len() as u32 * 4, types.len() as u32 * 4, strings.len() as u32];
        let words = header.into_iter().chain(types).flat_map(u32::to_ne_bytes);
        words.chain(strings.iter().copied()).collect()
    }

    #[test]
    fn fields_are_found_by_the_names_of_their_structure_and_their_own() {
        let btf = btf();
        let found = [("plain", "first"), ("plain", "second"), ("packed", "first"), ("packed", "second")]
            .map(|(structure, field)| offset(&btf, structure, field));
        assert_eq!(found, [Some(0), Some(4), Some(0), Some(8)]);
        assert_eq!(["plai", "plainer", "int"].map(|structure| offset(&btf, structure, "second")), [None; 3]);
        assert_eq!(offset(&btf, "plain", "third"), None);
    }

    #[test]
    fn bytes_that_are_no_types_have_no_fields() {
        let btf = btf();
        for length in 0..btf.len() {
            assert_eq!(offset(&btf[..length], "plain", "third"), None);
        }
        assert_eq!(offset(&[0; 64], "plain", "first"), None);
    }
}
