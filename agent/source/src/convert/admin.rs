//! AdminNetworkPolicies and BaselineAdminNetworkPolicies (`policy.networking.k8s.io/v1alpha1`) written as the
//! ClusterNetworkPolicies that they are today. What is not known is not converted.

use std::fmt::Write;

use serde_json::{Map, Value, json};

/// The priority of what was the only policy of its tier.
const OF_BASELINE: u16 = 1000;

/// The same as a ClusterNetworkPolicy, as YAML; `None`: it is neither of the two kinds, or has fields that are not theirs.
pub(crate) fn as_cluster_policy(kind: &str, object: &Value) -> Option<String> {
    let spec = object["spec"].as_object()?;
    let (tier, priority) = match kind {
        "AdminNetworkPolicy" => ("Admin", spec.get("priority")?.clone()),
        "BaselineAdminNetworkPolicy" => ("Baseline", OF_BASELINE.into()),
        _ => return None,
    };
    if spec.keys().any(|field| !matches!(field.as_str(), "priority" | "subject" | "ingress" | "egress")) {
        return None;
    }
    let mut converted = json!({"tier": tier, "priority": priority, "subject": spec.get("subject")?});
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        if let Some(rules) = spec.get(direction) {
            let rules: Option<Vec<_>> = rules.as_array()?.iter().map(|it| rule(it.as_object()?, peers)).collect();
            converted[direction] = rules?.into();
        }
    }
    let policy = json!({
        "apiVersion": "policy.networking.k8s.io/v1alpha2",
        "kind": "ClusterNetworkPolicy",
        "metadata": {"name": object["metadata"]["name"].as_str()?},
        "spec": converted,
    });
    let mut text = String::new();
    write(&mut text, &policy, 0);
    Some(text)
}

fn rule(rule: &Map<String, Value>, peers: &str) -> Option<Value> {
    if rule.keys().any(|field| !matches!(field.as_str(), "name" | "action" | "ports") && field != peers) {
        return None;
    }
    let action = match rule.get("action")?.as_str()? {
        "Allow" => "Accept",
        action @ ("Deny" | "Pass") => action,
        _ => return None,
    };
    let mut converted = Map::new();
    converted.extend(rule.get("name").map(|name| ("name".to_owned(), name.clone())));
    converted.insert("action".to_owned(), action.into());
    converted.insert(peers.to_owned(), rule.get(peers)?.clone());
    if let Some(ports) = rule.get("ports").filter(|ports| !ports.is_null()) {
        let ports: Option<Vec<_>> = ports.as_array()?.iter().map(port).collect();
        converted.insert("protocols".to_owned(), ports?.into());
    }
    Some(converted.into())
}

fn port(port: &Value) -> Option<Value> {
    let mut fields = port.as_object()?.iter();
    let (Some((kind, value)), None) = (fields.next(), fields.next()) else { return None };
    let protocol = || value["protocol"].as_str().unwrap_or("TCP").to_ascii_lowercase();
    let at = |port: Value| json!({(protocol()): {"destinationPort": port}});
    match kind.as_str() {
        "namedPort" => Some(json!({"destinationNamedPort": value.as_str()?})),
        "portNumber" => Some(at(json!({"number": value["port"].as_u64()?}))),
        "portRange" => match (value["start"].as_u64()?, value["end"].as_u64()?) {
            (start, end) if start == end => Some(at(json!({"number": start}))),
            (start, end) => Some(at(json!({"range": {"start": start, "end": end}}))),
        },
        _ => None,
    }
}

/// Writes a value as YAML: mappings and lists that have something in blocks, anything else in one line.
fn write(text: &mut String, value: &Value, indent: usize) {
    // Writing into a String cannot fail.
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (index, (key, value)) in fields.iter().enumerate() {
                if index > 0 || indent == 0 {
                    let _ = write!(text, "{:indent$}", "");
                }
                let _ = write!(text, "{}:", scalar(key));
                write_below(text, value, indent + 2);
            }
        }
        other => {
            let _ = writeln!(text, "{}", one_line(other));
        }
    }
}

/// Writes a value behind its key.
fn write_below(text: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            let _ = write!(text, "\n{:indent$}", "");
            write(text, value, indent);
        }
        Value::Array(items) if !items.is_empty() => {
            text.push('\n');
            for item in items {
                let _ = write!(text, "{:indent$}- ", "");
                write(text, item, indent + 2);
            }
        }
        other => {
            let _ = writeln!(text, " {}", one_line(other));
        }
    }
}

fn one_line(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), scalar)
}

/// A text as YAML reads it back: plain where nothing else could be meant.
fn scalar(text: &str) -> String {
    const WORDS: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
    if plain && !WORDS.contains(&text.to_ascii_lowercase().as_str()) {
        return text.to_owned();
    }
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_allowed_by_port_is_accepted_by_protocol() {
        let admin = json!({
            "metadata": {"name": "guard"},
            "spec": {
                "priority": 7,
                "subject": {"namespaces": {}},
                "ingress": [{"name": "dns", "action": "Allow", "from": [{"namespaces": {"matchLabels": {"a.b/c": "true"}}}], "ports": [
                    {"portNumber": {"protocol": "UDP", "port": 53}},
                    {"portRange": {"start": 1, "end": 9}},
                    {"portRange": {"start": 8, "end": 8}},
                    {"namedPort": "web"},
                ]}],
                "egress": [{"action": "Pass", "to": [{"networks": ["10.0.0.0/8", "::/0"]}]}],
            },
        });
        let expected = "\
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata:
  name: guard
spec:
  egress:
    - action: Pass
      to:
        - networks:
            - \"10.0.0.0/8\"
            - \"::/0\"
  ingress:
    - action: Accept
      from:
        - namespaces:
            matchLabels:
              a.b/c: \"true\"
      name: dns
      protocols:
        - udp:
            destinationPort:
              number: 53
        - tcp:
            destinationPort:
              range:
                end: 9
                start: 1
        - tcp:
            destinationPort:
              number: 8
        - destinationNamedPort: web
  priority: 7
  subject:
    namespaces: {}
  tier: Admin
";
        assert_eq!(as_cluster_policy("AdminNetworkPolicy", &admin).as_deref(), Some(expected));
        let loaded = crate::manifests::parse(std::path::Path::new("a.yaml"), expected);
        assert_eq!((loaded.problems, loaded.cluster.cluster_policies.len()), (vec![], 1));
    }

    #[test]
    fn the_policy_of_the_baseline_comes_last_in_its_tier() {
        let baseline = json!({
            "metadata": {"name": "default"},
            "spec": {"subject": {"namespaces": {}}, "ingress": [{"action": "Deny", "from": [{"namespaces": {}}]}]},
        });
        let text = as_cluster_policy("BaselineAdminNetworkPolicy", &baseline).unwrap_or_default();
        assert!(text.contains("  priority: 1000\n") && text.contains("  tier: Baseline\n"), "{text}");
    }

    #[test]
    fn what_is_not_known_is_not_converted() {
        let with = |rule: Value| {
            let spec = json!({"priority": 1, "subject": {"namespaces": {}}, "ingress": [rule]});
            as_cluster_policy("AdminNetworkPolicy", &json!({"metadata": {"name": "a"}, "spec": spec}))
        };
        assert!(with(json!({"action": "Deny", "from": [{"namespaces": {}}]})).is_some());
        for rule in [
            json!({"action": "Log", "from": [{"namespaces": {}}]}),
            json!({"action": "Deny", "from": [{"namespaces": {}}], "until": "noon"}),
            json!({"action": "Deny", "from": [{"namespaces": {}}], "ports": [{"icmp": {}}]}),
            json!({"action": "Deny", "to": [{"namespaces": {}}]}),
        ] {
            assert_eq!(with(rule.clone()), None, "{rule}");
        }
        assert_eq!(as_cluster_policy("ClusterNetworkPolicy", &json!({"spec": {}})), None);
    }
}
