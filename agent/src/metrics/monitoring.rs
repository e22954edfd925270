//! Alerts and dashboard ask for metrics and labels that the agent exposes, and for nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use podgate_common::{Verdict, map};
use podgate_source::{ErrorClass, Kind};
use serde_json::Value;

use super::promql::{Asked, Matcher};
use super::tests::{full_status, samples, text};

/// Labels that the scrape adds, see podmonitor.yaml; `cluster` where one Prometheus, or what it writes to, has several.
const OF_THE_TARGET: [&str; 4] = ["cluster", "job", "instance", "node"];

/// Metrics of others, with their labels.
const OF_OTHERS: [(&str, &[&str]); 2] =
    [("up", &[]), ("kube_daemonset_status_desired_number_scheduled", &["daemonset", "namespace"])];

/// Labels whose values are the cluster's.
const FREE: [&str; 7] = ["cluster", "job", "instance", "node", "namespace", "pod", "daemonset"];

/// Metrics, their labels, and the values of these.
type Known = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// A query, and where it stands.
struct Query {
    place: String,
    text: String,
    /// What names its series in a dashboard.
    legend: String,
}

/// A file below deploy/.
fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn rules() -> Vec<Value> {
    let file: Value = serde_saphyr::from_str(&file("chart/files/rules.yaml")).unwrap();
    list(&file["groups"]).iter().flat_map(|group| list(&group["rules"]).to_vec()).collect()
}

fn dashboard() -> Value {
    serde_json::from_str(&file("chart/files/dashboard.json")).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// What the agent exposes, what the rules record, and what others expose.
fn known() -> Known {
    let text = text(full_status());
    let mut known = Known::new();
    for series in samples(&text).into_keys() {
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let of_metric = known.entry(name.to_owned()).or_default();
        for label in labels.trim_end_matches('}').split("\",").filter(|label| !label.is_empty()) {
            let (label, value) = label.split_once("=\"").unwrap();
            of_metric.entry(label.to_owned()).or_default().insert(value.trim_end_matches('"').to_owned());
        }
    }
    for of_metric in known.values_mut() {
        // A status of a real node has all of them.
        let tables = map::ALL.iter().map(|map| map.name.to_lowercase());
        of_metric.entry("table".to_owned()).and_modify(|values| values.extend(tables));
        let resources = Kind::ALL.map(|kind| kind.as_str().to_owned());
        of_metric.entry("resource".to_owned()).and_modify(|values| values.extend(resources));
        let classes = ErrorClass::ALL.map(|class| class.as_str().to_owned());
        of_metric.entry("class".to_owned()).and_modify(|values| values.extend(classes));
    }
    // No policy of that status is in audit mode.
    let denials = known.entry("podgate_policy_denials_total".to_owned()).or_default();
    denials.entry("verdict".to_owned()).or_default().insert(Verdict::WouldDeny.as_str().to_owned());
    let recorded = rules().into_iter().filter_map(|rule| rule["record"].as_str().map(str::to_owned));
    known.extend(recorded.map(|name| (name, labels(&["namespace", "pod"]))));
    known.extend(OF_OTHERS.map(|(name, its)| (name.to_owned(), labels(its))));
    known.values_mut().for_each(|of_metric| of_metric.extend(labels(&OF_THE_TARGET)));
    known
}

fn labels(names: &[&str]) -> BTreeMap<String, BTreeSet<String>> {
    names.iter().map(|name| ((*name).to_owned(), BTreeSet::new())).collect()
}

fn panels() -> Vec<Value> {
    list(&dashboard()["panels"]).iter().filter(|panel| panel["type"] != "row").cloned().collect()
}

/// Every query of rules and dashboard.
fn queries() -> Vec<Query> {
    let of_rules = rules().into_iter().map(|rule| {
        let place = format!("rule {}{}", string(&rule["alert"]), string(&rule["record"]));
        Query { place, text: string(&rule["expr"]), legend: String::new() }
    });
    let of_panel = |panel: Value| -> Vec<Query> {
        let place = format!("panel {}", panel["title"]);
        let targets = list(&panel["targets"]).iter();
        let query = |target: &Value| Query {
            place: place.clone(),
            text: string(&target["expr"]),
            legend: string(&target["legendFormat"]),
        };
        targets.map(query).collect()
    };
    of_rules.chain(panels().into_iter().flat_map(of_panel)).collect()
}

/// The query as Prometheus gets it, for all nodes and namespaces.
fn filled_in(query: &str) -> String {
    let variables = [("$cluster", ".*"), ("$job", "podgate"), ("$node", ".*"), ("$namespace", ".*")];
    [("$__rate_interval", "5m"), ("$__range", "1h")]
        .into_iter()
        .chain(variables)
        .fold(query.to_owned(), |text, (variable, value)| text.replace(variable, value))
}

/// What is wrong with a query; nothing is as it should be. Whether it is a query at all is for Prometheus to say.
fn complaints(query: &Query, known: &Known) -> Vec<String> {
    let asked = Asked::of(&filled_in(&query.text));
    let mut wrong = Vec::new();
    let mut labels = BTreeSet::new();
    for selector in &asked.selectors {
        let Some(of_metric) = known.get(&selector.metric) else {
            wrong.push(format!("there is no metric {}", selector.metric));
            continue;
        };
        labels.extend(of_metric.keys().cloned());
        wrong.extend(selector.matchers.iter().filter_map(|matcher| {
            let Matcher { label, operator, value } = matcher;
            let Some(values) = of_metric.get(label) else {
                return Some(format!("{} has no label {label}", selector.metric));
            };
            let possible = operator != "=" || FREE.contains(&label.as_str()) || values.contains(value);
            (!possible).then(|| format!("{} has no {label}={value}", selector.metric))
        }));
    }
    let strange = asked.grouped.difference(&labels).map(|label| format!("nothing has the label {label}"));
    let legend = query.legend.split("{{").skip(1).filter_map(|rest| rest.split("}}").next()).map(str::to_owned);
    let unnamed = legend.filter(|label| !asked.grouped.contains(label));
    let unnamed = unnamed.map(|label| format!("the legend has {label}, the query has not"));
    let all = wrong.into_iter().chain(strange).chain(unnamed);
    all.map(|wrong| format!("{}: {wrong}", query.place)).collect()
}

#[test]
fn every_metric_label_and_value_in_rules_and_dashboard_is_exposed() {
    let known = known();
    let queries = queries();
    assert!(queries.len() > 30, "{}", queries.len());
    let wrong: Vec<_> = queries.iter().flat_map(|query| complaints(query, &known)).collect();
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn what_is_not_exposed_is_noticed() {
    let of = |text: &str, legend: &str| {
        let query = Query { place: "here".to_owned(), text: text.to_owned(), legend: legend.to_owned() };
        complaints(&query, &known())
    };
    assert_eq!(of("rate(podgate_verdicts[5m])", ""), ["here: there is no metric podgate_verdicts"]);
    assert_eq!(of("podgate_ready{pod=\"x\"}", ""), ["here: podgate_ready has no label pod"]);
    assert_eq!(of("podgate_devices{hooked=\"no\"}", ""), ["here: podgate_devices has no hooked=no"]);
    assert_eq!(of("sum by (reason) (podgate_ready)", ""), ["here: nothing has the label reason"]);
    let legend = of("sum by (table) (podgate_table_entries)", "{{node}} {{table}}");
    assert_eq!(legend, ["here: the legend has node, the query has not"]);
}

#[test]
fn every_series_in_the_tests_of_the_rules_is_one_that_can_be() {
    let tests: Value = serde_saphyr::from_str(&file("monitoring/rules-test.yaml")).unwrap();
    let series = list(&tests["tests"]).iter().flat_map(|test| list(&test["input_series"]));
    let known = known();
    let query = |series: &Value| Query {
        place: "rules-test.yaml".to_owned(),
        text: string(&series["series"]),
        legend: String::new(),
    };
    let wrong: Vec<_> = series.flat_map(|series| complaints(&query(series), &known)).collect();
    assert_eq!(wrong, Vec::<String>::new());
}

/// Each alert has a moment in the tests of the rules when it fires, and is silent where all is well.
#[test]
fn every_alert_is_tested() {
    let tests: Value = serde_saphyr::from_str(&file("monitoring/rules-test.yaml")).unwrap();
    let (mut silent, mut fires) = (BTreeSet::new(), BTreeSet::new());
    for test in list(&tests["tests"]) {
        for case in list(&test["alert_rule_test"]) {
            let fired = !list(&case["exp_alerts"]).is_empty();
            (if fired { &mut fires } else { &mut silent }).insert(string(&case["alertname"]));
        }
        let samples = list(&test["promql_expr_test"]).iter().flat_map(|case| list(&case["exp_samples"]));
        fires.extend(samples.filter_map(|sample| {
            let (_, rest) = sample["labels"].as_str()?.split_once("alertname=\"")?;
            Some(rest.split_once('"')?.0.to_owned())
        }));
    }
    let alerts: BTreeSet<_> = rules().iter().filter_map(|rule| rule["alert"].as_str().map(str::to_owned)).collect();
    assert_eq!((&silent, &fires), (&alerts, &alerts));
}

/// Nobody is woken because something else than enforcement is missing.
#[test]
fn only_missing_enforcement_is_critical() {
    let of = |severity: &str| -> Vec<String> {
        let rules = rules().into_iter().filter(|rule| rule["labels"]["severity"] == severity);
        rules.map(|rule| string(&rule["alert"])).collect()
    };
    assert_eq!(of("critical"), ["PodgateAgentMissing", "PodgatePodUnenforced", "PodgateNotReady"]);
}

#[test]
fn every_alert_says_how_bad_it_is_and_leads_to_its_section() {
    let runbooks = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/runbooks.md");
    let runbooks = fs::read_to_string(runbooks).unwrap();
    let sections: BTreeSet<_> = runbooks.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    for rule in rules().iter().filter(|rule| rule["alert"].is_string()) {
        let name = string(&rule["alert"]);
        assert!(["critical", "warning"].contains(&rule["labels"]["severity"].as_str().unwrap_or_default()), "{name}");
        assert!(rule["for"].is_string() && rule["annotations"]["summary"].is_string(), "{name}");
        let page = format!("{}/blob/main/docs/runbooks.md#{}", env!("CARGO_PKG_REPOSITORY"), name.to_lowercase());
        assert_eq!(rule["annotations"]["runbook_url"], page);
        assert!(sections.contains(name.as_str()), "docs/runbooks.md has no section {name}");
    }
}

#[test]
fn every_panel_is_of_its_own_and_reads_the_chosen_data_source() {
    let dashboard = dashboard();
    assert!(dashboard["schemaVersion"].as_u64() >= Some(30) && dashboard["uid"] == "podgate");
    let ids: Vec<_> = list(&dashboard["panels"]).iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
    let variables = list(&dashboard["templating"]["list"]).iter();
    let kinds: Vec<_> = variables.map(|variable| (string(&variable["name"]), string(&variable["type"]))).collect();
    let pair = |name: &str, kind: &str| (name.to_owned(), kind.to_owned());
    let chosen = ["cluster", "job", "node", "namespace"].map(|name| pair(name, "query"));
    assert_eq!(kinds, [&[pair("datasource", "datasource")][..], &chosen].concat());
    for panel in panels() {
        let targets = list(&panel["targets"]).iter().map(|target| &target["datasource"]);
        for source in targets.chain([&panel["datasource"]]) {
            assert_eq!(source["uid"], "${datasource}", "{}", panel["title"]);
        }
        let (x, width) = (panel["gridPos"]["x"].as_u64().unwrap(), panel["gridPos"]["w"].as_u64().unwrap());
        assert!(x + width <= 24 && !string(&panel["description"]).is_empty(), "{}", panel["title"]);
    }
}

/// Several clusters, or several installations, can be told apart in every panel.
#[test]
fn every_query_of_the_dashboard_asks_for_the_chosen_cluster_job_and_nodes() {
    let chosen = r#"job=~"$job", cluster=~"$cluster", node=~"$node""#;
    for query in queries().iter().filter(|query| query.place.starts_with("panel")) {
        let selectors = Asked::of(&filled_in(&query.text)).selectors.len();
        assert_eq!(query.text.matches(chosen).count(), selectors, "{}: {}", query.place, query.text);
    }
}

/// Grafana shows this in the place of "No data", which would look like a fault.
#[test]
fn a_panel_whose_query_may_find_nothing_says_what_that_means() {
    let by_pod_or_policy = |query: &Query| {
        let asked = Asked::of(&filled_in(&query.text));
        let bounded = ["podgate_endpoints", "podgate_table_entries", "podgate_problems", "podgate_anomalies"];
        let from_the_start = |metric: &str| bounded.contains(&metric) || metric.starts_with("podgate_source_errors");
        let may_be_absent = ["podgate_verdicts_total", "podgate_verdict_bytes_total", "podgate_policy_denials_total"];
        let absent = asked.selectors.iter().any(|it| may_be_absent.contains(&it.metric.as_str()));
        let filtered = query.text.ends_with("> 0") || query.text.contains("last_error");
        (absent || filtered) && !asked.selectors.iter().all(|it| from_the_start(&it.metric))
    };
    for panel in panels() {
        let place = format!("panel {}", panel["title"]);
        let silent = queries().into_iter().any(|query| query.place == place && by_pod_or_policy(&query));
        let told = panel["fieldConfig"]["defaults"]["noValue"].is_string();
        assert!(told || !silent, "{place}");
    }
}

/// A panel with one number has it from the start: 0 where nothing was counted.
#[test]
fn a_number_is_never_missing() {
    let stats: Vec<_> = panels().into_iter().filter(|panel| panel["type"] == "stat").collect();
    assert!(stats.len() >= 5);
    for panel in stats {
        for target in list(&panel["targets"]) {
            assert!(string(&target["expr"]).contains("or vector(0)"), "{}: {}", panel["title"], target["expr"]);
        }
    }
}

/// Two queries of a panel that name their series alike can't be told apart.
#[test]
fn queries_of_a_panel_name_their_series_differently() {
    for panel in panels() {
        let legends: Vec<_> = list(&panel["targets"]).iter().map(|target| string(&target["legendFormat"])).collect();
        assert_eq!(legends.iter().collect::<BTreeSet<_>>().len(), legends.len(), "{}: {legends:?}", panel["title"]);
    }
}

/// Red is what is dropped, in every panel with verdicts.
#[test]
fn verdicts_have_the_same_colours_everywhere() {
    let verdicts: BTreeSet<String> = known()["podgate_verdicts_total"]["verdict"].clone();
    let coloured = |panel: &Value| -> BTreeMap<String, String> {
        let overrides = list(&panel["fieldConfig"]["overrides"]).iter();
        let pair =
            |it: &Value| (string(&it["matcher"]["options"]), string(&it["properties"][0]["value"]["fixedColor"]));
        overrides.map(pair).collect()
    };
    let of = |title: &str| coloured(panels().iter().find(|panel| panel["title"] == title).unwrap());
    let colours = of("Packets judged");
    assert!(verdicts.iter().all(|verdict| colours.contains_key(verdict)), "{verdicts:?} {colours:?}");
    let [allowed, denied, audited] = ["allowed", "denied", "would_deny"].map(|verdict| colours[verdict].as_str());
    assert_eq!([allowed, denied, audited], ["green", "red", "semi-dark-yellow"]);
    for (title, verdict) in
        [("Dropped, by reason", denied), ("Denied, by policy", denied), ("Would be denied, by policy", audited)]
    {
        let panel = panels().into_iter().find(|panel| panel["title"] == title).unwrap();
        let color = &panel["fieldConfig"]["defaults"]["color"];
        assert_eq!(
            (string(&color["mode"]).as_str(), string(&color["fixedColor"]).as_str()),
            ("shades", verdict),
            "{title}"
        );
    }
    assert_eq!(of("Bytes judged"), colours);
    assert!(of("Egress to Services").iter().all(|(verdict, colour)| colours[verdict] == *colour));
}

#[test]
fn panels_do_not_lie_over_each_other() {
    let cells = |panel: &Value| -> Vec<(u64, u64)> {
        let at = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        let rows = at("y")..at("y") + at("h");
        rows.flat_map(|y| (at("x")..at("x") + at("w")).map(move |x| (x, y))).collect()
    };
    let all: Vec<_> = list(&dashboard()["panels"]).iter().flat_map(cells).collect();
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
}

/// Prometheus' own tool: the file is well-formed, and alerts fire when they should and only then.
#[test]
fn prometheus_accepts_the_rules_and_they_fire_as_they_should() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    for arguments in [["check", "rules", "chart/files/rules.yaml"], ["test", "rules", "monitoring/rules-test.yaml"]] {
        let Ok(output) = Command::new("promtool").args(arguments).current_dir(&directory).output() else {
            eprintln!("SKIPPED: promtool is not installed, so no rule was tried");
            return;
        };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
    }
}
