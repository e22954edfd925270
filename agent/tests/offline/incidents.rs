//! The incidents of the documentation: the commands that it gives print what it shows.

use crate::support::{podgate, result, shop_with};

const DOCUMENT: &str = include_str!("../../../docs/incidents.md");

/// A section of the document.
struct Incident<'d> {
    title: &'d str,
    policies: &'d str,
    /// Commands and what they print.
    steps: Vec<(&'d str, &'d str)>,
}

fn incidents() -> Vec<Incident<'static>> {
    DOCUMENT.split("\n## ").skip(1).map(incident).collect()
}

fn incident(section: &str) -> Incident<'_> {
    let title = section.lines().next().unwrap();
    let console = block(section, "console");
    let steps = console.split("$ podgate ").skip(1).map(|step| step.split_once('\n').unwrap()).collect();
    Incident { title, policies: block(section, "yaml"), steps }
}

/// The content of the first block of a language.
fn block<'d>(section: &'d str, language: &str) -> &'d str {
    let (_, rest) = section.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0
}

#[test]
fn each_incident_is_found_as_the_documentation_shows() {
    let incidents = incidents();
    assert_eq!(incidents.len(), 5);
    for Incident { title, policies, steps } in incidents {
        assert!((1..=3).contains(&steps.len()), "{title}");
        let shop = shop_with(policies);
        for (command, printed) in steps {
            let arguments: Vec<_> = command.split(' ').collect();
            assert_eq!(result(&podgate(shop.path(), &arguments)), (Some(1), printed.to_owned()), "{title}: {command}");
        }
    }
}
