use std::io;

use super::sandbox::{Pod, deny_all, enforce, pinned, sandbox, with_both_hooks};
use crate::{Datapath, Hook};

const NET_ADMIN: u32 = 12;
const PERFMON: u32 = 38;
const BPF: u32 = 39;

/// Leaves the thread these capabilities.
fn keep_capabilities(kept: &[u32]) {
    let bits: u64 = kept.iter().map(|capability| 1 << capability).sum();
    let mut header = [0x2008_0522_u32, 0];
    let half = |bits: u32| [bits, bits, 0];
    let data = [half(bits as u32), half((bits >> 32) as u32)];
    // SAFETY: both pointers are valid for the call and sized as version 3 of the structs asks.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_mut_ptr(), data.as_ptr()) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

#[test]
fn three_capabilities_are_enough_from_load_to_takeover() {
    with_both_hooks(|hook| {
        let (pod, other) = (Pod::new(1), Pod::new(2));
        keep_capabilities(&[BPF, PERFMON, NET_ADMIN]);
        let mut former = Datapath::load(&pinned(hook)).unwrap();
        enforce(&mut former, 1, &pod, deny_all());
        enforce(&mut former, 2, &other, deny_all());
        drop(former);
        let mut datapath = Datapath::load(&pinned(hook)).unwrap();
        enforce(&mut datapath, 1, &pod, deny_all());
        assert_eq!(datapath.finish_takeover().unwrap(), [other.ifindex]);
        datapath.counters().unwrap();
        datapath.usage().unwrap();
        datapath.release(1).unwrap();
    });
}

/// Has the kernel answer bpf(2) of the thread with EPERM, as the profile of a container does.
fn forbid_bpf() {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    // The number of the call is the first word of struct seccomp_data.
    let mut filter = [
        step(LOAD, 0, 0, 0),
        step(EQUAL, libc::SYS_bpf as u32, 0, 1),
        step(RETURN, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32, 0, 0),
        step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program and its filter are valid for the call.
    let result = unsafe {
        libc::prctl(libc::PR_SET_SECCOMP, libc::c_ulong::from(libc::SECCOMP_MODE_FILTER), &raw const program)
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

#[test]
fn a_profile_that_forbids_bpf_is_named() {
    let error = sandbox(|| {
        forbid_bpf();
        Datapath::load(&pinned(Hook::Auto)).unwrap_err().to_string()
    });
    let expected =
        "the kernel forbids bpf(2), although the process has the capabilities: a seccomp profile is in force";
    assert!(error.starts_with(expected), "{error}");
}

#[test]
fn a_capability_that_is_missing_is_named() {
    let cases =
        [(&[PERFMON, NET_ADMIN], "CAP_BPF"), (&[BPF, NET_ADMIN], "CAP_PERFMON"), (&[BPF, PERFMON], "CAP_NET_ADMIN")];
    for (kept, missing) in cases {
        let error = sandbox(|| {
            keep_capabilities(kept);
            Datapath::load(&pinned(Hook::Auto)).unwrap_err().to_string()
        });
        let expected = format!(
            "the process lacks {missing}: run podgate as root, or add these to the container's \
             securityContext.capabilities"
        );
        assert_eq!(error, expected);
    }
}
