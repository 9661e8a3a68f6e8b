//! Every rule of `check`: a page, a bad example that it finds, and a good one that nothing finds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use agent_scaler::checks::RULES;

use crate::support::tree::root;

#[test]
fn each_rule_finds_its_bad_example_and_no_rule_finds_anything_in_the_good_one() {
    for rule in RULES {
        assert_eq!(found(&example(rule.id, "bad")), [rule.id], "{}", rule.id);
        assert_eq!(found(&example(rule.id, "good")), Vec::<String>::new(), "{}", rule.id);
    }
}

#[test]
fn each_rule_has_a_page_and_each_page_a_rule() {
    let pages = fs::read_to_string(root().join("docs/checks.md")).unwrap();
    let titles: Vec<&str> = pages.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let ids: Vec<&str> = RULES.iter().map(|rule| rule.id).collect();
    assert_eq!(titles, ids);
}

#[test]
fn what_we_ship_has_no_warning() {
    for folder in ["examples/scaledobjects", "deploy/manifests/worker", "deploy/node-pools"] {
        let output = check(&[&root().join(folder)], &["--deny-warnings"]);
        assert_eq!(code(&output), 0, "{folder}:\n{}", text(&output));
    }
}

#[test]
fn the_exit_code_tells_errors_from_warnings() {
    let (good, bad) = (example("bounds-differ", "good"), example("bounds-differ", "bad"));
    assert_eq!(code(&check(&[&good], &["--deny-warnings"])), 0);
    assert_eq!(code(&check(&[&bad], &[])), 0);
    assert_eq!(code(&check(&[&bad], &["--deny-warnings"])), 4);
    let wrong = broken();
    assert_eq!(code(&check(&[wrong.path()], &[])), 2);
    assert_eq!(code(&check(&[Path::new("/no/such/file.yaml")], &[])), 1);
}

#[test]
fn a_broken_file_names_every_problem_at_once() {
    let wrong = broken();
    let output = text(&check(&[wrong.path()], &[]));
    for line in [
        "spec.triggers[0].metadata.tasksPerReplica: must be a text, in quotation marks: \"4\"",
        "spec.minReplicaCount: must be a whole number",
        "metadata.listName: is required",
        "metadata.lstName: unknown key (hint: did you mean `listName`?)",
        "1 trigger, 3 errors, 0 warnings",
    ] {
        assert!(output.contains(line), "{line}\nis not in\n{output}");
    }
}

#[test]
fn a_servers_file_makes_unknown_connections_an_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "connections: { redis-mian: { type: redis, url: \"redis://x\" } }").unwrap();
    let config = ["--config", file.path().to_str().unwrap()];
    let output = check(&[&example("bounds-differ", "good")], &config);
    assert_eq!(code(&output), 2);
    assert!(text(&output).contains("no connection named `redis-main` (hint: did you mean `redis-mian`?)"));
}

#[test]
fn rules_about_workers_speak_only_where_they_matter() {
    let (stuck, scope, limit) = ("stuck-shorter-than-task", "scope-not-named", "limit-without-drain");
    let nothing = "workload: deployment";
    for (id, from, to, speaks) in [
        (stuck, "workersConnection: \"redis-main\"", nothing, false),
        (
            scope,
            "workersConnection:",
            "workerScope: \"acme:tasks,acme:low\"\n      workersConnection:",
            false,
        ),
        // Without a task's length any time to drain may be enough, and none never is.
        (limit, "expectedTaskDuration: \"20m\"", nothing, false),
        (limit, "expectedTaskDuration: \"20m\"\n      drainTime: \"10m\"", nothing, true),
        (limit, "kind: ScaledObject", "kind: ScaledJob", false),
        // A connection that no queue is on.
        (limit, "drainTime: \"10m\"", "workersConnection: workers", true),
    ] {
        let bad = fs::read_to_string(example(id, "bad")).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bad.replace(from, to)).unwrap();
        assert_eq!(found(file.path()).iter().any(|found| found == id), speaks, "{id}: {to}");
    }
}

#[test]
fn rules_about_polls_speak_only_where_they_matter() {
    let (unused, cached, forgotten) =
        ("polling-interval-unused", "cached-metrics", "forgotten-between-polls");
    let nothing = "scaleTargetRef: { name: support }";
    let formula = "advanced: { scalingModifiers: { formula: a, target: \"1\" } }";
    for (id, from, to, speaks) in [
        // Whatever makes KEDA poll.
        (unused, "  minReplicaCount: 1", "  idleReplicaCount: 0\n  minReplicaCount: 1", false),
        (unused, nothing, &format!("{nothing}\n  {formula}"), false),
        (unused, "type: external", "type: external\n    useCachedMetrics: true", false),
        (
            unused,
            "  triggers:",
            "  triggers:\n  - { type: cron, useCachedMetrics: true, metadata: {} }",
            false,
        ),
        (unused, "kind: ScaledObject", "kind: ScaledJob", false),
        (unused, "  pollingInterval: 5\n", "", false),
        (unused, "type: external", "type: external-push", true),
        (unused, "pollingInterval: 5", "pollingInterval: 3600", true),
        (cached, "kind: ScaledObject", "kind: ScaledJob", false),
        (cached, "minReplicaCount: 1", "minReplicaCount: 0", true),
        (forgotten, "pollingInterval: 1200", "pollingInterval: 600", false),
        (forgotten, "pollingInterval: 1200", "pollingInterval: 900", true),
        (forgotten, "minReplicaCount: 0", "minReplicaCount: 1", false),
        (forgotten, "minReplicaCount: 0", "minReplicaCount: 1\n  idleReplicaCount: 0", true),
        (forgotten, "kind: ScaledObject", "kind: ScaledJob", true),
    ] {
        let bad = fs::read_to_string(example(id, "bad")).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(bad.contains(from), "{id}: {from}");
        fs::write(file.path(), bad.replacen(from, to, 1)).unwrap();
        let output = check(&[file.path()], &[]);
        assert_eq!(text(&output).contains(id), speaks, "{id}: {to}:\n{}", text(&output));
    }
}

#[test]
fn a_limit_of_which_no_amount_is_known_is_noted_where_the_servers_file_is_given() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let limit = |amount: &str| {
        let content = format!(
            "connections: {{ redis-main: {{ type: redis, url: \"redis://x\" }} }}\n\
             llmLimits: {{ anthropic-prod: {{ workersConnection: redis-main, scope: a{amount} }} }}"
        );
        fs::write(file.path(), content).unwrap();
        let config = ["--config", file.path().to_str().unwrap(), "--deny-warnings"];
        let output = check(&[&example("limit-without-drain", "good")], &config);
        assert_eq!(code(&output), 0, "{}", text(&output));
        text(&output)
    };
    let note = "note     llmLimits.anthropic-prod: no amount is given, so nothing is held back until";
    assert!(limit("").contains(note));
    assert!(!limit(", requestsPerDay: 1000").contains("llmLimits."));
    let output = text(&check(&[&example("limit-without-drain", "good")], &[]));
    assert!(!output.contains("llmLimits."), "{output}");
}

#[test]
fn an_api_key_in_a_trigger_is_an_error_that_does_not_repeat_it() {
    let good = fs::read_to_string(example("limit-without-drain", "good")).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), good.replace("anthropic-prod", "sk-ant-hunter2")).unwrap();
    let output = check(&[file.path()], &[]);
    assert_eq!(code(&output), 2);
    let said = text(&output);
    assert!(said.contains("metadata.llmLimit: looks like an API key"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn what_is_no_scaled_object_is_said_to_be_none() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for (content, complaint) in [
        ("kind: ScaledObjet\nmetadata: { name: a }\n", "#1.kind: KEDA has no kind `ScaledObjet`"),
        ("kind: Service\nmetadata: { name: a }\n", "there is no ScaledObject and no ScaledJob, but Service"),
        ("just a text\n", "#1: must be a map of keys to values"),
        (
            "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nspec: { triggers: [x] }\n",
            "#1.metadata.name: is required",
        ),
        (
            "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nspec: { triggers: [x] }\n",
            "#1.spec.triggers[0]: must be a map of keys to values",
        ),
        (
            "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: { name: a }\nspec: { triggers: 5 }\n",
            "#1.spec.triggers: must be a list",
        ),
    ] {
        fs::write(file.path(), content).unwrap();
        let output = check(&[file.path()], &[]);
        assert_eq!(code(&output), 2, "{content}");
        assert!(text(&output).contains(complaint), "{complaint}\nis not in\n{}", text(&output));
    }
}

fn broken() -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    let object = "apiVersion: keda.sh/v1alpha1\n\
                  kind: ScaledObject\n\
                  metadata: { name: support, namespace: acme }\n\
                  spec:\n  \
                    minReplicaCount: two\n  \
                    triggers: [{ type: external, metadata: { source: redis, connection: main, lstName: q, \
                      tasksPerReplica: 4 } }]\n";
    fs::write(file.path(), object).unwrap();
    file
}

/// The ids of the findings in a file, in order.
fn found(path: &Path) -> Vec<String> {
    let output = check(&[path], &["--output", "json"]);
    let checked: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(checked["errors"], 0, "{}: {checked:#}", path.display());
    let trigger = &checked["triggers"][0]["warnings"];
    trigger.as_array().unwrap().iter().map(|warning| warning["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_address_that_keda_cannot_dial_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("object.yaml");
    for (address, says, is_wrong) in [
        ("http://scaler.agents.svc:9090", "is no address of gRPC", true),
        ("https://scaler.agents.svc:9090/", "is no address of gRPC", true),
        ("scaler.agents.svc", "names no port, and KEDA takes 443", true),
        ("scaler.agents.svc:grpc", "names no port, and KEDA takes 443", true),
        ("", "acme/a: a trigger names no scalerAddress, without which KEDA refuses it", false),
        ("scaler.agents.svc:9090", "", false),
        ("dns:///scaler.agents.svc:9090", "", false),
        ("[fd00::1]:9090", "", false),
        ("${SCALER}", "", false),
    ] {
        let object = format!(
            "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {{ name: a, namespace: acme }}\nspec:\n  \
             triggers:\n  - type: external\n    metadata: {{ scalerAddress: \"{address}\", source: redis, \
             connection: main, listName: a, processingListName: b }}\n"
        );
        fs::write(&path, object).unwrap();
        let output = check(&[&path], &[]);
        let said = text(&output);
        assert_eq!(code(&output), if is_wrong { 2 } else { 0 }, "{address}: {said}");
        assert_eq!(said.contains("scalerAddress"), !says.is_empty(), "{address}: {said}");
        assert!(said.contains(says), "{address}: {said}");
    }
}

#[test]
fn a_file_that_is_given_twice_is_read_once_and_one_of_bytes_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let ours = folder.path().join("a.yaml");
    fs::copy(root().join("examples/scaledobjects/celery.yaml"), &ours).unwrap();
    let output = check(&[folder.path(), &ours], &[]);
    let said = text(&output);
    assert!(said.contains("1 trigger, 0 errors") && !said.contains("counted-twice"), "{said}");
    fs::write(folder.path().join("b.yaml"), b"\xff\xfe").unwrap();
    let said = text(&check(&[folder.path()], &[]));
    assert!(said.contains("celery") && said.contains("b.yaml"), "{said}");
}

pub(crate) fn check(files: &[&Path], flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agent-scaler"));
    command.arg("check");
    for file in files {
        command.arg("-f").arg(file);
    }
    command.args(flags).output().unwrap()
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

pub(crate) fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

fn example(id: &str, which: &str) -> PathBuf {
    root().join(format!("tests/data/checks/{id}.{which}.yaml"))
}

/// Whatever a manifest, its file's name and its mistakes hold, a terminal shows it and obeys nothing.
#[test]
fn a_terminal_obeys_nothing_of_what_is_checked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs\u{1b}[2J\u{9b}.yaml");
    fs::write(&path, ODD).unwrap();
    for format in ["text", "json"] {
        let output = check(&[&path], &["--output", format]);
        assert_eq!(code(&output), 2, "{}", text(&output));
        let obeyed = text(&output).chars().find(|c| *c != '\n' && !agent_scaler::text::is_printable(*c));
        assert_eq!(obeyed, None, "{:?}", text(&output));
        assert!(text(&output).contains("forged"), "{}", text(&output));
    }
    let output = check(&[&path], &[]);
    assert!(!text(&output).lines().any(|line| line.starts_with("forged")), "{}", text(&output));
    let missing = directory.path().join("none\u{1b}[2J\n.yaml");
    assert!(text(&check(&[&missing], &[])).chars().all(|c| c == '\n' || agent_scaler::text::is_printable(c)));
}

/// A document whose every word is against the terminal.
const ODD: &str = r#"
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: { name: "a\e[31m\u202Eb", namespace: "acme\nforged: namespace" }
spec:
  scaleTargetRef: { name: "jobs\x9b" }
  triggers:
  - type: external
    metadata:
      source: redis
      connection: main
      listName: "jobs\nforged: name"
      tasksPerReplica: "\e]0;forged\a"
      "unknown\nforged: key": "1"
"#;

/// `agent-scaler keys | head -1` is no error and no panic.
#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_agent-scaler"))
        .arg("keys")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn triggers_that_count_one_record_are_told_what_each_needs_of_its_own() {
    let run = "workersConnection: r, workerScope: runs";
    for (one, other, fix) in [
        ("processingListName: p", "processingListName: p", "a record of its own for each of them"),
        ("processingSortedSetName: p", "processingSortedSetName: p", "a record of its own for each of them"),
        (run, run, "`workerScope`: a name of its own for each of them"),
        (
            "inFlightQuery: x, prometheusConnection: p",
            "inFlightQuery: x, prometheusConnection: p",
            "a query for",
        ),
        ("processingListName: p, workersConnection: r", "processingListName: q", ""),
    ] {
        let folder = tempfile::tempdir().unwrap();
        for (name, keys) in [("one", one), ("two", other)] {
            let text = format!(
                "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {{ name: {name}, namespace: acme }}\nspec:\n  \
                 scaleTargetRef: {{ name: {name} }}\n  triggers:\n  - {{ type: external, metadata: {{ source: redis, \
                 connection: r, listName: {name}, {keys} }} }}\n"
            );
            fs::write(folder.path().join(format!("{name}.yaml")), text).unwrap();
        }
        let said = text(&check(&[folder.path()], &[]));
        assert_eq!(said.contains("[counted-twice]"), !fix.is_empty(), "{said}");
        assert!(said.contains(fix), "{fix}\n{said}");
        assert!(!said.contains("one trigger for each queue"), "{said}");
    }
}

#[test]
fn a_whole_group_of_kafka_and_a_topic_of_it_are_counted_twice() {
    let all = "consumerGroup: g";
    for (one, other, warns) in [
        (all, "topic: t, consumerGroup: g", true),
        (all, "topic: t, partitionLimitation: \"1-3\", consumerGroup: g", true),
        ("topic: t, consumerGroup: g", "topic: t, partitionLimitation: \"1-3\", consumerGroup: g", true),
        (all, "topic: t, consumerGroup: h", false),
        ("topic: s, consumerGroup: g", "topic: t, consumerGroup: g", false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        for (name, keys) in [("one", one), ("two", other)] {
            let text = format!(
                "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {{ name: {name}, namespace: acme }}\nspec:\n  \
                 scaleTargetRef: {{ name: {name} }}\n  triggers:\n  - {{ type: external, metadata: {{ source: kafka, \
                 connection: k, {keys} }} }}\n"
            );
            fs::write(folder.path().join(format!("{name}.yaml")), text).unwrap();
        }
        let said = text(&check(&[folder.path()], &[]));
        assert_eq!(said.matches("[counted-twice]").count(), if warns { 2 } else { 0 }, "{said}");
    }
}
