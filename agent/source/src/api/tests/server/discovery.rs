//! ClusterNetworkPolicies, which a server need not have: their CustomResourceDefinition, and what is said to be served.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::{Answer, JSON, Server, State, status};

/// The resource.
pub(super) const POLICIES: &str = "clusternetworkpolicies";

const GROUP: &str = "policy.networking.k8s.io";
const DEFINITIONS: &str = "customresourcedefinitions";
const DEFINITION: &str = "clusternetworkpolicies.policy.networking.k8s.io";

/// The version of another kind of the group.
const OTHER: &str = "v1alpha1";

impl Server {
    /// Serves ClusterNetworkPolicies in these versions, and has a CustomResourceDefinition that says so.
    pub(in super::super) fn define(&self, versions: &[&str]) {
        self.offer(versions);
        self.apply(DEFINITIONS, json!({"metadata": {"name": DEFINITION, "uid": "of-the-definition"}}));
    }

    /// Removes the CustomResourceDefinition, and with it all its objects.
    pub(in super::super) fn undefine(&self) {
        self.offer(&[]);
        self.lock().objects.remove(POLICIES);
        self.delete(DEFINITIONS, DEFINITION);
    }

    /// Serves ClusterNetworkPolicies in these versions, whatever is defined.
    pub(in super::super) fn offer(&self, versions: &[&str]) {
        self.lock().served = versions.iter().map(ToString::to_string).collect();
    }
}

impl State {
    /// Whether ClusterNetworkPolicies are served at a path.
    pub(super) fn serves(&self, path: &str) -> bool {
        self.served.iter().any(|version| path == format!("/apis/{GROUP}/{version}/{POLICIES}"))
    }

    /// What is served of the group of ClusterNetworkPolicies, if that is what is asked for. There is another kind in it,
    /// in a version of its own.
    pub(super) fn discovery(&mut self, path: &str) -> Option<Answer> {
        let path = path.strip_prefix("/apis/")?.strip_prefix(GROUP)?;
        let version = match path.strip_prefix('/') {
            Some(version) if version.contains('/') => return None,
            version => version,
        };
        let refusals = self.list_refusals.get_mut(GROUP);
        if let Some(code) = refusals.and_then(VecDeque::pop_front) {
            return Some((code, JSON, status(code, "told to").to_string().into()));
        }
        let versions =
            if self.served.is_empty() { vec![] } else { [vec![OTHER.to_owned()], self.served.clone()].concat() };
        let answer = match version {
            None if !versions.is_empty() => {
                let of = |version: &String| json!({"groupVersion": format!("{GROUP}/{version}"), "version": version});
                json!({"kind": "APIGroup", "apiVersion": "v1", "name": GROUP, "versions": versions.iter().map(of).collect::<Value>()})
            }
            Some(version) if versions.iter().any(|known| known == version) => {
                let (name, kind) = match version {
                    OTHER => ("adminnetworkpolicies", "AdminNetworkPolicy"),
                    _ => (POLICIES, "ClusterNetworkPolicy"),
                };
                let resource =
                    json!({"name": name, "singularName": "", "namespaced": false, "kind": kind, "verbs": ["list"]});
                json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{GROUP}/{version}"), "resources": [resource]})
            }
            _ => return Some((404, JSON, status(404, "not found").to_string().into())),
        };
        Some((200, JSON, answer.to_string().into()))
    }
}
