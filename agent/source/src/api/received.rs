//! Objects as the server sends them.

use std::borrow::Cow;
use std::fmt::Debug;
use std::marker::PhantomData;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::api::ApiResource;
use kube::core::DynamicResourceScope;
use podgate_policy::model::ObjectKey;
use serde::de::DeserializeSeed;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::fields::{self, Kept};
use crate::convert;
use crate::object::{Kind, ObjectRef};

/// Which fields of an object are kept as it comes in.
pub(super) trait Keeps: Clone + Debug + Send + 'static {
    /// The object with these fields.
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error>;
}

/// All fields: an unknown one of a policy could narrow what it allows, and a snapshot shows more than podgate
/// reads.
#[derive(Clone, Debug)]
pub(super) enum Whole {}

impl Keeps for Whole {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }
}

/// The fields that podgate reads of kinds that are no policies. Most of a pod, by far, are others.
#[derive(Clone, Debug)]
pub(super) enum Read {}

impl Keeps for Read {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        Kept(&fields::READ).deserialize(deserializer)
    }
}

/// An object that is not interpreted yet, so that no object can make a whole list unreadable.
#[derive(Clone, Debug)]
pub(super) struct Received<K> {
    /// What watching needs: names and version.
    metadata: ObjectMeta,
    /// The fields that are kept, but for those that only writers of the API use, and for annotations that podgate does
    /// not read.
    pub(super) value: Value,
    keeps: PhantomData<K>,
}

impl<'de, K: Keeps> Deserialize<'de> for Received<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut value = K::read(deserializer)?;
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
            if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
                annotations.retain(|key, _| convert::READ_ANNOTATIONS.contains(&key.as_str()));
            }
        }
        let text = |field: &str| value["metadata"][field].as_str().map(str::to_owned);
        let metadata = ObjectMeta {
            name: text("name"),
            namespace: text("namespace"),
            resource_version: text("resourceVersion"),
            ..ObjectMeta::default()
        };
        Ok(Self { metadata, value, keeps: PhantomData })
    }
}

impl<K> Received<K> {
    /// Which object of this kind it is.
    pub(super) fn reference(&self, kind: Kind) -> ObjectRef {
        let name = self.metadata.name.as_deref().unwrap_or_default();
        let key = || ObjectKey::new(self.metadata.namespace.as_deref().unwrap_or_default(), name);
        match kind {
            Kind::Namespace => ObjectRef::Namespace(name.into()),
            Kind::Node => ObjectRef::Node(name.into()),
            Kind::Pod => ObjectRef::Pod(key()),
            Kind::NetworkPolicy => ObjectRef::Policy(key()),
            Kind::ClusterNetworkPolicy => ObjectRef::ClusterPolicy(name.into()),
            Kind::Service => ObjectRef::Service(key()),
            Kind::EndpointSlice => ObjectRef::EndpointSlice(key()),
        }
    }
}

impl<K> Resource for Received<K> {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
