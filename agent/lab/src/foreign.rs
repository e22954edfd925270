//! TC programs of somebody else.

use std::ffi::{CStr, CString, c_int, c_long};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::{During, Result};
use crate::lab::Lab;
use crate::namespace::Namespace;
use crate::pod::Interface;

/// A direction as TC sees it, from the side of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Packets that the interface receives.
    Ingress,
    /// Packets that it sends.
    Egress,
}

impl Hook {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ingress, Self::Egress];

    fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

/// What such a program does to every packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Lets it pass, so that no program behind this one sees it.
    Ok,
    /// Lets it pass on to the programs behind this one.
    Next,
    /// Drops it.
    Shot,
    /// Lets it pass with its source port (of TCP and UDP, without IP options) as its `tc_index`: a sender can try every
    /// number by asking from every port.
    TagByPort,
    /// Drops it unless its `tc_index` says something.
    ShotUntagged,
}

impl Answer {
    /// The program's instructions.
    fn instructions(self) -> Vec<u64> {
        // r0 = code; exit
        let end = |code: u64| [0xb7 | code << 32, 0x95];
        // r0 = *(u32 *)(r1 + 44); if r0 != 0 goto +2
        let untagged = [0x61 | 0x10 << 8 | 44 << 16, 0x55 | 2 << 16];
        match self {
            Self::Ok => end(0).to_vec(),
            Self::Next => end(0xffff_ffff).to_vec(),
            Self::Shot => end(2).to_vec(),
            // -1, "next": the kernel clears `tc_index` behind a program that says OK.
            Self::TagByPort => [&TAG_BY_PORT[..], &end(0xffff_ffff)].concat(),
            Self::ShotUntagged => [untagged, end(2), end(0xffff_ffff)].concat(),
        }
    }
}

/// Copies the source port to `tc_index`, at 44 in the `__sk_buff`.
const TAG_BY_PORT: [u64; 7] = [
    0x16bf,                        // r6 = r1, where the next ones expect the packet
    0x28 | 12 << 32,               // r0 = EtherType
    0x15 | 2 << 16 | 0x86dd << 32, // if r0 == IPv6 goto +2
    0x28 | 34 << 32,               // r0 = source port behind an IPv4 header
    0x05 | 1 << 16,                // goto +1
    0x28 | 54 << 32,               // r0 = source port behind an IPv6 header
    0x63 | 0x06 << 8 | 44 << 16,   // *(u32 *)(r6 + 44) = r0
];

/// Where in the chain of a TCX hook a program goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainPosition {
    /// Before all that are there.
    First,
    /// Behind all that are there.
    Last,
}

/// A program that hangs on an interface by a TCX link, until it is dropped.
#[derive(Debug)]
pub struct ForeignLink {
    _link: OwnedFd,
}

impl ForeignLink {
    /// Attaches one.
    ///
    /// # Errors
    /// When the kernel is older than 6.6 or there is no such interface.
    pub fn attach(
        namespace: &Namespace,
        interface: &str,
        hook: Hook,
        position: ChainPosition,
        answer: Answer,
    ) -> Result<Self> {
        let index = Interface::find(namespace, interface)?.index;
        // The kernel looks up the index in the namespace of the caller.
        let link = namespace.run(|| link(&load(answer)?, index, hook, position));
        link.map(|link| Self { _link: link }).during(|| format!("attach a TCX program to {interface}"))
    }
}

/// Adds a clsact filter of this preference with a program that answers OK. It goes with the interface.
///
/// # Errors
/// When there is no such interface or the preference is taken by another kind of filter.
pub fn add_foreign_filter(
    lab: &Lab,
    namespace: &Namespace,
    interface: &str,
    hook: Hook,
    preference: u16,
) -> Result<()> {
    let path = lab.bpffs()?.join("foreign");
    if !path.exists() {
        load(Answer::Ok)
            .and_then(|program| pin(&program, &path))
            .during(|| format!("pin a program to {}", path.display()))?;
    }
    namespace.output("tc", &["qdisc", "replace", "dev", interface, "clsact"])?;
    let preference = preference.to_string();
    let (hook, path) = (hook.name(), path.to_string_lossy());
    let filter = ["filter", "add", "dev", interface, hook, "pref", &preference, "protocol", "all"];
    let program = ["bpf", "direct-action", "object-pinned", &path];
    namespace.output("tc", &[&filter[..], &program].concat()).map(drop)
}

/// Loads a classifier.
fn load(answer: Answer) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct ProgLoad {
        program_type: u32,
        instruction_count: u32,
        instructions: u64,
        license: u64,
    }
    const PROG_LOAD: c_int = 5;
    const SCHED_CLS: u32 = 3;
    let instructions = answer.instructions();
    let license: &CStr = c"GPL";
    let attributes = ProgLoad {
        program_type: SCHED_CLS,
        instruction_count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: license.as_ptr() as u64,
    };
    // SAFETY: the attributes are those of the command, and what they point to lives through the call.
    let file = unsafe { bpf(PROG_LOAD, &attributes) }?;
    // SAFETY: the command returns a new descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(file) })
}

fn link(program: &OwnedFd, index: u32, hook: Hook, position: ChainPosition) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct LinkCreate {
        program: c_int,
        interface: u32,
        attach_type: u32,
        flags: u32,
        relative: u64,
        expected_revision: u64,
    }
    const LINK_CREATE: c_int = 28;
    let attach_type = match hook {
        Hook::Ingress => 46,
        Hook::Egress => 47,
    };
    // BPF_F_BEFORE, BPF_F_AFTER: relative to all, where nothing else is named.
    let flags = match position {
        ChainPosition::First => 1 << 3,
        ChainPosition::Last => 1 << 4,
    };
    let program = program.as_raw_fd();
    let attributes = LinkCreate { program, interface: index, attach_type, flags, relative: 0, expected_revision: 0 };
    // SAFETY: the attributes are those of the command and hold no pointers.
    let file = unsafe { bpf(LINK_CREATE, &attributes) }?;
    // SAFETY: the command returns a new descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(file) })
}

fn pin(program: &OwnedFd, path: &Path) -> io::Result<()> {
    #[repr(C)]
    struct ObjPin {
        path: u64,
        file: c_int,
        flags: u32,
    }
    const OBJ_PIN: c_int = 6;
    let path = CString::new(path.as_os_str().as_bytes())?;
    let attributes = ObjPin { path: path.as_ptr() as u64, file: program.as_raw_fd(), flags: 0 };
    // SAFETY: the attributes are those of the command, and the path lives through the call.
    unsafe { bpf(OBJ_PIN, &attributes) }.map(drop)
}

/// # Safety
/// `A` is laid out as a beginning of `union bpf_attr` for this command, without padding, and its pointers are valid.
unsafe fn bpf<A>(command: c_int, attributes: &A) -> io::Result<c_int> {
    // SAFETY: the kernel reads the structure, whose size it is told, and what it points to.
    let result = unsafe { libc::syscall(libc::SYS_bpf, c_long::from(command), &raw const *attributes, size_of::<A>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { c_int::try_from(result).map_err(io::Error::other) }
}
