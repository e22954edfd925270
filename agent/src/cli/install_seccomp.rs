//! `podgate install-seccomp`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::output::print;
use crate::cni;

/// The name of the profile, which the manifests name too.
const NAME: &str = "podgate-agent.json";

/// What the agent may ask of the kernel.
const PROFILE: &str = include_str!("../../../deploy/components/crio/seccomp.json");

/// Put the agent's seccomp profile where the kubelet looks for profiles
///
/// For container runtimes whose default profile forbids bpf(2) to whoever has CAP_BPF, as CRI-O's does. The profile allows what the
/// agent uses and nothing else. Exit status: 0 done, 2 not done.
#[derive(Args, Debug)]
pub(crate) struct InstallSeccompArgs {
    /// The kubelet's directory of profiles
    #[arg(long, env = "PODGATE_SECCOMP_DIR", value_name = "DIR", default_value = "/var/lib/kubelet/seccomp")]
    seccomp_dir: PathBuf,
}

impl InstallSeccompArgs {
    /// Writes the profile in one step, so that a container that starts meanwhile finds the old or the new.
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let path = self.seccomp_dir.join(NAME);
        cni::write(&path, PROFILE.as_bytes(), 0o644)?;
        print(&format!("wrote {}\n", path.display()))?;
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn the_profile_is_written_and_replaces_a_former_one() {
        let directory = TempDir::new().unwrap();
        let args = InstallSeccompArgs { seccomp_dir: directory.path().to_owned() };
        fs::write(directory.path().join(NAME), "old").unwrap();
        args.run().unwrap();
        let entries: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(entries, [NAME]);
        assert_eq!(fs::read_to_string(directory.path().join(NAME)).unwrap(), PROFILE);
    }

    #[test]
    fn the_profile_forbids_what_it_does_not_name_and_names_bpf() {
        let profile: serde_json::Value = serde_json::from_str(PROFILE).unwrap();
        assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
        let names = profile["syscalls"][0]["names"].as_array().unwrap();
        let names_it = |call: &str| names.iter().any(|name| name == call);
        assert!(names_it("bpf") && !["mount", "ptrace", "setns", "unshare", "init_module"].into_iter().any(names_it));
    }
}
