//! Our entry in a network's list of plugins. Pure: files' contents come in and go out.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::NAME;

/// JSON whose objects keep the order of their fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Json {
    /// An object.
    Object(IndexMap<String, Json>),
    /// An array.
    Array(Vec<Json>),
    /// Anything else.
    Other(Value),
}

impl Json {
    fn text(text: &str) -> Self {
        Self::Other(text.into())
    }

    fn is(&self, plugin: &str) -> bool {
        matches!(self, Self::Object(fields) if fields.get("type") == Some(&Self::text(plugin)))
    }
}

/// A network's configuration: a list of plugins, or the only one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Network(IndexMap<String, Json>);

impl Network {
    /// Reads a file's contents.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn parse(contents: &[u8]) -> Result<Self, String> {
        match serde_json::from_slice(contents) {
            Ok(Json::Object(fields)) if fields.contains_key("plugins") || fields.contains_key("type") => {
                Ok(Self(fields))
            }
            Ok(_) => Err("it is no CNI configuration: it has neither plugins nor a type".to_owned()),
            Err(error) => Err(format!("it is no JSON: {error}")),
        }
    }

    /// Whether it is a list of plugins.
    pub(crate) fn is_list(&self) -> bool {
        self.0.contains_key("plugins")
    }

    /// Whether there is a plugin at all: runtimes pass by lists without one.
    pub(crate) fn has_plugins(&self) -> bool {
        self.plugins().is_none_or(|plugins| !plugins.is_empty()) && self.plugins().is_some() == self.is_list()
    }

    fn plugins(&self) -> Option<&Vec<Json>> {
        match self.0.get("plugins") {
            Some(Json::Array(plugins)) => Some(plugins),
            _ => None,
        }
    }

    /// The types of the plugins in the list, in order.
    pub(crate) fn types(&self) -> Vec<String> {
        let kind = |plugin: &Json| match plugin {
            Json::Object(fields) => match fields.get("type") {
                Some(Json::Other(Value::String(name))) => Some(name.clone()),
                _ => None,
            },
            _ => None,
        };
        self.plugins().into_iter().flatten().filter_map(kind).collect()
    }

    /// A list with only this plugin, as runtimes make one of it; itself, if it is a list.
    pub(crate) fn into_list(self) -> Self {
        if self.is_list() {
            return self;
        }
        let mut plugin = self.0;
        let mut list = IndexMap::new();
        for name in ["cniVersion", "name"] {
            list.extend(plugin.shift_remove(name).map(|value| (name.to_owned(), value)));
        }
        list.insert("plugins".to_owned(), Json::Array(vec![Json::Object(plugin)]));
        Self(list)
    }

    /// The list with our entry once, after the plugin that wires pods and after `bandwidth`, which wants the interface's
    /// qdisc for itself: where it is if that will do, else at the end. Others who keep an entry in the list may want to be
    /// last, too.
    pub(crate) fn with_entry(self, entry: &Json) -> Self {
        if self.has_in_place(entry) {
            return self;
        }
        let mut list = self.without_entry();
        if let Some(Json::Array(plugins)) = list.0.get_mut("plugins") {
            plugins.push(entry.clone());
        }
        list
    }

    fn has_in_place(&self, entry: &Json) -> bool {
        let plugins = self.plugins().map(Vec::as_slice).unwrap_or_default();
        let ours: Vec<usize> = (0..plugins.len()).filter(|&index| plugins[index].is(NAME)).collect();
        let [index] = ours[..] else { return false };
        index > 0 && plugins[index] == *entry && !plugins[index..].iter().any(|plugin| plugin.is("bandwidth"))
    }

    /// The list without our entry.
    pub(crate) fn without_entry(mut self) -> Self {
        if let Some(Json::Array(plugins)) = self.0.get_mut("plugins") {
            plugins.retain(|plugin| !plugin.is(NAME));
        }
        self
    }

    /// The contents of a file.
    pub(crate) fn contents(&self) -> Vec<u8> {
        // Strings and numbers in a tree can always be written.
        let mut contents = serde_json::to_vec_pretty(&self.0).unwrap_or_default();
        contents.push(b'\n');
        contents
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = r#"{
  "name": "pods",
  "cniVersion": "0.4.0",
  "zebra": {
    "b": 1,
    "a": [
      1.5,
      null
    ]
  },
  "plugins": [
    {
      "type": "ptp",
      "ipam": {
        "type": "host-local",
        "subnet": "10.1.0.0/24"
      }
    },
    {
      "type": "bandwidth",
      "capabilities": {
        "bandwidth": true
      }
    }
  ]
}
"#;

    fn network(text: &str) -> Network {
        Network::parse(text.as_bytes()).unwrap()
    }

    fn entry(mode: &str) -> Json {
        serde_json::from_value(serde_json::json!({"type": NAME, "whenAgentDown": mode})).unwrap()
    }

    fn contents(network: &Network) -> String {
        String::from_utf8(network.contents()).unwrap()
    }

    #[test]
    fn the_entry_comes_last_and_the_rest_stays_as_it_was() {
        let with = contents(&network(LIST).with_entry(&entry("fail")));
        let expected = LIST.replace(
            "        \"bandwidth\": true\n      }\n    }\n",
            "        \"bandwidth\": true\n      }\n    },\n    {\n      \"type\": \"podgate-cni\",\n      \"whenAgentDown\": \"fail\"\n    }\n",
        );
        assert_eq!(with, expected);
        assert_eq!(contents(&network(&with).without_entry()), LIST);
    }

    #[test]
    fn numbers_stay_what_they_are() {
        let text = r#"{"plugins":[{"type":"ptp","share":555555455555555555555555555555555555.5}]}"#;
        assert_eq!(Network::parse(&network(text).contents()), Ok(network(text)));
    }

    #[test]
    fn an_entry_is_there_once_last_and_with_the_newest_settings() {
        let once = network(LIST).with_entry(&entry("fail"));
        assert_eq!(once.clone().with_entry(&entry("fail")), once);
        let other = once.with_entry(&entry("allow"));
        assert_eq!(other, network(LIST).with_entry(&entry("allow")));
    }

    #[test]
    fn an_entry_stays_where_it_is_unless_it_comes_first_or_before_bandwidth() {
        let chain = |types: &[&str]| {
            let plugins: Vec<String> = types.iter().map(|name| format!(r#"{{"type":"{name}"}}"#)).collect();
            network(&format!(r#"{{"plugins":[{}]}}"#, plugins.join(",")))
        };
        let ours = serde_json::from_value(serde_json::json!({ "type": NAME })).unwrap();
        let cases: [(&[&str], &[&str]); 4] = [
            (&["ptp", NAME, "tuning"], &["ptp", NAME, "tuning"]),
            (&["ptp", NAME, "bandwidth", "tuning"], &["ptp", "bandwidth", "tuning", NAME]),
            (&[NAME, "ptp"], &["ptp", NAME]),
            (&["ptp", NAME, "tuning", NAME], &["ptp", "tuning", NAME]),
        ];
        for (before, after) in cases {
            assert_eq!(chain(before).with_entry(&ours), chain(after), "{before:?}");
        }
    }

    #[test]
    fn a_single_plugin_becomes_a_list() {
        let single = network(r#"{"cniVersion":"0.4.0","name":"pods","type":"bridge","bridge":"cni0"}"#);
        let expected = network(r#"{"cniVersion":"0.4.0","name":"pods","plugins":[{"type":"bridge","bridge":"cni0"}]}"#);
        assert!(!single.is_list());
        assert_eq!(single.into_list(), expected);
    }

    #[test]
    fn what_is_no_network_is_told_apart() {
        for bad in ["", "[]", "{}", r#"{"name":"x"}"#, "{\"plugins\":"] {
            assert!(Network::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        let cases =
            [(r#"{"plugins":[]}"#, false), (r#"{"plugins":4}"#, false), (r#"{"type":"ptp"}"#, true), (LIST, true)];
        for (text, expected) in cases {
            assert_eq!(network(text).has_plugins(), expected, "{text}");
        }
    }
}
