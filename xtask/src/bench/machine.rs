//! The machine that is measured, and what is done so that it measures well.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// What figures depend on beside the code.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// Its processor's vendor and model.
    pub(crate) cpu: String,
    cpus: usize,
    kernel: String,
    /// What the kernel says of the processor's vulnerabilities, without those that it does not have.
    vulnerabilities: BTreeMap<String, String>,
    /// How frequencies are chosen, where this system chooses them.
    governor: Option<String>,
    /// Load averages of the last 1, 5 and 15 minutes before it began.
    load: String,
}

impl Machine {
    /// This one.
    pub(crate) fn here() -> Self {
        let read = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        let load = read("/proc/loadavg").unwrap_or_default();
        Self {
            cpu: cpu(&read("/proc/cpuinfo").unwrap_or_default()),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").unwrap_or_default(),
            vulnerabilities: vulnerabilities(Path::new("/sys/devices/system/cpu/vulnerabilities")),
            governor: read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            load: load.split(' ').take(3).collect::<Vec<_>>().join(" "),
        }
    }

    /// What must be the same for figures to be comparable.
    pub(crate) fn name(&self) -> String {
        let thunks = if self.returns_by_thunks() { ", return thunks" } else { "" };
        format!("{}, Linux {}{thunks}", self.cpu, self.kernel)
    }

    /// Whether each return of a function takes a detour, which makes every call dearer: the kernel's words for it are
    /// "untrained return thunk" (retbleed), "Safe RET" (spec_rstack_overflow), "return thunks" (indirect_target_selection).
    fn returns_by_thunks(&self) -> bool {
        self.vulnerabilities.values().any(|text| text.contains("Safe RET") || text.contains("return thunk"))
    }
}

/// Vendor and model of x86; of arm64, whose kernel knows no names, the numbers.
fn cpu(cpuinfo: &str) -> String {
    let field = |name: &str| {
        let mut fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
    };
    let named: Vec<String> = ["vendor_id", "model name"].into_iter().filter_map(field).collect();
    if named.is_empty() {
        let numbers = ["CPU implementer", "CPU part"].map(|name| field(name).unwrap_or_default());
        return format!("{}, processor {} of {}", std::env::consts::ARCH, numbers[1], numbers[0]);
    }
    named.join(" ")
}

fn vulnerabilities(directory: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let read = entries.filter_map(|entry| {
        let text = fs::read_to_string(entry.path()).ok()?;
        Some((entry.file_name().to_string_lossy().into_owned(), text.trim().to_owned()))
    });
    read.filter(|(_, text)| text != "Not affected").collect()
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu, cpus, kernel, vulnerabilities, governor, load } = self;
        writeln!(
            f,
            "- {cpu}, {cpus} CPUs, Linux {kernel}; frequency governor: {}",
            governor.as_deref().unwrap_or("none")
        )?;
        let thunks = if self.returns_by_thunks() { "" } else { "no " };
        let told: Vec<String> = vulnerabilities.iter().map(|(name, text)| format!("{name}: {text}")).collect();
        writeln!(f, "- {thunks}return thunks; the kernel says: {}", told.join(" / "))?;
        write!(f, "- load average before: {load}")
    }
}

/// The priority of this session's autogroup, by which the kernel shares CPUs among sessions: nice values count within one
/// only. It is raised until this is dropped.
pub(crate) struct Priority {
    former: Option<String>,
}

const AUTOGROUP: &str = "/proc/self/autogroup";

impl Priority {
    /// Raises it where the kernel has autogroups and lets this process do so.
    pub(crate) fn raise() -> Self {
        let former = fs::read_to_string(AUTOGROUP).ok().and_then(|text| nice(&text).map(str::to_owned));
        let raised = former.is_some() && fs::write(AUTOGROUP, "-15").is_ok();
        println!("bench: the priority of this session's autogroup is {}", if raised { "raised" } else { "as it was" });
        Self { former: former.filter(|_| raised) }
    }
}

/// The nice value in "/autogroup-483 nice 0".
fn nice(text: &str) -> Option<&str> {
    text.trim().rsplit_once(" nice ").map(|(_, nice)| nice)
}

impl Drop for Priority {
    fn drop(&mut self) {
        if let Some(former) = &self.former {
            // Nobody is worse off where it fails.
            let _ = fs::write(AUTOGROUP, former);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_is_named_by_vendor_and_model_or_by_its_numbers() {
        let x86 =
            "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n\nprocessor\t: 1\n";
        assert_eq!(cpu(x86), "AuthenticAMD AMD EPYC");
        let arm = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n";
        assert_eq!(cpu(arm), format!("{}, processor 0xd0c of 0x41", std::env::consts::ARCH));
    }

    #[test]
    fn return_thunks_are_seen_in_what_the_kernel_says() {
        let cases = [
            ("spec_rstack_overflow", "Vulnerable: Safe RET, no microcode", true),
            ("retbleed", "Mitigation: untrained return thunk; SMT disabled", true),
            ("indirect_target_selection", "Mitigation: Aligned branch/return thunks", true),
            ("spectre_v2", "Mitigation: Retpolines; STIBP: disabled", false),
        ];
        for (name, text, thunks) in cases {
            let vulnerabilities = [(name.to_owned(), text.to_owned())].into();
            let machine = Machine { vulnerabilities, ..Machine::default() };
            assert_eq!(machine.returns_by_thunks(), thunks, "{text}");
        }
    }

    #[test]
    fn the_nice_value_of_an_autogroup_follows_its_name() {
        let found = ["/autogroup-483 nice 0\n", "/autogroup-7 nice -15\n", ""].map(nice);
        assert_eq!(found, [Some("0"), Some("-15"), None]);
    }
}
