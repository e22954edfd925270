//! What an operator is told of ClusterNetworkPolicies.

use crate::status::{ClusterEnforcement, ClusterPoliciesStatus};

/// A line, unless there is nothing to be told: none are there, and any would be treated as the setting's default says.
pub(super) fn line(policies: &ClusterPoliciesStatus) -> Option<String> {
    use ClusterEnforcement::{Enforced, Off};
    let ClusterPoliciesStatus { enforcement, served, objects, ref error } = *policies;
    let count =
        if objects == 1 { "1 ClusterNetworkPolicy".to_owned() } else { format!("{objects} ClusterNetworkPolicies") };
    let are = if objects == 1 { "is" } else { "are" };
    let told = match (enforcement, error, objects, served) {
        (Off, Some(error), ..) => format!(
            "ClusterNetworkPolicies are not enforced (--cluster-policies=off), and whether there are any can't be told: {error}"
        ),
        (Off, _, 0, _) => return None,
        (_, _, 0, Some(false)) => "no ClusterNetworkPolicies: the API server does not have that kind".to_owned(),
        (Off, ..) => format!("{count} {are} NOT ENFORCED: --cluster-policies=off"),
        (_, _, 0, _) => return None,
        (Enforced, ..) => format!("{count} {are} enforced"),
    };
    Some(format!("  {told}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(enforcement: ClusterEnforcement, served: bool, objects: usize, error: Option<&str>) -> Option<String> {
        let error = error.map(str::to_owned);
        line(&ClusterPoliciesStatus { enforcement, served: Some(served), objects, error })
    }

    #[test]
    fn policies_that_are_not_enforced_are_told_of_with_the_reason() {
        use ClusterEnforcement::{Enforced, Off};
        let lines = [
            told(Enforced, false, 0, None),
            told(Enforced, true, 0, None),
            told(Enforced, true, 2, None),
            told(Off, true, 0, None),
            told(Off, true, 3, None),
            told(Off, true, 3, Some("forbidden")),
        ];
        let expected = [
            Some("  no ClusterNetworkPolicies: the API server does not have that kind"),
            None,
            Some("  2 ClusterNetworkPolicies are enforced"),
            None,
            Some("  3 ClusterNetworkPolicies are NOT ENFORCED: --cluster-policies=off"),
            Some(
                "  ClusterNetworkPolicies are not enforced (--cluster-policies=off), and whether there are any can't be told: \
                 forbidden",
            ),
        ];
        assert_eq!(lines.each_ref().map(Option::as_deref), expected);
    }
}
