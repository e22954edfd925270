//! Why the kernel refuses bpf(2) to a process that has the capabilities for it.

use std::fs;

/// What tells of it.
#[derive(Debug, Default)]
struct Facts {
    /// `/proc/self/status`.
    status: String,
    /// `/proc/self/uid_map`: one line that maps everything to itself is that of the host's user namespace.
    uid_map: String,
    /// What a security module calls the process, `/proc/self/attr/current`: SELinux and AppArmor have it.
    label: String,
}

/// The likely causes, the likeliest first, each with what to do.
pub(crate) fn causes() -> String {
    Facts::read().causes()
}

/// Whether a seccomp profile is in force.
pub(crate) fn is_filtered() -> bool {
    Facts::read().is_filtered()
}

impl Facts {
    fn read() -> Self {
        let read = |name: &str| fs::read_to_string(format!("/proc/thread-self/{name}")).unwrap_or_default();
        Self { status: read("status"), uid_map: read("uid_map"), label: read("attr/current") }
    }

    fn causes(&self) -> String {
        let mut causes = Vec::new();
        if self.is_filtered() {
            causes.push("a seccomp profile is in force, let it allow bpf(2)".to_owned());
        }
        if self.is_contained() {
            causes.push(
                "it runs in a user namespace, whose capabilities don't count here, run it in the host's".to_owned(),
            );
        }
        let label = self.label.trim_matches(|c: char| c.is_whitespace() || c == '\0');
        if !label.is_empty() && label != "unconfined" {
            causes.push(format!("a security module confines it as {label}, let that one use bpf(2)"));
        }
        if causes.is_empty() {
            causes.push("a security module forbids it, see the kernel's and the audit log".to_owned());
        }
        causes.join("; or ")
    }

    /// Whether system calls are filtered (mode 2).
    fn is_filtered(&self) -> bool {
        let mode = self.status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
        mode.is_some_and(|mode| mode.trim() == "2")
    }

    /// Whether the process is in another user namespace than the host's, which maps all 2³² − 1 ids to themselves.
    fn is_contained(&self) -> bool {
        let ids: Vec<_> = self.uid_map.split_whitespace().collect();
        !ids.is_empty() && ids != ["0", "0", "4294967295"]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_way_is_named_with_what_to_do() {
        let host = "         0          0 4294967295\n";
        let profile = "a seccomp profile is in force, let it allow bpf(2)";
        let namespace = "it runs in a user namespace, whose capabilities don't count here, run it in the host's";
        let module = "a security module confines it as cri-containerd.apparmor.d (enforce), let that one use bpf(2)";
        let cases = [
            ("Seccomp:\t2\n", host, "unconfined\n", profile.to_owned()),
            ("Seccomp:\t0\n", "0 100000 65536\n", "", namespace.to_owned()),
            ("Seccomp:\t0\n", host, "cri-containerd.apparmor.d (enforce)\n", module.to_owned()),
            ("Name:\ta\nSeccomp:\t2\nSeccomp_filters:\t1\n", "0 1 1\n", "", format!("{profile}; or {namespace}")),
            (
                "Seccomp:\t0\n",
                host,
                "\0",
                "a security module forbids it, see the kernel's and the audit log".to_owned(),
            ),
        ];
        for (status, uid_map, label, expected) in cases {
            let facts = Facts { status: status.to_owned(), uid_map: uid_map.to_owned(), label: label.to_owned() };
            assert_eq!(facts.causes(), expected);
        }
    }
}
