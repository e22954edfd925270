//! The kernel, and what podgate has in it.

use podgate_datapath::Features;

use super::{Check, Facts};

/// The oldest kernel that is tested.
const OLDEST: (u32, u32) = (5, 10);

/// A clock before this is set wrong: 2025-01-01. Certificates are not valid yet then.
const EARLIEST: u64 = 1_735_689_600;

/// The version. What it has is asked of the kernel, so this is a hint alone.
pub(super) fn kernel(facts: &Facts) -> Check {
    let name = "kernel";
    let release = &facts.kernel.release;
    match version(release) {
        Some(version) if version < OLDEST => Check::fault(
            name,
            format!("Linux {release}: podgate is tested on 5.10 and later"),
            "boot a newer kernel on this node",
        ),
        Some(_) if facts.lockdown.as_deref() == Some("confidentiality") => Check::warning(
            name,
            format!(
                "Linux {release}, locked down for confidentiality: programs can't read what connection tracking knows, so \
                 some answers need an egress rule"
            ),
            "boot with lockdown=integrity, or see Limits in docs/security.md",
        ),
        Some(_) => Check::ok(name, format!("Linux {release}")),
        None => Check::not_checked(name, format!("the release {release:?} has no version")),
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

/// What the kernel has of BPF.
pub(super) fn bpf(facts: &Facts) -> Check {
    let name = "bpf-features";
    let features = match &facts.kernel.bpf {
        Ok(features) => features,
        Err(why) if !facts.kernel.missing.is_empty() => return Check::not_checked(name, why.as_str()),
        Err(why) => {
            return Check::fault(name, why.as_str(), "see \"The agent does not start\" in docs/troubleshooting.md");
        }
    };
    let Features { ring_buffers, lru_hashes, tcx, types, memlock } = *features;
    let missing: Vec<&str> =
        [(ring_buffers, "ring buffers"), (lru_hashes, "LRU hashes")].iter().filter(|it| !it.0).map(|it| it.1).collect();
    if !missing.is_empty() {
        return Check::fault(
            name,
            format!("the kernel has no {}", missing.join(" and no ")),
            "boot Linux 5.10 or later",
        );
    }
    let has = format!("ring buffers, LRU hashes, {}", if tcx { "TCX links" } else { "clsact filters (no TCX)" });
    match (types, memlock) {
        (false, _) => Check::warning(
            name,
            format!("{has}; the kernel does not tell its types (BTF): connection tracking and checksums can't be read"),
            "use a kernel with CONFIG_DEBUG_INFO_BTF=y, or see Limits in docs/security.md",
        ),
        (true, Some(bytes)) => Check::warning(
            name,
            format!("{has}; maps count against the limit of locked memory, {bytes} bytes"),
            "--set node.memlock=true (the component memlock), or LimitMEMLOCK=infinity in the runtime's unit",
        ),
        (true, None) => Check::ok(name, format!("{has}, the kernel's types")),
    }
}

/// What the process may do.
pub(super) fn capabilities(facts: &Facts) -> Check {
    let name = "capabilities";
    let missing = facts.kernel.missing.join(", ");
    if missing.is_empty() {
        return Check::ok(name, "CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN");
    }
    Check::fault(
        name,
        format!("this process lacks {missing}"),
        "run it as root, or add these to the container's securityContext.capabilities",
    )
}

/// Where programs and tables are pinned.
pub(super) fn file_system(facts: &Facts) -> Check {
    let (name, bpffs) = ("bpf-file-system", facts.bpffs.display());
    if facts.kernel.on_bpffs {
        return Check::ok(name, format!("{bpffs} is on one"));
    }
    Check::fault(
        name,
        format!("{bpffs} is on no BPF file system"),
        "mount -t bpf bpf /sys/fs/bpf, or --set node.mountBpffs=true; in a container mount the host's",
    )
}

/// What is pinned, by this instance and by others.
pub(super) fn pins(facts: &Facts) -> Check {
    let (name, bpffs) = ("pins", facts.bpffs.display());
    let pinned = match &facts.kernel.pinned {
        Ok(pinned) => pinned,
        Err(why) if !facts.kernel.missing.is_empty() => {
            return Check::not_checked(name, format!("{why}: run this as root"));
        }
        Err(why) => {
            return Check::fault(name, why.as_str(), "find out who made it, give it back to root, run podgate cleanup");
        }
    };
    if let Some(other) = facts.kernel.other_pins.first() {
        let all: Vec<String> = facts.kernel.other_pins.iter().map(|path| path.display().to_string()).collect();
        return Check::fault(
            name,
            format!("another instance of podgate has pinned below {}", all.join(", ")),
            format!(
                "if that is where your agent pins, give --bpffs {0} to this command; else stop all agents, run podgate \
                 cleanup --bpffs {0}, which uninstalls the CNI plugin too, and start yours again",
                other.display()
            ),
        );
    }
    match pinned {
        true => Check::ok(name, format!("enforcement is pinned below {bpffs}: it outlives the agent")),
        false if facts.agent.is_ok() => Check::fault(
            name,
            format!("the agent answers, but nothing is pinned below {bpffs}"),
            "give this command the agent's --bpffs, or look for who removes pins",
        ),
        false => Check::ok(name, format!("nothing is pinned below {bpffs}: no agent has enforced here since the boot")),
    }
}

/// The node's clock.
pub(super) fn clock(facts: &Facts) -> Check {
    let (name, remedy) = ("clock", "start chronyd or systemd-timesyncd");
    match facts.kernel.clock_synchronised {
        _ if facts.clock < EARLIEST => Check::fault(
            name,
            format!("it is set to {} s after 1970: certificates are not valid yet", facts.clock),
            remedy,
        ),
        Some(true) => Check::ok(name, "synchronised"),
        Some(false) => {
            Check::warning(name, "the kernel does not take it for synchronised: times of flows may be off", remedy)
        }
        None => Check::not_checked(name, "the kernel does not tell this process whether it is synchronised"),
    }
}
