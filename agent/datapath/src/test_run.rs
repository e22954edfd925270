//! Runs of the programs on frames that never were on a wire (BPF_PROG_TEST_RUN).

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use podgate_common::Tag;

use crate::sys::{self, TestRunBuffers};

/// What the program sees beside the frame. These are the fields that the kernel takes from user space; tags and VLAN
/// metadata are not among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TestContext {
    /// The interface at whose hook the program runs: one of this thread's network namespace, where 1 is loopback.
    /// 0 is taken for 1.
    pub ifindex: u32,
    /// The interface through which the packet came to this host; 0: it was made here.
    pub ingress_ifindex: u32,
    /// `skb->mark`.
    pub mark: u32,
    /// How many packets on the wire the frame stands for; 0: one.
    pub gso_segs: u32,
    /// Their payload, where there are several.
    pub gso_size: u32,
}

/// A classifier that passes every packet on, as the measure of all others.
///
/// # Errors
/// The kernel refused to load it.
pub fn empty_program() -> io::Result<OwnedFd> {
    // r0 = -1; exit
    sys::classifier_load(&[0xffff_ffff_0000_00b7, 0x95])
}

/// A walk over source ports that comes to each once before it comes to one again, in an order that no cache foresees. A
/// test run repeats one packet, and what a program writes to it stays: so each repetition is a packet of another flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortWalk {
    /// Where frames have the source port, which must be one of the walk's.
    pub at: u16,
}

impl PortWalk {
    /// The lowest of the ports.
    pub const FIRST: u16 = 1024;
    /// How many there are.
    pub const COUNT: u16 = 60_000;
    // A linear congruential generator. Its period is COUNT, by the theorem of Hull and Dobell: INCREMENT has no factor in
    // common with COUNT, and FACTOR - 1 is a multiple of 4 and of each prime factor of COUNT.
    const FACTOR: u32 = 16_381;
    const INCREMENT: u32 = 12_347;

    /// The port that follows one.
    #[must_use]
    pub const fn next(port: u16) -> u16 {
        let place = (port - Self::FIRST) as u32;
        Self::FIRST + ((place * Self::FACTOR + Self::INCREMENT) % Self::COUNT as u32) as u16
    }

    /// Moves the source port on; leaves the context in r1.
    fn instructions(self) -> [u64; 16] {
        let at = u64::from(self.at);
        let [first, count] = [Self::FIRST, Self::COUNT].map(|port| u64::from(port) << 32);
        let [factor, increment] = [Self::FACTOR, Self::INCREMENT].map(|number| u64::from(number) << 32);
        [
            0x1261 | DATA << 16,     // r2 = context.data
            0x1361 | DATA_END << 16, // r3 = context.data_end
            0x24bf,                  // r4 = r2
            0x0407 | (at + 2) << 32, // r4 += the end of the port
            0x34bd | 2 << 16,        // if r4 <= r3 goto +2
            0x00b4 | FAILED << 32,   // w0 = FAILED
            0x0095,                  // return
            0x2569 | at << 16,       // r5 = *(u16 *)(r2 + at)
            0x05dc | 16 << 32,       // r5 = be16(r5)
            0x0517 | first,          // r5 -= FIRST
            0x0527 | factor,         // r5 *= FACTOR
            0x0507 | increment,      // r5 += INCREMENT
            0x0597 | count,          // r5 %= COUNT
            0x0507 | first,          // r5 += FIRST
            0x05dc | 16 << 32,       // r5 = be16(r5)
            0x526b | at << 16,       // *(u16 *)(r2 + at) = r5
        ]
    }
}

/// A program that gives each packet a tag and hands it to another program: a test run's context can carry no tag.
#[derive(Debug)]
pub struct Tagged {
    program: OwnedFd,
    /// Its entry would go with its last descriptor.
    _next: OwnedFd,
}

impl Tagged {
    /// Gives `tag` and hands over to `program`.
    ///
    /// # Errors
    /// The kernel refused to load it.
    pub fn new(program: BorrowedFd<'_>, tag: Tag) -> io::Result<Self> {
        Self::behind(&[], program, tag)
    }

    /// The same, and each packet has the next port of a walk.
    ///
    /// # Errors
    /// The kernel refused to load it.
    pub fn walking(program: BorrowedFd<'_>, tag: Tag, walk: PortWalk) -> io::Result<Self> {
        Self::behind(&walk.instructions(), program, tag)
    }

    /// Does the same behind other instructions.
    fn behind(before: &[u64], program: BorrowedFd<'_>, tag: Tag) -> io::Result<Self> {
        let next = sys::map_create(sys::MAP_TYPE_PROG_ARRAY, 1, None)?;
        sys::map_update(next.as_fd(), &0_u32, &program.as_raw_fd())?;
        let map = u64::from(next.as_raw_fd().cast_unsigned()) << 32;
        let tag = u64::from(tag.raw()) << 32;
        let hand_over = [
            0x02b4 | tag,                       // w2 = tag
            0x2163 | (TC_INDEX as u64) << 16,   // context.tc_index = w2
            0x2163 | (TC_CLASSID as u64) << 16, // context.tc_classid = w2
            0x1218 | map,                       // r2 = the map of programs
            0,                                  // its upper half
            0x03b4,                             // w3 = 0
            0x0085 | 12 << 32,                  // bpf_tail_call(r1, r2, r3)
            0x00b4 | FAILED << 32,              // w0 = FAILED
            0x0095,                             // return
        ];
        let program = sys::classifier_load(&[before, &hand_over].concat())?;
        Ok(Self { program, _next: next })
    }

    /// The program to run.
    #[must_use]
    pub fn program(&self) -> BorrowedFd<'_> {
        self.program.as_fd()
    }
}

/// The verdict of [`Tagged`] if the other program was not reached; no `TC_ACT_*`.
const FAILED: u64 = 99;

/// What came of a test run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRun {
    /// The program's (last) return value, a `TC_ACT_*`.
    pub verdict: i32,
    /// The frame as the program left it.
    pub packet: Vec<u8>,
    /// `skb->mark` as the program left it.
    pub mark: u32,
    /// How long one run took, on average.
    pub duration: Duration,
}

/// Size of `struct __sk_buff`, and offsets of its fields.
const SK_BUFF: usize = 192;
const MARK: usize = 8;
const INGRESS_IFINDEX: usize = 36;
const IFINDEX: usize = 40;
const TC_INDEX: usize = 44;
const TC_CLASSID: usize = 72;
const DATA: u64 = 76;
const DATA_END: u64 = 80;
const GSO_SEGS: usize = 164;
const GSO_SIZE: usize = 176;

/// Runs a classifier `repeat` times on a frame that begins with its Ethernet header.
///
/// # Errors
/// The kernel refuses frames shorter than 14 bytes and interfaces that don't exist.
pub fn test_run(program: BorrowedFd<'_>, packet: &[u8], context: &TestContext, repeat: u32) -> io::Result<TestRun> {
    let mut sk_buff = [0_u8; SK_BUFF];
    let fields = [
        (MARK, context.mark),
        (INGRESS_IFINDEX, context.ingress_ifindex),
        (IFINDEX, context.ifindex),
        (GSO_SEGS, context.gso_segs),
        (GSO_SIZE, context.gso_size),
    ];
    for (offset, value) in fields {
        sk_buff[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
    }
    // Room for headers that a program may push.
    let mut output = vec![0; packet.len() + 256];
    let buffers = TestRunBuffers { packet, context: &mut sk_buff, output: &mut output };
    let (verdict, nanoseconds) = sys::test_run(program, buffers, repeat)?;
    let mark = [0, 1, 2, 3].map(|byte| sk_buff[MARK + byte]);
    Ok(TestRun {
        verdict: verdict.cast_signed(),
        packet: output,
        mark: u32::from_ne_bytes(mark),
        duration: Duration::from_nanos(nanoseconds.into()),
    })
}
