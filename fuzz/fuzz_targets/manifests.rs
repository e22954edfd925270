//! Files of YAML and JSON.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use podgate_source::manifests;
use serde_json::Value;

fuzz_target!(
    init: {
        // The YAML parser gives up at some texts by a panic that is caught where it is called: the hook that is set for
        // fuzzing would end the process before. What is not caught still does.
        drop(std::panic::take_hook());
    },
    |text: &str| {
        let loaded = manifests::parse(Path::new("fuzzed.yaml"), text);
        assert_eq!(loaded, manifests::parse(Path::new("fuzzed.yaml"), text), "what is read twice is the same twice");
        if is_policy(text) {
            let is_silent = loaded.cluster.policies.is_empty() && loaded.problems.is_empty();
            assert!(!is_silent, "a policy is in force, or something is said");
        }
    }
);

/// Whether a reader that knows nothing of podgate takes the text for one NetworkPolicy.
fn is_policy(text: &str) -> bool {
    let Ok(value) = serde_json::from_str::<Value>(text) else { return false };
    value["kind"] == "NetworkPolicy" && value["apiVersion"] == "networking.k8s.io/v1"
}
