//! What the runtime says in variables.

use std::path::PathBuf;

use super::arguments::PodName;
use super::failure::{Code, Failure};

/// A call of the plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// A pod is being wired.
    Add(Attachment),
    /// A pod is being taken off the network.
    Del,
    /// Is a pod as it was wired?
    Check(Attachment),
    /// Can pods be wired?
    Status,
    /// These attachments are left.
    Gc,
    /// Which versions are spoken?
    Version,
}

/// A pod's interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attachment {
    /// The file that stands for its network namespace.
    pub(crate) netns: PathBuf,
    /// The interface in there.
    pub(crate) interface: String,
    /// The pod; `None`: what is wired is no pod of Kubernetes.
    pub(crate) pod: Option<PodName>,
}

impl Call {
    /// Reads a call; `variable` looks one up, those that are empty being as good as missing.
    ///
    /// # Errors
    /// A variable is missing or makes no sense.
    pub(crate) fn parse(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let needed = |name: &str| {
            variable(name)
                .ok_or_else(|| Failure::new(Code::InvalidEnvironment, format!("the variable {name} is missing")))
        };
        let attachment = || {
            needed("CNI_CONTAINERID")?;
            Ok(Attachment {
                netns: needed("CNI_NETNS")?.into(),
                interface: needed("CNI_IFNAME")?,
                pod: PodName::parse(&variable("CNI_ARGS").unwrap_or_default())?,
            })
        };
        match needed("CNI_COMMAND")?.as_str() {
            "ADD" => Ok(Self::Add(attachment()?)),
            "CHECK" => Ok(Self::Check(attachment()?)),
            // A runtime may leave the namespace out, which may be gone.
            "DEL" => needed("CNI_CONTAINERID").and_then(|_| needed("CNI_IFNAME")).map(|_| Self::Del),
            "STATUS" => Ok(Self::Status),
            "GC" => Ok(Self::Gc),
            "VERSION" => Ok(Self::Version),
            other => {
                Err(Failure::new(Code::InvalidEnvironment, format!("CNI_COMMAND is {other:?}, which is no command")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    type Parsed = Result<Call, (Code, String)>;

    /// Reads `NAME=value` words, `CNI_` left out.
    fn parse(words: &[&str]) -> Parsed {
        let variables: BTreeMap<String, String> = words
            .iter()
            .map(|word| word.split_once('=').unwrap())
            .map(|(name, value)| (format!("CNI_{name}"), value.to_owned()))
            .collect();
        Call::parse(|name| variables.get(name).cloned()).map_err(|failure| (failure.code, failure.message))
    }

    #[test]
    fn a_pod_is_known_by_its_arguments() {
        let words = [
            "COMMAND=ADD",
            "CONTAINERID=c1",
            "NETNS=/run/netns/x",
            "IFNAME=eth0",
            "ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_UID=u-1",
        ];
        let pod = PodName { namespace: "shop".to_owned(), name: "web".to_owned(), uid: "u-1".to_owned() };
        let attachment = Attachment { netns: "/run/netns/x".into(), interface: "eth0".to_owned(), pod: Some(pod) };
        assert_eq!(parse(&words), Ok(Call::Add(attachment.clone())));
        let check = [&["COMMAND=CHECK"], &words[1..]].concat();
        assert_eq!(parse(&check), Ok(Call::Check(attachment)));
    }

    #[test]
    fn each_command_asks_for_what_it_needs() {
        let missing = |name: &str| Err((Code::InvalidEnvironment, format!("the variable {name} is missing")));
        let cases: [(&[&str], Parsed); 10] = [
            (&[], missing("CNI_COMMAND")),
            (&["COMMAND="], missing("CNI_COMMAND")),
            (&["COMMAND=ADD", "NETNS=/x", "IFNAME=eth0"], missing("CNI_CONTAINERID")),
            (&["COMMAND=ADD", "CONTAINERID=c", "IFNAME=eth0"], missing("CNI_NETNS")),
            (&["COMMAND=CHECK", "CONTAINERID=c", "NETNS=/x"], missing("CNI_IFNAME")),
            (&["COMMAND=DEL", "CONTAINERID=c"], missing("CNI_IFNAME")),
            (&["COMMAND=DEL", "CONTAINERID=c", "IFNAME=eth0"], Ok(Call::Del)),
            (&["COMMAND=STATUS"], Ok(Call::Status)),
            (&["COMMAND=GC"], Ok(Call::Gc)),
            (&["COMMAND=VERSION"], Ok(Call::Version)),
        ];
        for (words, expected) in cases {
            assert_eq!(parse(words), expected, "{words:?}");
        }
    }

    #[test]
    fn other_commands_are_refused() {
        let error = (Code::InvalidEnvironment, "CNI_COMMAND is \"add\", which is no command".to_owned());
        assert_eq!(parse(&["COMMAND=add"]), Err(error));
    }
}
