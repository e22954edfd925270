//! Files made to hurt: a clear message, soon, and nothing worse.

use std::fmt::Write;
use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use podgate_source::manifests::{self, load};

use crate::{parse, policy, problems};

/// Far more than any of this takes on a slow machine, far less than anything that grows out of hand.
const SOON: Duration = Duration::from_secs(10);

fn soon<T>(name: &str, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = work();
    assert!(begun.elapsed() < SOON, "{name} took {:?}", begun.elapsed());
    result
}

/// The only problem of a text, which must say one of these words.
fn refused(name: &str, text: &str, words: &str) {
    let said = soon(name, || problems(text));
    assert_eq!(said.len(), 1, "{name}: {said:?}");
    assert!(said[0].contains(words), "{name}: {}", said[0]);
    assert!(said[0].len() < 500, "{name}: {}", said[0]);
}

#[test]
fn anchors_that_expand_without_end_are_refused() {
    let mut laughs = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for level in 1..12 {
        let before = format!("*a{}, ", level - 1).repeat(10);
        writeln!(laughs, "a{level}: &a{level} [{before}]").expect("a string");
    }
    refused("a billion laughs", &laughs, "alias");

    let quadratic = format!("a: &a [{}]\nb: [{}]\n", "x, ".repeat(20_000), "*a, ".repeat(20_000));
    refused("quadratic blow-up", &quadratic, "alias");

    let mut merges = "a0: &a0 {k0: v, l0: v}\n".to_owned();
    for level in 1..30 {
        let before = level - 1;
        writeln!(merges, "a{level}: &a{level} {{<<: [*a{before}, *a{before}], k{level}: {{<<: *a{before}}}}}")
            .expect("a string");
    }
    let said = soon("merge keys", || problems(&merges));
    assert_eq!(said.len(), 1, "{said:?}");

    refused("an anchor within itself", "a: &a [*a]\n", "recursive");
    refused("an unknown anchor", "a: *nowhere\n", "alias");
}

#[test]
fn aliases_nest_no_deeper_than_the_text_may() {
    let mut text = String::new();
    for level in 0..60 {
        let inside = if level == 0 { String::new() } else { format!("*a{}", level - 1) };
        writeln!(text, "a{level}: &a{level} {}{inside}{}", "[".repeat(250), "]".repeat(250)).expect("a string");
    }
    refused("aliases in each other", &text, "in each other");
}

#[test]
fn text_at_which_the_parser_gives_up_is_refused() {
    for text in ["a: [!x, b]\n", "{a: !!str, b: c}\n"] {
        refused("a tag before a comma", text, "tags");
    }
}

#[test]
fn deep_nesting_is_refused() {
    for (name, text) in [
        ("lists", "[".repeat(500_000)),
        ("closed lists", "[".repeat(5000) + &"]".repeat(5000)),
        ("mappings", "{a: ".repeat(500_000)),
        ("block lists", "- ".repeat(500_000)),
        ("block mappings", (0..3000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect()),
        ("questions", "? ".repeat(200_000)),
        ("tags", "!a ".repeat(200_000)),
        ("anchors", "&a ".repeat(200_000)),
    ] {
        let said = soon(name, || problems(&text));
        assert_eq!(said.len(), 1, "{name}: {said:?}");
        assert!(said[0].len() < 500, "{name}: {}", said[0]);
    }
    let json = format!("{{\"a\":{}", "[".repeat(1_000_000));
    let loaded = soon("JSON", || manifests::parse(&PathBuf::from("a.json"), &json));
    assert!(loaded.problems[0].message.contains("recursion limit"), "{:?}", loaded.problems);
}

#[test]
fn text_of_any_shape_ends_soon() {
    let kinds = [
        ("documents", "---\n".repeat(1_000_000), 0),
        ("comments", "# x\n".repeat(1_000_000), 0),
        ("comments within", policy(&format!("\n{}  podSelector: {{}}", "  # x\n".repeat(200_000))), 0),
        ("a long line", "x".repeat(8 << 20), 1),
        ("a long key", format!("{}: 1", "x".repeat(8 << 20)), 1),
        ("a quote without an end", format!("a: \"{}", "x\n".repeat(1 << 20)), 1),
        ("colons", ": ".repeat(500_000), 1),
        ("spaces", " ".repeat(8 << 20), 0),
        ("tabs", "\t".repeat(1 << 20), 0),
        ("directives", "%YAML 1.2\n".repeat(200_000), 0),
        ("small mappings", format!("[{}]", "{a: 1},".repeat(1 << 20)), 1),
        ("numbers", format!("[{}]", "1,".repeat(3 << 20)), 1),
        ("a block scalar", format!("a: |\n{}", "  x\n".repeat(1 << 20)), 1),
        ("many keys", (0..200_000).map(|key| format!("k{key}: 1\n")).collect(), 1),
        ("one key many times", "k: 1\n".repeat(200_000), 1),
    ];
    for (name, text, expected) in kinds {
        let said = soon(name, || problems(&text));
        assert_eq!(said.len(), expected, "{name}: {:?}", said.first());
        assert!(said.iter().all(|problem| problem.len() < 500), "{name}: {:?}", said[0]);
    }
}

#[test]
fn tags_load_nothing_and_mean_no_more_than_text() {
    for (tagged, label) in [
        ("!include etc", Some("etc")),
        ("!!python/object:os.system x", Some("x")),
        ("!!binary aGk=", Some("hi")),
        ("!custom [1]", None),
        ("!include /etc/hostname", None),
    ] {
        let loaded = parse(&policy(&format!("{{podSelector: {{matchLabels: {{a: {tagged}}}}}}}")));
        assert_eq!(loaded.problems.is_empty(), label.is_some(), "{tagged}: {:?}", loaded.problems);
        let selector = &crate::only_policy(&loaded).pod_selector;
        let selects = |value: &str| selector.matches(&[("a".into(), value.into())].into());
        assert_eq!((selects("other"), label.is_none_or(selects)), (label.is_none(), true), "{tagged}");
    }
}

#[test]
fn file_with_too_many_objects_is_read_in_part() {
    let text = "---\n{apiVersion: v1, kind: ConfigMap}\n".repeat(200_010);
    refused("objects", &text, "more than 200000 objects: expected smaller files");
}

#[test]
fn file_with_too_many_mistakes_names_a_thousand() {
    let bad = policy("{ingress: [{ports: [{port: 0}]}]}");
    let text = (0..1200)
        .map(|number| format!("---\n{}", bad.replace("name: p", &format!("name: p{number}"))))
        .collect::<String>();
    let loaded = soon("mistakes", || parse(&text));
    assert_eq!(loaded.problems.len(), 1001);
    assert!(loaded.problems.iter().any(|problem| problem.message == "200 more problems"));
    assert_eq!(loaded.cluster.policies.len(), 1200, "each of them isolates");
}

#[test]
fn files_that_are_no_text_are_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    fs::write(path("binary.yaml"), b"\x7fELF\x02\x01\x01\x00\x00").expect("written");
    fs::write(path("latin1.yaml"), b"a: \xe9\n").expect("written");
    fs::write(path("utf16.yaml"), b"\xff\xfea\x00:\x00").expect("written");
    File::create(path("huge.yaml")).and_then(|file| file.set_len(1 << 40)).expect("a sparse file");
    std::os::unix::fs::symlink("nowhere", path("link.yaml")).expect("a link");
    let made = std::process::Command::new("mkfifo").arg(path("pipe.yaml")).status().expect("mkfifo");
    assert!(made.success());
    fs::create_dir(path("directory.yaml")).expect("a directory");
    fs::write(path("bom.yaml"), "\u{feff}{apiVersion: v1, kind: Namespace, metadata: {name: bom}}").expect("written");

    let loaded = soon("files", || load(&[directory.path().to_owned(), path("missing.yaml")]));
    let said: Vec<_> = loaded
        .problems
        .iter()
        .map(|problem| problem.to_string().replace(&format!("{}/", directory.path().display()), ""))
        .collect();
    assert_eq!(
        said,
        [
            "binary.yaml: binary or UTF-16: expected YAML or JSON in UTF-8; left out",
            "huge.yaml: larger than 256 MiB: expected smaller files; left out",
            "latin1.yaml: not UTF-8 from byte 3 on: expected YAML or JSON in UTF-8; left out",
            "link.yaml: can't be read: No such file or directory (os error 2); left out",
            "missing.yaml: can't be read: No such file or directory (os error 2); left out",
            "pipe.yaml: not a regular file: expected a file of YAML or JSON; left out",
            "utf16.yaml: binary or UTF-16: expected YAML or JSON in UTF-8; left out",
        ]
    );
    assert!(loaded.cluster.namespaces.contains_key("bom"));
}

#[test]
fn directory_is_read_without_those_within_it_and_each_file_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let namespace = |name: &str| {
        format!("{{\"apiVersion\": \"v1\", \"kind\": \"Namespace\", \"metadata\": {{\"name\": \"{name}\"}}}}")
    };
    fs::create_dir(directory.path().join("sub")).expect("a directory");
    for name in ["a.yaml", "b.yml", "c.json", "d.txt", ".e.yaml", "f.yaml~", "sub/g.yaml"] {
        let label = name.trim_start_matches("sub/").trim_start_matches('.')[..1].to_owned();
        fs::write(directory.path().join(name), namespace(&label)).expect("written");
    }
    let loaded = load(&[directory.path().to_owned(), directory.path().join("a.yaml")]);
    assert_eq!(loaded.problems, []);
    assert_eq!(loaded.cluster.namespaces.keys().map(|name| &**name).collect::<Vec<_>>(), ["a", "b", "c"]);

    let empty = load(&[directory.path().join("sub"), tempfile::tempdir().expect("a directory").path().to_owned()]);
    assert_eq!(empty.problems.len(), 1, "{:?}", empty.problems);
}

#[test]
fn names_in_messages_carry_no_terminal_commands() {
    let text = "{apiVersion: v1, kind: Pod, metadata: {name: \"\\e[2J\", namespace: \"a\\nb\"}, \"\\e[31m\": 1, status: {podIP: \"\\e[2J\"}}";
    let said = problems(text);
    assert!(!said.is_empty());
    assert!(said.iter().all(|problem| !problem.chars().any(char::is_control)), "{said:?}");
}
