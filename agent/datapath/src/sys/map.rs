//! Maps: single entries and batches of them.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use aya::Pod;

use super::{bpf, bpf_fd, object_info, raw};

const MAP_CREATE: u32 = 0;
const MAP_LOOKUP_ELEM: u32 = 1;
const MAP_UPDATE_ELEM: u32 = 2;
const MAP_DELETE_ELEM: u32 = 3;
const MAP_GET_NEXT_KEY: u32 = 4;
const MAP_LOOKUP_BATCH: u32 = 24;
const MAP_LOOKUP_AND_DELETE_BATCH: u32 = 25;
const MAP_UPDATE_BATCH: u32 = 26;
const MAP_DELETE_BATCH: u32 = 27;

/// `BPF_MAP_TYPE_ARRAY`
pub(crate) const MAP_TYPE_ARRAY: u32 = 2;
/// `BPF_MAP_TYPE_PROG_ARRAY`
pub(crate) const MAP_TYPE_PROG_ARRAY: u32 = 3;
/// `BPF_MAP_TYPE_ARRAY_OF_MAPS`
pub(crate) const MAP_TYPE_ARRAY_OF_MAPS: u32 = 12;
/// `BPF_MAP_TYPE_RINGBUF`
pub(crate) const MAP_TYPE_RINGBUF: u32 = 27;

/// How big a map is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MapSize {
    pub(crate) key: u32,
    pub(crate) value: u32,
    pub(crate) entries: u32,
}

/// Makes a map with 4-byte keys and values.
pub(crate) fn map_create(map_type: u32, entries: u32, inner: Option<BorrowedFd<'_>>) -> io::Result<OwnedFd> {
    map_create_sized(map_type, MapSize { key: 4, value: 4, entries }, inner)
}

/// Makes a map.
pub(crate) fn map_create_sized(map_type: u32, size: MapSize, inner: Option<BorrowedFd<'_>>) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        map_type: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
        flags: u32,
        inner_fd: u32,
    }
    let inner_fd = inner.map_or(0, raw);
    let MapSize { key: key_size, value: value_size, entries: max_entries } = size;
    bpf_fd(MAP_CREATE, &mut Attr { map_type, key_size, value_size, max_entries, flags: 0, inner_fd })
}

/// How big a map is.
pub(crate) fn map_size(map: BorrowedFd<'_>) -> io::Result<MapSize> {
    // struct bpf_map_info begins with type, id, key_size, value_size, max_entries.
    let mut info = [0_u32; 5];
    object_info(map, &mut info)?;
    Ok(MapSize { key: info[2], value: info[3], entries: info[4] })
}

#[repr(C)]
struct ElementAttr {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// One command about one entry.
fn element(command: u32, map: BorrowedFd<'_>, key: u64, value: u64, flags: u64) -> io::Result<()> {
    bpf(command, &mut ElementAttr { map_fd: raw(map), pad: 0, key, value, flags }).map(drop)
}

/// Whether the kernel knows no batches for maps of this type: for arrays with a value per CPU and for tries it does since
/// Linux 5.13 (`include/linux/errno.h`: ENOTSUPP, which libc does not know).
fn has_no_batches(error: &io::Error) -> bool {
    const ENOTSUPP: i32 = 524;
    error.raw_os_error() == Some(ENOTSUPP)
}

/// Reads one entry of a map whose values are `V`; `None` where it has no such key.
pub(crate) fn map_lookup<K: Pod, V: Pod + Default>(map: BorrowedFd<'_>, key: &K) -> io::Result<Option<V>> {
    let mut value = V::default();
    let (key, place) = (std::ptr::from_ref(key) as u64, std::ptr::from_mut(&mut value) as u64);
    match element(MAP_LOOKUP_ELEM, map, key, place, 0) {
        Ok(()) => Ok(Some(value)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes one entry.
pub(crate) fn map_update<K: Pod, V: Pod>(map: BorrowedFd<'_>, key: &K, value: &V) -> io::Result<()> {
    element(MAP_UPDATE_ELEM, map, std::ptr::from_ref(key) as u64, std::ptr::from_ref(value) as u64, 0)
}

#[repr(C)]
#[derive(Default)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// A batch that ended early: how many entries it dealt with, and why it went no further.
pub(crate) type BatchError = (usize, io::Error);

fn batch(command: u32, attr: &mut BatchAttr) -> Result<(), BatchError> {
    let asked = attr.count;
    bpf(command, attr).map(drop).map_err(|error| {
        // Kernels before 6.8 leave the field alone where they fail before the first entry.
        let done = if attr.count >= asked { 0 } else { attr.count };
        (done as usize, error)
    })
}

/// Writes many entries in order. A map with a value per CPU takes as many values per key.
pub(crate) fn map_update_batch<K: Pod, V: Pod>(
    map: BorrowedFd<'_>,
    keys: &[K],
    values: &[V],
) -> Result<(), BatchError> {
    debug_assert!(values.len().is_multiple_of(keys.len()), "every key has its values");
    let mut attr = BatchAttr {
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        count: keys.len() as u32,
        map_fd: raw(map),
        ..BatchAttr::default()
    };
    match batch(MAP_UPDATE_BATCH, &mut attr) {
        Err((_, error)) if has_no_batches(&error) => one_by_one(keys, |index, key| {
            let values = values[index * (values.len() / keys.len())..].as_ptr() as u64;
            element(MAP_UPDATE_ELEM, map, key, values, 0)
        }),
        outcome => outcome,
    }
}

/// What a batch does, entry by entry.
fn one_by_one<K>(keys: &[K], mut act: impl FnMut(usize, u64) -> io::Result<()>) -> Result<(), BatchError> {
    let mut each = keys.iter().enumerate();
    each.try_for_each(|(index, key)| act(index, std::ptr::from_ref(key) as u64).map_err(|error| (index, error)))
}

/// Removes many entries in order; ends early, with ENOENT, at one that is not there.
pub(crate) fn map_delete_batch<K: Pod>(map: BorrowedFd<'_>, keys: &[K]) -> Result<(), BatchError> {
    let mut attr =
        BatchAttr { keys: keys.as_ptr() as u64, count: keys.len() as u32, map_fd: raw(map), ..BatchAttr::default() };
    match batch(MAP_DELETE_BATCH, &mut attr) {
        Err((_, error)) if has_no_batches(&error) => {
            one_by_one(keys, |_, key| element(MAP_DELETE_ELEM, map, key, 0, 0))
        }
        outcome => outcome,
    }
}

/// Reads entries of an array, of one value per CPU or not, that follow one another. `values` has room for `count`.
pub(crate) fn array_lookup_batch<V: Pod>(
    map: BorrowedFd<'_>,
    first: u32,
    count: u32,
    values: &mut [V],
) -> io::Result<()> {
    let mut keys = vec![0_u32; count as usize];
    // The kernel begins behind the key it is given.
    let before = first.wrapping_sub(1);
    let mut out = 0_u32;
    let mut attr = BatchAttr {
        in_batch: if first == 0 { 0 } else { std::ptr::from_ref(&before) as u64 },
        out_batch: std::ptr::from_mut(&mut out) as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count,
        map_fd: raw(map),
        ..BatchAttr::default()
    };
    match bpf(MAP_LOOKUP_BATCH, &mut attr) {
        // ENOENT: the array ended with, or before, the last entry asked for.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) && attr.count == count => Ok(()),
        Err(error) if has_no_batches(&error) => {
            let per_key = values.len() / count as usize;
            (first..).zip(values.chunks_exact_mut(per_key)).try_for_each(|(key, values)| {
                element(MAP_LOOKUP_ELEM, map, std::ptr::from_ref(&key) as u64, values.as_mut_ptr() as u64, 0)
            })
        }
        other => other.map(drop),
    }
}

/// What to do with the entries of a hash that are walked over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Walk {
    /// Count them.
    Count = MAP_LOOKUP_BATCH,
    /// Count and remove them.
    Remove = MAP_LOOKUP_AND_DELETE_BATCH,
}

/// Walks over the entries of a hash whose keys and values have these sizes, and counts them.
pub(crate) fn hash_walk(map: BorrowedFd<'_>, walk: Walk, key_size: usize, value_size: usize) -> io::Result<u64> {
    let mut total = 0;
    hash_chunks(map, walk, [key_size, value_size], |keys, _| {
        total += (keys.len() / key_size) as u64;
        Ok(())
    })?;
    Ok(total)
}

/// What a hash with a count per CPU says of its keys, the counts added up.
pub(crate) fn per_cpu_counts(map: BorrowedFd<'_>, cpus: usize) -> io::Result<BTreeMap<u32, u64>> {
    let mut counts = BTreeMap::new();
    let word = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_ne_bytes);
    hash_chunks(map, Walk::Count, [4, 8 * cpus], |keys, values| {
        for (key, values) in keys.chunks_exact(4).zip(values.chunks_exact(8 * cpus)) {
            let key = key.try_into().map_or(0, u32::from_ne_bytes);
            counts.insert(key, values.chunks_exact(8).map(word).sum());
        }
        Ok(())
    })?;
    Ok(counts)
}

/// Copies the entries of a hash that another of the same sizes does not have.
pub(crate) fn hash_copy(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    key_size: usize,
    value_size: usize,
) -> io::Result<()> {
    /// `BPF_NOEXIST`
    const NOEXIST: u64 = 1;
    hash_chunks(from, Walk::Count, [key_size, value_size], |keys, values| {
        for (key, value) in keys.chunks_exact(key_size).zip(values.chunks_exact(value_size)) {
            match element(MAP_UPDATE_ELEM, to, key.as_ptr() as u64, value.as_ptr() as u64, NOEXIST) {
                Err(error) if error.raw_os_error() != Some(libc::EEXIST) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    })
}

/// Hands over the keys and values of a hash, many at a time.
fn hash_chunks(
    map: BorrowedFd<'_>,
    walk: Walk,
    [key_size, value_size]: [usize; 2],
    mut handle: impl FnMut(&[u8], &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut keys = vec![0_u8; key_size * CHUNK];
    let mut values = vec![0_u8; value_size * CHUNK];
    let mut cursor = Cursor::default();
    loop {
        let (count, over) = hash_chunk(map, walk, &mut cursor, keys.as_mut_ptr(), values.as_mut_ptr())?;
        handle(&keys[..count * key_size], &values[..count * value_size])?;
        if over {
            return Ok(());
        }
    }
}

/// The next keys of a hash or trie whose values have this size, and whether they are the last.
pub(crate) fn hash_keys<K: Pod>(
    map: BorrowedFd<'_>,
    cursor: &mut Cursor,
    value_size: usize,
) -> io::Result<(Vec<K>, bool)> {
    let mut keys = Vec::<K>::with_capacity(CHUNK);
    let mut values = vec![0_u8; value_size * CHUNK];
    let chunk = hash_chunk(map, Walk::Count, cursor, keys.as_mut_ptr().cast(), values.as_mut_ptr());
    let (count, over) = match chunk {
        Err(error) if has_no_batches(&error) => return next_keys(map),
        chunk => chunk?,
    };
    // SAFETY: the kernel has written so many keys, no more than there is room for; every bit pattern is one.
    unsafe { keys.set_len(count) };
    Ok((keys, over))
}

/// All keys of a hash that were there before.
pub(crate) fn all_hash_keys<K: Pod>(map: BorrowedFd<'_>, value_size: usize) -> io::Result<Vec<K>> {
    let (mut cursor, mut all) = (Cursor::default(), Vec::new());
    loop {
        let (keys, over) = hash_keys::<K>(map, &mut cursor, value_size)?;
        all.extend(keys);
        if over {
            return Ok(all);
        }
    }
}

/// All keys, one by one: what is written meanwhile may be missing, and the end comes after as many as there is room for,
/// so that no writer keeps this going for ever.
fn next_keys<K: Pod>(map: BorrowedFd<'_>) -> io::Result<(Vec<K>, bool)> {
    let room = map_size(map)?.entries as usize;
    let mut keys = Vec::<K>::new();
    while keys.len() < room {
        let before = keys.last().map_or(0, |key| std::ptr::from_ref(key) as u64);
        let mut next = std::mem::MaybeUninit::<K>::uninit();
        match element(MAP_GET_NEXT_KEY, map, before, next.as_mut_ptr() as u64, 0) {
            // SAFETY: the kernel has written a key, of which every bit pattern is one.
            Ok(()) => keys.push(unsafe { next.assume_init() }),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => break,
            Err(error) => return Err(error),
        }
    }
    Ok((keys, true))
}

/// How many entries of a hash are read at a time.
pub(crate) const CHUNK: usize = 4096;

/// Where the kernel goes on reading: the number of a hash's bucket, or the last key of a trie, which is the longest.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor {
    begun: bool,
    place: [u32; 5],
}

/// Reads the next entries, up to [`CHUNK`]: how many there were, and whether they are the last.
fn hash_chunk(
    map: BorrowedFd<'_>,
    walk: Walk,
    cursor: &mut Cursor,
    keys: *mut u8,
    values: *mut u8,
) -> io::Result<(usize, bool)> {
    let place = &raw mut cursor.place as u64;
    let mut attr = BatchAttr {
        in_batch: if cursor.begun { place } else { 0 },
        out_batch: place,
        keys: keys as u64,
        values: values as u64,
        count: CHUNK as u32,
        map_fd: raw(map),
        ..BatchAttr::default()
    };
    cursor.begun = true;
    match bpf(walk as u32, &mut attr) {
        Ok(_) => Ok((attr.count as usize, false)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok((attr.count as usize, true)),
        Err(error) => Err(error),
    }
}
