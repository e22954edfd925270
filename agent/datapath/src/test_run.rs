//! Runs of the programs on frames that never were on a wire (BPF_PROG_TEST_RUN).

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

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
