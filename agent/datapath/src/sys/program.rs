//! Programs.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use super::{bpf, bpf_fd, object_info, raw};

const PROG_LOAD: u32 = 5;
const PROG_TEST_RUN: u32 = 10;

/// The id of a program.
pub(crate) fn program_id(program: BorrowedFd<'_>) -> io::Result<u32> {
    // struct bpf_prog_info begins with type and id.
    let mut info = [0_u32; 2];
    object_info(program, &mut info)?;
    Ok(info[1])
}

/// The instructions of a program as the kernel has rewritten them.
pub(crate) fn program_instructions(program: BorrowedFd<'_>) -> io::Result<Vec<u64>> {
    // struct bpf_prog_info: xlated_prog_len is its sixth u32, xlated_prog_insns the u64 behind the eighth.
    const LENGTH: usize = 5;
    const POINTER: usize = 8;
    let mut info = [0_u32; 10];
    object_info(program, &mut info)?;
    let mut instructions = vec![0_u64; info[LENGTH] as usize / size_of::<u64>()];
    let pointer = instructions.as_mut_ptr() as u64;
    let mut info = [0_u32; 10];
    info[LENGTH] = size_of_val(&*instructions) as u32;
    let halves = pointer.to_ne_bytes();
    info[POINTER] = u32::from_ne_bytes([halves[0], halves[1], halves[2], halves[3]]);
    info[POINTER + 1] = u32::from_ne_bytes([halves[4], halves[5], halves[6], halves[7]]);
    object_info(program, &mut info)?;
    // The kernel writes no pointer back where it has told nothing.
    if info[POINTER..] == [0, 0] {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(instructions)
}

/// Loads a classifier from instructions of the BPF machine.
pub(crate) fn classifier_load(instructions: &[u64]) -> io::Result<OwnedFd> {
    /// `BPF_PROG_TYPE_SCHED_CLS`
    const SCHED_CLS: u32 = 3;
    #[repr(C)]
    #[derive(Default)]
    struct Attr {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
        kernel_version: u32,
        flags: u32,
    }
    let mut attr = Attr {
        kind: SCHED_CLS,
        count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        ..Attr::default()
    };
    bpf_fd(PROG_LOAD, &mut attr)
}

/// Input and outcome of a test run.
pub(crate) struct TestRunBuffers<'a> {
    /// The frame.
    pub(crate) packet: &'a [u8],
    /// `struct __sk_buff` before and after.
    pub(crate) context: &'a mut [u8],
    /// Room for the frame after the run.
    pub(crate) output: &'a mut Vec<u8>,
}

/// Runs a classifier on a frame so many times; its last verdict, and how many nanoseconds a run took.
pub(crate) fn test_run(program: BorrowedFd<'_>, buffers: TestRunBuffers<'_>, repeat: u32) -> io::Result<(u32, u32)> {
    #[repr(C)]
    #[derive(Default)]
    struct Attr {
        program: u32,
        verdict: u32,
        packet_size: u32,
        output_size: u32,
        packet: u64,
        output: u64,
        repeat: u32,
        duration: u32,
        context_in_size: u32,
        context_out_size: u32,
        context_in: u64,
        context_out: u64,
        flags: u32,
        cpu: u32,
        batch_size: u32,
        pad: u32,
    }
    let TestRunBuffers { packet, context, output } = buffers;
    let context_pointer = context.as_mut_ptr() as u64;
    let mut attr = Attr {
        program: raw(program),
        packet_size: packet.len() as u32,
        output_size: output.len() as u32,
        packet: packet.as_ptr() as u64,
        output: output.as_mut_ptr() as u64,
        repeat,
        context_in_size: context.len() as u32,
        context_out_size: context.len() as u32,
        context_in: context_pointer,
        context_out: context_pointer,
        ..Attr::default()
    };
    bpf(PROG_TEST_RUN, &mut attr)?;
    output.truncate(attr.output_size as usize);
    Ok((attr.verdict, attr.duration))
}
