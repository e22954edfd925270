//! Reading some fields of an object and passing over the others, without making anything of those.
//!
//! What is kept is kept as it is, whatever its type: the conversion says what is wrong with it, as it does for files.

use std::fmt;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::convert;

/// What is kept of a value.
#[derive(Debug)]
pub(super) enum Fields {
    /// All of it.
    All,
    /// Of a mapping these entries; of a list these of each item; anything else as it is.
    These(&'static [(&'static str, Fields)]),
}

use Fields::{All, These};

/// The fields that podgate reads of Namespaces, Nodes, Pods, Services and EndpointSlices, of all of them together:
/// where two kinds have a field of the same name, both are read.
pub(super) const READ: Fields = These(&[
    ("apiVersion", All),
    ("kind", All),
    ("metadata", METADATA),
    (
        "spec",
        These(&[
            // Of Nodes.
            ("podCIDR", All),
            ("podCIDRs", All),
            // Of Pods.
            ("nodeName", All),
            ("hostNetwork", All),
            ("containers", CONTAINERS),
            ("initContainers", CONTAINERS),
            // Of Services.
            ("clusterIP", All),
            ("clusterIPs", All),
            ("externalIPs", All),
            ("externalTrafficPolicy", All),
            ("internalTrafficPolicy", All),
            ("ports", All),
            ("selector", All),
            ("type", All),
        ]),
    ),
    ("status", These(&[("addresses", All), ("loadBalancer", All), ("phase", All), ("podIP", All), ("podIPs", All)])),
    // Of EndpointSlices.
    ("addressType", All),
    ("endpoints", These(&[("addresses", All), ("conditions", All), ("nodeName", All), ("targetRef", All)])),
    ("ports", All),
]);

const METADATA: Fields = These(&[
    (
        "annotations",
        These(&[
            (convert::READ_ANNOTATIONS[0], All),
            (convert::READ_ANNOTATIONS[1], All),
            (convert::READ_ANNOTATIONS[2], All),
        ]),
    ),
    ("deletionTimestamp", All),
    ("generateName", All),
    ("labels", All),
    ("name", All),
    ("namespace", All),
    ("resourceVersion", All),
    ("uid", All),
]);

const CONTAINERS: Fields = These(&[("ports", All), ("restartPolicy", All)]);

/// Reads a value, and of it what is to be kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept(pub(super) &'static Fields);

impl<'de> DeserializeSeed<'de> for Kept {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self.0 {
            All => Value::deserialize(deserializer),
            These(_) => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Kept {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut kept = vec![];
        while let Some(item) = items.next_element_seed(self)? {
            kept.push(item);
        }
        Ok(Value::Array(kept))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut kept = Map::new();
        while let Some(field) = entries.next_key_seed(Name(self.0))? {
            match field {
                Some((name, fields)) => drop(kept.insert((*name).to_owned(), entries.next_value_seed(Kept(fields))?)),
                None => drop(entries.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Value::Object(kept))
    }
}

/// Reads the name of a field: one that is kept, with what of it, or none.
struct Name(&'static Fields);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<&'static (&'static str, Fields)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<&'static (&'static str, Fields)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(match self.0 {
            These(fields) => fields.iter().find(|(field, _)| *field == name),
            All => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Deserializer, json};

    use super::*;
    use crate::convert::{Origin, Raw, Strings, object};
    use crate::object::Kind;

    fn kept(value: &Value) -> Value {
        Kept(&READ).deserialize(&mut Deserializer::from_str(&value.to_string())).unwrap()
    }

    #[test]
    fn what_is_kept_is_as_it_was_and_of_lists_that_of_each_item() {
        let pod = json!({
            "kind": "Pod",
            "metadata": {"name": "a", "labels": {"x": "1", "spec": "2"}, "managedFields": [{"manager": "kubelet"}],
                "annotations": {"podgate.io/audit": "true", "other": "x"}},
            "spec": {"volumes": [1, {"a": []}], "hostNetwork": null, "containers": [{"image": "i", "ports": [{"name": 7}]}, 5, null]},
            "status": "none",
        });
        let expected = json!({
            "kind": "Pod",
            "metadata": {"name": "a", "labels": {"x": "1", "spec": "2"}, "annotations": {"podgate.io/audit": "true"}},
            "spec": {"hostNetwork": null, "containers": [{"ports": [{"name": 7}]}, 5, null]},
            "status": "none",
        });
        assert_eq!(kept(&pod), expected);
    }

    /// Objects in which every field that podgate reads has a value, good ones and bad ones.
    fn objects() -> Vec<(Kind, Value)> {
        let metadata = |name: &str| {
            json!({"name": name, "namespace": "shop", "uid": "u", "labels": {"app": "web", "service.kubernetes.io/headless": "",
                "kubernetes.io/service-name": "web"}, "deletionTimestamp": "2026-11-30T00:00:00Z",
                "annotations": {"kubernetes.io/config.mirror": "hash", "podgate.io/audit": "true"}})
        };
        let ports = json!([{"name": "http", "containerPort": 80, "protocol": "UDP", "hostPort": 8080}]);
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata("web"),
            "spec": {"nodeName": "node-a", "hostNetwork": true, "containers": [{"name": "main", "ports": ports}],
                "initContainers": [{"name": "proxy", "restartPolicy": "Always", "ports": ports}]},
            "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}});
        let service = json!({"metadata": metadata("web"), "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.1",
            "clusterIPs": ["10.96.0.1", "fd00::2"], "externalIPs": ["192.0.2.1"], "externalTrafficPolicy": "Local",
            "internalTrafficPolicy": "Local", "selector": {"app": "web"},
            "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP", "nodePort": 30000}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.2", "ipMode": "VIP"}, {"ip": "192.0.2.3", "ipMode": "Proxy"}]}}});
        let slice = json!({"metadata": metadata("web-1"), "addressType": "IPv4", "ports": [{"name": "http", "port": 80}],
            "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": false, "serving": true, "terminating": true},
                "nodeName": "node-a", "targetRef": {"kind": "Pod", "name": "web", "namespace": "shop"}}]});
        let node = json!({"metadata": {"name": "node-a"}, "spec": {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"]},
            "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.9"}]}});
        let mut single = pod.clone();
        (single["status"]["podIPs"], single["metadata"]["annotations"]) = (Value::Null, Value::Null);
        let mut wrong = pod.clone();
        wrong["spec"]["containers"][0]["ports"][0]["containerPort"] = json!("eighty");
        wrong["status"]["phase"] = json!("Lost");
        let mut nameless = service.clone();
        nameless["metadata"] = json!({"generateName": "web-"});
        vec![
            (Kind::Pod, pod),
            (Kind::Pod, single),
            (Kind::Pod, wrong),
            (Kind::Pod, json!({"kind": "Job", "metadata": {"name": "a"}, "spec": [], "status": 1})),
            (Kind::Service, service),
            (Kind::Service, nameless),
            (Kind::EndpointSlice, slice),
            (Kind::Node, node),
            (Kind::Namespace, json!({"metadata": metadata("shop")})),
        ]
    }

    #[test]
    fn what_is_passed_over_changes_nothing_of_what_an_object_becomes() {
        for (kind, value) in objects() {
            let converted =
                |value: &Value| object(kind, Raw::new(value), Origin::Api, "(unnamed)", &mut Strings::default());
            assert_eq!(converted(&kept(&value)), converted(&value), "{value}");
        }
    }
}
