//! `podgate check` on permissions whose other half is missing: as a change has them, in workloads, and as the tutorial
//! would be without one of its files' documents.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{directory, podgate, policy, result};

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// A Deployment of the shop, with two replicas and a label that its roll-outs change.
fn deployment(app: &str, port: u16) -> String {
    format!(
        "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {app}, namespace: shop}}\nspec: {{replicas: 2, template: \
         {{metadata: {{labels: {{app: {app}, pod-template-hash: abc}}}}, spec: {{containers: [{{name: a, image: a, ports: \
         [{{containerPort: {port}}}]}}]}}}}}}\n"
    )
}

const HALF: &str = "    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata:
      namespace: shop
      name: api-from-web
    spec:
      podSelector:
        matchLabels:
          app: api
      policyTypes: [Ingress]
      ingress:
        - from:
            - podSelector:
                matchLabels:
                  app: web
          ports:
            - protocol: TCP
              port: 8080
";

#[test]
fn of_two_deployments_the_half_that_is_missing_is_written_out_and_mends_it() {
    let web = "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{ports: [{port: 53, protocol: UDP}]}, \
               {to: [{podSelector: {matchLabels: {app: api}}}], ports: [{port: 8080}]}]}";
    let deny = policy("deny", "{podSelector: {}, policyTypes: [Ingress]}");
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n";
    let text = namespace.to_owned() + &deployment("web", 80) + &deployment("api", 8080) + &policy("web", web) + &deny;
    let shop = directory(&[("shop.yaml", &text)]);
    let expected = format!(
        "\
warning one-sided: NetworkPolicy shop/web: spec.egress[1].to[0].podSelector
  in ./shop.yaml, document 4, line 15
  why: the rule lets Deployment shop/web open connections to Deployment shop/api on TCP/8080, but ingress of Deployment shop/api \
is isolated by shop/deny, and no rule there allows them
  instead: allow it in ingress of Deployment shop/api too
{HALF}1 warning
"
    );
    // The documentation shows the same.
    let shown = format!("```console\n$ podgate check -f .\n{expected}```\n");
    assert!(include_str!("../../../docs/files.md").contains(&shown), "{shown}");
    assert_eq!(result(&podgate(shop.path(), &["check", "-f", "."])), (Some(1), expected));
    let half: String = HALF.lines().map(|line| line[4..].to_owned() + "\n").collect();
    fs::write(shop.path().join("half.yaml"), half).unwrap();
    assert_eq!(result(&podgate(shop.path(), &["check", "-f", "."])), (Some(0), "nothing found\n".to_owned()));
}

#[test]
fn the_tutorial_without_the_databases_half_does_not_pass() {
    let example = deploy().join("examples/three-tier");
    let shop = directory(&[]);
    for file in fs::read_dir(&example).unwrap() {
        let file = file.unwrap();
        let text = fs::read_to_string(file.path()).unwrap();
        fs::write(shop.path().join(file.file_name()), text).unwrap();
    }
    let name = shop.path().join("api-to-database.yaml");
    let complete = fs::read_to_string(&name).unwrap();
    let check = || podgate(shop.path(), &["check", "-f", ".", "--least", "warning"]);
    assert_eq!(result(&check()), (Some(0), "nothing found\n".to_owned()));
    fs::write(&name, complete.split("---\n").next().unwrap()).unwrap();
    let expected = "\
warning one-sided: NetworkPolicy shop/api-queries-database: spec.egress[0].to[0].podSelector
  in ./api-to-database.yaml, document 1, line 2
  why: the rule lets pod shop/api open connections to pod shop/database on TCP/postgres, but ingress of pod shop/database is \
isolated by shop/allow-monitoring, shop/default-deny, and no rule there allows them
  instead: allow it in ingress of pod shop/database too
    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata:
      namespace: shop
      name: database-from-api
    spec:
      podSelector:
        matchLabels:
          app: database
      policyTypes: [Ingress]
      ingress:
        - from:
            - podSelector:
                matchLabels:
                  app: api
          ports:
            - protocol: TCP
              port: postgres
1 warning
";
    assert_eq!(result(&check()), (Some(1), expected.to_owned()));
}

/// Every directory with manifests below one, but for templates, which are no YAML yet.
fn directories(path: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() && !entry.ends_with("templates") {
            found.push(entry.clone());
            directories(&entry, found);
        }
    }
}

#[test]
fn nothing_is_found_in_the_manifests_that_podgate_ships() {
    let mut found = vec![];
    directories(&deploy(), &mut found);
    let mut judged = vec![];
    for directory in &found {
        let has_policies = fs::read_dir(directory).unwrap().any(|file| {
            let path = file.unwrap().path();
            path.extension().is_some_and(|it| it == "yaml")
                && fs::read_to_string(path).unwrap().contains("kind: NetworkPolicy\n")
        });
        if has_policies {
            let (status, text) = result(&podgate(directory, &["check", "-f", ".", "--least", "warning"]));
            assert_eq!(status, Some(0), "{}: {text}", directory.display());
            judged.push(directory.strip_prefix(deploy()).unwrap());
        }
    }
    judged.sort();
    assert_eq!(judged, [Path::new("base"), Path::new("examples/three-tier")]);
}

#[test]
fn the_documentation_names_every_rule_with_its_severity() {
    let documented = include_str!("../../../docs/files.md");
    let shop = directory(&[("net.yaml", &policy("deny", "{podSelector: {}}"))]);
    let log: serde_json::Value =
        serde_json::from_str(&result(&podgate(shop.path(), &["check", "-f", ".", "-o", "sarif"])).1).unwrap();
    let rules = log["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap();
    assert_eq!(rules.len(), 33);
    let rows: Vec<_> = documented.lines().filter(|line| line.starts_with("| `")).collect();
    for rule in rules {
        let name = format!("`{}`", rule["id"].as_str().unwrap());
        let level = format!(" {} ", rule["defaultConfiguration"]["level"].as_str().unwrap());
        // A file that can't be read has an exit status of its own.
        let is_row = |row: &str| row.contains(&name) && row.split('|').nth(2) == Some(level.as_str());
        assert!(name == "`unreadable-file`" || rows.iter().any(|row| is_row(row)), "{name}{level}");
    }
}
