//! Manifests from the field, and variants of each: the output of `check`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use agent_scaler::config::keys;
use agent_scaler::sources::{ALL, prometheus::QUERY_KEYS};

use crate::checks::{check, code, text};
use crate::support::tree::root;

/// A case, with the texts that `check` prints about it and those that it does not.
type Case<'a> = (&'a str, i32, &'a [&'a str], &'a [&'a str]);

const CASES: &[Case<'_>] = &[
    ("advice-celery-nounacked", 0, &["leave out `unacked: \"false\"`"], &["processingListName", "LMOVE"]),
    ("advice-sidekiq-nobusy", 0, &["leave out `busy: \"false\"`"], &["processingListName", "LMOVE"]),
    ("advice-http", 0, &["`runningPath`: "], &["processingListName", "LMOVE"]),
    ("advice-prometheus", 0, &["`inFlightQuery`: "], &["processingListName", "LMOVE"]),
    (
        "agent-scaledjob",
        0,
        &[
            "[deadline-shorter-than-task] a task takes 30m, and activeDeadlineSeconds of the Job ends it after 10m",
            "[grace-shorter-than-task]",
            "[rollout-ends-jobs]",
        ],
        &[],
    ),
    (
        "fromenv-kafka",
        2,
        &[
            "3 problems in",
            "bootstrapServersFromEnv: is refused: variables of the workers are not read (hint: name a `connection`",
            "topicFromEnv: is refused: variables of the workers are not read (hint: write the value itself into the \
             trigger: `topic: ",
            "consumerGroupFromEnv: is refused: variables of the workers are not read (hint: write the value itself",
        ],
        &["secret", "password", "is required"],
    ),
    (
        "fromenv-redis",
        2,
        &["3 problems in", "addressFromEnv", "hostFromEnv", "portFromEnv", "(hint: name a `connection`"],
        &["secret", "password"],
    ),
    (
        "fromenv-sqs",
        2,
        &["1 problem in", "(hint: write the value itself into the trigger: `queueURL: "],
        &["secret", "password", "is required"],
    ),
    (
        "dify-two",
        0,
        &[
            "[counted-twice] the tasks in unacked, unacked_index are counted by acme/dify-mail too",
            "[counted-twice] the tasks in unacked, unacked_index are counted by acme/dify-dataset too",
            "unacked: \"false\" in all of them but one",
        ],
        &[],
    ),
    (
        "old-api",
        2,
        &[
            "apiVersion: `keda.k8s.io/v1alpha1` is not served by KEDA 2, which ignores this object (hint: \
             `apiVersion: keda.sh/v1alpha1`)",
            "spec.scaleType: is a key of KEDA 1, which KEDA 2 does not read (hint: `kind: ScaledJob`",
        ],
        &["0 errors"],
    ),
    (
        "openshift-list",
        2,
        &[
            "spec.triggers[1].type: KEDA has no trigger of type `object`, and refuses the whole object",
            "`inFlightQuery`: ",
        ],
        &["processingListName"],
    ),
    ("laravel", 0, &[], &["delete"]),
];

#[test]
fn manifests_from_the_field_get_the_right_answer() {
    for (name, right, said, unsaid) in CASES {
        let output = check(&[&case(name)], &[]);
        let text = text(&output);
        assert_eq!(code(&output), *right, "{name}:\n{text}");
        said.iter().for_each(|line| assert!(text.contains(line), "{name}: {line}\nis not in\n{text}"));
        unsaid.iter().for_each(|line| assert!(!text.contains(line), "{name}: {line}\nis in\n{text}"));
    }
}

/// A trigger that does not show running tasks, and each change that its fix names. Every one of them removes
/// the warning.
#[test]
fn the_fix_of_unseen_tasks_taken_literally_is_valid_and_takes_the_warning_away() {
    let workers = ("workersConnection", Some("redis-main"));
    let query = ("inFlightQuery", Some("sum(running)"));
    let list = ("processingListName", Some("acme:busy"));
    for (source, keys, fixes) in [
        ("redis", &[("listName", "acme:tasks")][..], &[list, workers][..]),
        ("redis-sorted-set", &[("sortedSetName", "acme:due"), ("scoreUnit", "seconds")], &[list, workers]),
        ("celery", &[("queue", "celery"), ("unacked", "false")], &[("unacked", None), workers]),
        ("sidekiq", &[("queue", "default"), ("busy", "false")], &[("busy", None), workers]),
        ("prometheus", &[("query", "sum(x)")], &[query, workers]),
        ("http", &[("path", "/q"), ("readyPath", "$.n")], &[("runningPath", Some("$.running")), workers]),
    ] {
        let bad = BTreeMap::from_iter(keys.iter().copied());
        let said = checked(source, &bad);
        assert!(said.contains("[unseen-tasks]") && said.contains("0 errors"), "{source}:\n{said}");
        for (key, value) in fixes {
            assert!(said.contains(&format!("`{key}")), "{source}: {key} is no part of the fix:\n{said}");
            let mut good = bad.clone();
            match value {
                Some(value) => good.insert(*key, *value),
                None => good.remove(*key),
            };
            let said = checked(source, &good);
            assert!(!said.contains("[unseen-tasks]") && said.contains("0 errors"), "{source} {key}:\n{said}");
        }
    }
}

#[test]
fn every_key_that_a_source_advises_is_one_of_its_own() {
    for source in ALL {
        let Some(advice) = source.to_show_running else { continue };
        let all: Vec<&str> =
            source.keys.iter().chain(keys::ALL).chain(QUERY_KEYS).map(|key| key.name).collect();
        let quoted = advice.split('`').skip(1).step_by(2).filter(|text| !text.starts_with('$'));
        for text in quoted {
            let key = text.split(':').next().unwrap_or_default();
            assert!(all.contains(&key), "{}: `{key}`", source.name);
        }
    }
}

#[test]
fn two_triggers_that_count_the_same_tasks_are_named_with_the_shared_place() {
    let run = "workersConnection: w, workerScope: runs";
    for (one, other, shared) in [
        (
            "source: sidekiq, connection: r, queue: a",
            "source: sidekiq, connection: r, queue: b",
            "schedule, retry, processes",
        ),
        (
            "source: sidekiq, connection: r, queue: a",
            "source: sidekiq, connection: r, queue: b, busy: \"false\"",
            "schedule, retry",
        ),
        (
            "source: redis-streams, connection: r, stream: s, consumerGroup: g",
            "source: redis-streams, connection: r, stream: s, consumerGroup: g",
            "stream s group g",
        ),
        (
            "source: kafka, connection: k, topic: t, consumerGroup: g",
            "source: kafka, connection: k, topic: \"t,u\", consumerGroup: g",
            "topic t for group g",
        ),
        (
            "source: redis, connection: r, listName: a, processingListName: busy",
            "source: redis, connection: r, listName: b, processingListName: busy",
            "busy",
        ),
        (
            "source: aws-sqs-queue, connection: s, queueURL: q",
            "source: aws-sqs-queue, connection: s, queueURL: q",
            "q",
        ),
        (
            "source: prometheus, connection: p, query: u, inFlightQuery: run",
            "source: prometheus, connection: p, query: z, inFlightQuery: run",
            "run",
        ),
        (
            "source: http, connection: h, path: /q, readyPath: $.a, runningPath: $.run",
            "source: http, connection: h, path: /q, readyPath: $.b, runningPath: $.run",
            "$.run of /q",
        ),
        (
            &format!("source: redis, connection: r, listName: a, {run}"),
            &format!("source: redis, connection: r, listName: b, {run}"),
            "the reports of runs",
        ),
    ] {
        // Several folders are one check.
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(first.path(), "a.yaml", &object("one", one));
        write(second.path(), "b.yaml", &object("two", other));
        let said = text(&check(&[first.path(), second.path()], &[]));
        for name in ["one", "two"] {
            let line = format!("[counted-twice] the tasks in {shared} are counted by acme/{name} too");
            assert!(said.contains(&line), "{line}\nis not in\n{said}");
        }
    }
}

#[test]
fn queues_that_have_nothing_in_common_are_not_counted_twice() {
    for (one, other) in [
        ("source: celery, connection: a, queue: x", "source: celery, connection: b, queue: x"),
        (
            "source: celery, connection: a, queue: x, globalKeyprefix: a",
            "source: celery, connection: a, queue: z, globalKeyprefix: b",
        ),
        ("source: rq, connection: a, queue: x", "source: rq, connection: a, queue: z"),
        ("source: bullmq, connection: a, queue: x", "source: bullmq, connection: a, queue: z"),
        ("source: dramatiq, connection: a, queue: x", "source: dramatiq, connection: a, queue: z"),
        (
            "source: redis-streams, connection: r, stream: s, consumerGroup: g",
            "source: redis-streams, connection: r, stream: s, consumerGroup: h",
        ),
        (
            "source: kafka, connection: k, topic: t, consumerGroup: g",
            "source: kafka, connection: k, topic: t, consumerGroup: h",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "a.yaml", &object("one", one));
        write(folder.path(), "b.yaml", &object("two", other));
        let said = text(&check(&[folder.path()], &[]));
        assert!(!said.contains("counted-twice") && said.contains("2 triggers, 0 errors"), "{one}:\n{said}");
    }
}

#[test]
fn objects_that_keda_ignores_are_errors() {
    let good = object("one", "source: redis, connection: r, listName: a");
    for (from, to, complaint) in [
        ("keda.sh/v1alpha1", "keda.sh/v1", "#1.apiVersion: `keda.sh/v1` is not served by KEDA 2"),
        ("keda.sh/v1alpha1", "keda.sh/v1beta1", "#1.apiVersion: `keda.sh/v1beta1` is not served"),
        ("apiVersion: keda.sh/v1alpha1\n", "", "#1.apiVersion: is required"),
        (
            "kind: ScaledObject",
            "kind: ScaledObjects",
            "#1.kind: KEDA has no kind `ScaledObjects` (hint: did you mean",
        ),
        ("kind: ScaledObject", "kind: scaledobject", "#1.kind: KEDA has no kind `scaledobject`"),
        ("kind: ScaledObject", "kind: ScaledTask", "#1.kind: KEDA has no kind `ScaledTask`"),
        (
            "keda.sh/v1alpha1\nkind: ScaledObject",
            "keda.k8s.io/v1alpha1\nkind: TriggerAuthentication",
            "#1.apiVersion: `keda.k8s.io/v1alpha1` is not served",
        ),
        (
            "keda.sh/v1alpha1\nkind: ScaledObject",
            "keda.sh/v1\nkind: ClusterTriggerAuthentication",
            "#1.apiVersion: `keda.sh/v1` is not served",
        ),
        ("type: external", "type: External", "type: KEDA has no trigger of type `External`"),
        ("type: external", "type: redis", "type: `redis` is KEDA's own scaler, which reads no `source`"),
        ("type: external, ", "", "triggers[0].type: is required (hint: `external` or"),
        ("name: worker }", "deploymentName: worker }", "deploymentName: is a key of KEDA 1"),
        (", metadata", ", name: x, metadat", "triggers[0].metadata: is required (hint: a `scalerAddress`"),
        (", metadata", ", name: x, metadat", "metadata.source: is required"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        assert!(good.contains(from), "{from}");
        write(folder.path(), "a.yaml", &good.replacen(from, to, 1));
        let output = check(&[folder.path()], &[]);
        let said = text(&output);
        assert!(said.contains(complaint), "{complaint}\nis not in\n{said}");
        assert_eq!(code(&output), 2, "{said}");
    }
}

#[test]
fn the_items_of_lists_are_checked() {
    let item = object("one", "source: redis, connection: r, listName: a");
    let indented: String = item.lines().map(|line| format!("  {line}\n")).collect();
    let bare = indented.replace("  apiVersion: keda.sh/v1alpha1\n  kind: ScaledObject\n", "");
    for (head, items) in [
        ("apiVersion: v1\nkind: List", indented.clone()),
        ("apiVersion: keda.sh/v1alpha1\nkind: ScaledObjectList", indented.clone()),
        ("apiVersion: keda.sh/v1alpha1\nkind: ScaledObjectList", bare),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let items = items.replacen("  ", "- ", 1);
        write(folder.path(), "a.yaml", &format!("{head}\nitems:\n{items}"));
        let said = text(&check(&[folder.path()], &[]));
        assert!(said.contains("1 trigger, 0 errors"), "{head}:\n{said}");
    }
}

#[test]
fn a_file_without_a_trigger_of_ours_says_so() {
    let foreign = object("x", "listName: a").replace("type: external", "type: redis");
    let several = "kind: Service\nmetadata: { name: a }\n---\nkind: Service\nmetadata: { name: b }\n";
    for (content, complaint) in [
        ("", "nothing but comments or white space"),
        ("# only\n# comments\n", "nothing but comments or white space"),
        ("---\n---\n", "nothing but comments or white space"),
        ("apiVersion: v1\nkind: List\nitems: []\n", "no ScaledObject and no ScaledJob, but List"),
        (several, "no ScaledObject and no ScaledJob, but Service (2)"),
        (
            foreign.as_str(),
            "no trigger of agent-scaler: the triggers are of type redis (hint: one is of type `external`",
        ),
        (
            "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [a.yaml]\n",
            "but Kustomization (hint: `kubectl kustomize FOLDER | agent-scaler check -f -`)",
        ),
        ("replicaCount: 1\nimage: { tag: x }\n", "(hint: if these are values of a chart: `helm template"),
        (
            "{{- if .Values.keda }}\napiVersion: keda.sh/v1alpha1\nkind: ScaledObject\n{{- end }}\n",
            "is a template that is not rendered, so nothing in it is checked (hint: `helm template CHART",
        ),
        (
            "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: { name: \"{{ .Release.Name }}\" }\nspec: {}\n",
            "is a template that is not rendered",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = write(folder.path(), "a.yaml", content);
        for path in [file.as_path(), folder.path()] {
            let output = check(&[path], &[]);
            let said = text(&output);
            assert!(said.contains(complaint), "{complaint}\nis not in\n{said}");
            assert!(said.contains("0 triggers, 1 error"), "{said}");
            assert_eq!(code(&output), 2, "{said}");
        }
    }
}

#[test]
fn one_file_of_several_without_a_trigger_of_ours_is_noted_unless_it_holds_what_is_scaled() {
    let folder = tempfile::tempdir().unwrap();
    let ours = write(folder.path(), "a.yaml", &object("one", "source: redis, connection: r, listName: a"));
    let service = write(folder.path(), "b.yaml", "kind: Service\nmetadata: { name: a }\n");
    let workers = write(folder.path(), "c.yaml", "kind: Deployment\nmetadata: { name: worker }\nspec: {}\n");
    let output = check(&[&ours, &service, &workers], &[]);
    let said = text(&output);
    assert_eq!(code(&output), 0, "{said}");
    assert!(said.contains("note     ") && said.contains("b.yaml: there is no ScaledObject"), "{said}");
    assert!(!said.contains("c.yaml"), "{said}");
}

/// A hint is applied literally.
#[test]
fn no_hint_destroys_data_or_running_work() {
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            // The errors of a source about a queue are tested with the source.
            if path.is_dir() && !path.ends_with("sources") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let code = fs::read_to_string(&path).unwrap();
                let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
                let texts = lines.flat_map(|line| line.split('"').skip(1).step_by(2)).map(str::to_lowercase);
                for text in texts {
                    for word in ["delete ", "flushdb", "flushall", "purge", "xtrim", "drop the", "remove the"]
                    {
                        assert!(!text.contains(word), "{}: {text}", path.display());
                    }
                }
            }
        }
    }
}

/// An object with one trigger of these keys.
fn object(name: &str, metadata: &str) -> String {
    format!(
        "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {{ name: {name}, namespace: acme }}\nspec:\n  \
         scaleTargetRef: {{ name: worker }}\n  maxReplicaCount: 9\n  triggers:\n  \
         - {{ type: external, metadata: {{ {metadata}, maxReplicaCount: \"9\" }} }}\n"
    )
}

/// The output of `check` for an object with a trigger on `source`.
fn checked(source: &str, keys: &BTreeMap<&str, &str>) -> String {
    let quoted = keys.iter().map(|(key, value)| format!(", {key}: {value:?}")).collect::<String>();
    let folder = tempfile::tempdir().unwrap();
    let file =
        write(folder.path(), "a.yaml", &object("one", &format!("source: {source}, connection: c{quoted}")));
    text(&check(&[&file], &[]))
}

fn write(folder: &Path, name: &str, content: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, content).unwrap();
    path
}

fn case(name: &str) -> PathBuf {
    root().join(format!("tests/data/field/{name}.yaml"))
}
