//! CNI_ARGS: which pod is being wired. The names of the keys are those of containerd and CRI-O.

use super::failure::{Code, Failure};

/// A pod as the runtime names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PodName {
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
    /// Its UID, for a static pod the hash of its configuration; empty where the runtime does not tell.
    pub(crate) uid: String,
}

impl PodName {
    /// Reads `KEY=VALUE;KEY=VALUE`; `None` where no pod is named.
    ///
    /// # Errors
    /// A piece without `=`, or a pod of which only half the name is there.
    pub(crate) fn parse(arguments: &str) -> Result<Option<Self>, Failure> {
        let mut pod = Self::default();
        for piece in arguments.split(';').filter(|piece| !piece.is_empty()) {
            let (key, value) = piece.split_once('=').ok_or_else(|| invalid(format!("{piece:?} is no KEY=VALUE")))?;
            match key {
                "K8S_POD_NAMESPACE" => value.clone_into(&mut pod.namespace),
                "K8S_POD_NAME" => value.clone_into(&mut pod.name),
                "K8S_POD_UID" => value.clone_into(&mut pod.uid),
                _ => {}
            }
        }
        match (pod.namespace.is_empty(), pod.name.is_empty()) {
            (true, true) => Ok(None),
            (false, false) => Ok(Some(pod)),
            _ => Err(invalid("a pod has a namespace and a name".to_owned())),
        }
    }
}

fn invalid(message: String) -> Failure {
    Failure::new(Code::InvalidEnvironment, format!("CNI_ARGS: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_has_a_namespace_and_a_name() {
        let pod = |uid: &str| PodName { namespace: "shop".to_owned(), name: "web".to_owned(), uid: uid.to_owned() };
        let half = Err("CNI_ARGS: a pod has a namespace and a name".to_owned());
        let cases = [
            ("", Ok(None)),
            ("IgnoreUnknown=1", Ok(None)),
            ("K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web", Ok(Some(pod("")))),
            (";K8S_POD_UID=a=b;K8S_POD_NAME=web;K8S_POD_NAMESPACE=shop;", Ok(Some(pod("a=b")))),
            ("K8S_POD_NAMESPACE=shop", half.clone()),
            ("K8S_POD_NAMESPACE=;K8S_POD_NAME=web", half),
            ("nonsense", Err("CNI_ARGS: \"nonsense\" is no KEY=VALUE".to_owned())),
        ];
        for (arguments, expected) in cases {
            assert_eq!(PodName::parse(arguments).map_err(|failure| failure.message), expected, "{arguments:?}");
        }
    }
}
