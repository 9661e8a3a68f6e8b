//! Every clock in a manifest that can end a task, or give it to another worker, before it is done.

use std::fs;
use std::path::Path;

use crate::checks::{check, text};

/// A task of half an hour, on pods that have two hours to end.
const TASK: &str = "expectedTaskDuration: 30m";

const LIST: &str = "source: redis, connection: r, listName: a, processingListName: b";

const DEADLINE: &str = "deadline-shorter-than-task";
const STOPPED: &str = "stopped-before-task-ends";
const AGAIN: &str = "given-again-while-running";

/// The place of each timeout, a value that is too short, one that is long enough, and the rule.
const CLOCKS: &[(&str, &str, &str, &str)] = &[
    ("POD activeDeadlineSeconds: @", "600", "7200", DEADLINE),
    ("JOB activeDeadlineSeconds: @", "600", "7200", DEADLINE),
    // The start of the pod is part of it.
    ("JOB activeDeadlineSeconds: @", "1830", "1831", DEADLINE),
    ("CONTAINER command: [timeout, \"-k\", \"10\", \"@\", python, worker.py]", "600", "7200", DEADLINE),
    ("CONTAINER command: [sh, -c, \"exec /usr/bin/timeout @ python worker.py\"]", "10m", "2h", DEADLINE),
    ("CONTAINER args: [celery, worker, \"--time-limit=@\"]", "600", "7200", DEADLINE),
    ("CONTAINER args: [celery, worker, --soft-time-limit, \"@\"]", "600", "7200", DEADLINE),
    ("CONTAINER env: [{ name: CELERY_TASK_TIME_LIMIT, value: \"@\" }]", "600", "7200", DEADLINE),
    ("CONTAINER env: [{ name: TASK_TIMEOUT, value: \"@\" }]", "10m", "2h", DEADLINE),
    ("CONTAINER env: [{ name: TASK_TIMEOUT, value: \"@\" }]", "600.0", "7200.0", DEADLINE),
    ("CONTAINER env: [{ name: TASK_TIMEOUT_MINUTES, value: \"@\" }]", "10", "60", DEADLINE),
    ("CONTAINER env: [{ name: JOB_TIMEOUT_MS, value: \"@\" }]", "600000", "7200000", DEADLINE),
    // A number of something else.
    ("CONTAINER env: [{ name: @, value: \"3\" }]", "JOB_TIMEOUT", "JOB_TIMEOUT_RETRIES", DEADLINE),
    ("CONTAINER args: [worker, \"--task_timeout=@\"]", "600", "7200", DEADLINE),
    ("CONTAINER command: [sh, -c, \"timeout 30 wait-for-redis @ exec worker\"]", "--then", "&&", DEADLINE),
    (
        "CONTAINER livenessProbe: { exec: { command: [x] }, terminationGracePeriodSeconds: @ }",
        "60",
        "1800",
        STOPPED,
    ),
    (
        "CONTAINER startupProbe: { exec: { command: [x] }, terminationGracePeriodSeconds: @ }",
        "60",
        "1800",
        STOPPED,
    ),
    ("CONTAINER args: [bundle, exec, sidekiq, -t, \"@\"]", "25", "1800", STOPPED),
    ("CONTAINER args: [bundle, exec, sidekiq, \"--timeout=@\"]", "25", "1800", STOPPED),
    ("CONTAINER args: [sh, -c, \"bundle exec sidekiq -t@ -q default\"]", "25", "1800", STOPPED),
    ("CONTAINER args: [php, artisan, \"queue:work\", redis, \"--timeout=@\"]", "60", "7200", DEADLINE),
    ("CONTAINER env: [{ name: REDIS_QUEUE_RETRY_AFTER, value: \"@\" }]", "90", "7200", AGAIN),
    ("ANNOTATION proxy.istio.io/config: \"terminationDrainDuration: @\"", "5s", "3600s", STOPPED),
    ("ANNOTATION config.linkerd.io/shutdown-grace-period: \"@\"", "30s", "1h", STOPPED),
    ("SIDECAR args: [\"--max-sigterm-delay=@\"]", "30s", "1h", STOPPED),
    ("CONTAINER env: [{ name: SQS_VISIBILITY_TIMEOUT, value: \"@\" }]", "300", "3600", AGAIN),
    ("CONTAINER env: [{ name: KAFKA_MAX_POLL_INTERVAL_MS, value: \"@\" }]", "300000", "3600000", AGAIN),
    ("CONTAINER env: [{ name: JAVA_OPTS, value: \"-Dmax.poll.interval.ms=@\" }]", "300000", "3600000", AGAIN),
    (
        "CONTAINER env: [{ name: BROKER_TRANSPORT_OPTIONS, value: '{\"visibility_timeout\": @}' }]",
        "600",
        "7200",
        AGAIN,
    ),
    ("CONTAINER lifecycle: { preStop: { sleep: { seconds: @ } } }", "6000", "30", "grace-shorter-than-task"),
    (
        "CONTAINER lifecycle: { preStop: { exec: { command: [sh, -c, \"sleep @; true\"] } } }",
        "6000",
        "30",
        "grace-shorter-than-task",
    ),
    ("CONTAINER lifecycle: { preStop: { sleep: { seconds: @ } } }", "7200", "30", "pre-stop-uses-up-grace"),
    ("SIDECAR lifecycle: { preStop: { sleep: { seconds: @ } } }", "7200", "30", "pre-stop-uses-up-grace"),
    ("SPEC progressDeadlineSeconds: @", "600", "7200", "rollout-counts-as-failed"),
    (
        "ANNOTATION cluster-autoscaler.kubernetes.io/safe-to-evict: \"@\"",
        "true",
        "false",
        "node-ends-before-task",
    ),
    ("ANNOTATION karpenter.sh/@: \"true\"", "do-not-evict", "do-not-disrupt", "node-ends-before-task"),
];

#[test]
fn a_clock_that_is_shorter_than_a_task_is_named_and_a_longer_one_is_not() {
    for (line, short, long, rule) in CLOCKS {
        for (value, speaks) in [(short, true), (long, false)] {
            let line = line.replace('@', value);
            let said = of(&workload(&line));
            assert!(said.contains("1 trigger, 0 errors"), "{line}:\n{said}");
            assert_eq!(said.contains(&format!("[{rule}]")), speaks, "{line}: {rule}\n{said}");
            assert!(speaks || said.contains("0 warnings"), "{line}:\n{said}");
        }
    }
}

/// `kubectl apply -f FOLDER` takes them too.
#[test]
fn a_workload_in_a_file_of_json_in_the_same_folder_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let sub = folder.path().join("workers");
    fs::create_dir(&sub).unwrap();
    fs::write(folder.path().join("object.yaml"), scaled(LIST)).unwrap();
    let worker = r#"{ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "w", "namespace": "acme" },
        "spec": { "template": { "spec": { "terminationGracePeriodSeconds": 60, "containers": [] } } } }"#;
    fs::write(sub.join("worker.json"), worker).unwrap();
    let said = text(&check(&[folder.path()], &[]));
    assert!(said.contains("a pod that is stopped has 1m"), "{said}");
    fs::remove_file(folder.path().join("object.yaml")).unwrap();
    let said = text(&check(&[folder.path()], &[]));
    assert!(said.contains("but Deployment"), "{said}");
}

#[test]
fn the_time_to_drain_counts_where_it_is_longer_than_a_task_and_nothing_where_neither_is_known() {
    let manifest = workload("JOB activeDeadlineSeconds: 3600");
    assert!(of(&manifest).contains("0 warnings"));
    let drains = manifest.replace(TASK, "drainTime: 90m");
    assert!(of(&drains).contains(
        "a task may run on for 1h 30m (drainTime), and activeDeadlineSeconds of the Job ends it after 1h"
    ));
    let unknown = workload("JOB activeDeadlineSeconds: 60").replace(&format!(", {TASK}"), "");
    assert!(of(&unknown).contains("0 warnings"), "{}", of(&unknown));
    // It deletes what is over.
    assert!(of(&workload("JOB ttlSecondsAfterFinished: 0")).contains("0 warnings"));
}

#[test]
fn the_nodes_of_the_pool_that_pods_select_are_compared() {
    let rule = "[node-ends-before-task]";
    let pool = |template: &str, disruption: &str| {
        format!(
            "---\napiVersion: karpenter.sh/v1\nkind: NodePool\nmetadata: {{ name: gpu }}\nspec:\n  \
             disruption: {{ {disruption} }}\n  template: {{ spec: {{ {template} }} }}\n"
        )
    };
    let selects = |name: &str| workload(&format!("POD nodeSelector: {{ karpenter.sh/nodepool: {name} }}"));
    let grace = pool("terminationGracePeriod: 5m", "");
    assert!(of(&(selects("gpu") + &grace)).contains("that the pool gpu removes kills its pods after 5m"));
    assert!(!of(&(selects("other") + &grace)).contains(rule));
    let tainted = pool("terminationGracePeriod: 5m, taints: [{ key: a, effect: NoSchedule }]", "");
    assert!(!of(&(workload("") + &tainted)).contains(rule));
    assert!(of(&(workload("") + &grace)).contains(rule));
    let young = pool("expireAfter: 20m, terminationGracePeriod: 2h", "");
    assert!(of(&(selects("gpu") + &young)).contains("a node of the pool gpu lives for 20m"));
    let good = pool("expireAfter: 336h, terminationGracePeriod: 2h", "");
    assert!(!of(&(selects("gpu") + &good)).contains(rule));
    let busy = pool("expireAfter: Never", "consolidationPolicy: WhenEmptyOrUnderutilized");
    let hasty =
        selects("gpu").replace("terminationGracePeriodSeconds: 7200", "terminationGracePeriodSeconds: 60");
    assert!(of(&(hasty + &busy)).contains("the pool gpu empties nodes on which pods run"));
    assert!(!of(&(selects("gpu") + &busy)).contains(rule));
}

#[test]
fn the_visibility_timeout_of_a_queue_in_the_same_files_is_compared() {
    let object = scaled(
        "source: aws-sqs-queue, connection: s, queueURL: \"https://sqs.eu-west-1.amazonaws.com/123456789012/tasks\"",
    );
    let ack = "---\napiVersion: sqs.services.k8s.aws/v1alpha1\nkind: Queue\nmetadata: { name: x }\nspec: { queueName: tasks, visibilityTimeout: \"@\" }\n";
    let crossplane = "---\napiVersion: sqs.aws.upbound.io/v1beta1\nkind: Queue\nmetadata: { name: tasks }\nspec: { forProvider: { visibilityTimeoutSeconds: @ } }\n";
    for queue in [ack, crossplane] {
        let of = |value: &str| of(&(object.clone() + &queue.replace('@', value)));
        assert!(
            of("300")
                .contains("another worker is given it after 5m (the visibility timeout of the queue tasks)")
        );
        assert!(!of("3600").contains("given-again"));
    }
    // Amazon's own default is half a minute.
    assert!(of(&(object + &ack.replace(", visibilityTimeout: \"@\"", ""))).contains("given it after 30s"));
}

#[test]
fn clocks_in_a_config_map_of_the_same_files_are_read() {
    let map = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: { name: m, namespace: acme }\ndata:\n  VISIBILITY_TIMEOUT: \"300\"\n  \
               app.properties: \"max.poll.interval.ms=60000\"\n";
    for (line, after) in [
        ("CONTAINER envFrom: [{ configMapRef: { name: m } }]", "5m (the variable VISIBILITY_TIMEOUT)"),
        ("POD volumes: [{ name: v, configMap: { name: m } }]", "1m (max.poll.interval.ms)"),
        (
            "CONTAINER env: [{ name: SQS_VISIBILITY_TIMEOUT, valueFrom: { configMapKeyRef: { name: m, key: VISIBILITY_TIMEOUT } } }]",
            "5m (the variable SQS_VISIBILITY_TIMEOUT)",
        ),
    ] {
        let said = of(&(workload(line) + map));
        assert!(said.contains(&format!("given it after {after}")), "{line}:\n{said}");
    }
    assert!(of(&(workload("") + map)).contains("0 warnings"));
}

#[test]
fn what_is_scaled_is_found_whichever_kind_it_is() {
    for kind in ["StatefulSet", "Rollout", "ReplicaSet"] {
        let manifest = workload("CONTAINER args: [--time-limit, \"60\"]");
        let manifest = manifest
            .replace("kind: Deployment", &format!("kind: {kind}"))
            .replace("scaleTargetRef: { name: w }", &format!("scaleTargetRef: {{ kind: {kind}, name: w }}"));
        assert!(of(&manifest).contains("[deadline-shorter-than-task]"), "{}", of(&manifest));
    }
}

/// A trigger with a task of half an hour, and what it scales: with one more line in the place that its first word names.
fn workload(line: &str) -> String {
    let (place, line) = line.split_once(' ').unwrap_or(("", ""));
    let at = |name: &str, indent: &str| {
        if name == place { format!("{indent}{line}\n") } else { String::new() }
    };
    let template = |indent: &str| {
        let sidecar =
            if place == "SIDECAR" { "- name: proxy\n  image: p\n".to_owned() } else { String::new() };
        let annotations = at("ANNOTATION", "    ");
        let metadata = if annotations.is_empty() {
            String::new()
        } else {
            format!("metadata:\n  annotations:\n{annotations}")
        };
        let lines = format!(
            "{metadata}spec:\n  terminationGracePeriodSeconds: 7200\n{}  containers:\n  - name: worker\n    image: w\n{}{}",
            at("POD", "  "),
            at("CONTAINER", "    "),
            sidecar.lines().map(|line| format!("  {line}\n")).collect::<String>() + &at("SIDECAR", "    "),
        );
        lines.lines().map(|line| format!("{indent}{line}\n")).collect::<String>()
    };
    if place == "JOB" {
        return format!(
            "apiVersion: keda.sh/v1alpha1\nkind: ScaledJob\nmetadata: {{ name: w, namespace: acme }}\nspec:\n  \
             rollout: {{ strategy: gradual }}\n  maxReplicaCount: 9\n  triggers:\n  - {{ type: external, metadata: \
             {{ {LIST}, maxReplicaCount: \"9\", workload: job, {TASK} }} }}\n  jobTargetRef:\n{}    template:\n{}",
            at("JOB", "    "),
            template("      ")
        );
    }
    format!(
        "{}---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{ name: w, namespace: acme }}\nspec:\n{}  template:\n{}",
        scaled(LIST),
        at("SPEC", "  "),
        template("    ")
    )
}

fn scaled(keys: &str) -> String {
    format!(
        "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {{ name: w, namespace: acme }}\nspec:\n  \
         scaleTargetRef: {{ name: w }}\n  maxReplicaCount: 9\n  triggers:\n  - {{ type: external, metadata: {{ {keys}, \
         maxReplicaCount: \"9\", {TASK} }} }}\n"
    )
}

fn of(manifest: &str) -> String {
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    fs::write(file.path(), manifest).unwrap();
    text(&check(&[Path::new(file.path())], &[]))
}
