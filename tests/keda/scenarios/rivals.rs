//! What KEDA's own scalers make of a queue, beside what we make of it: on the same queue at the same time, with each
//! value read where the HPA reads it. Nothing takes a task here, so a state stays as it is made.

mod kafka;
mod prometheus;
mod redis;
pub(super) mod sqs;

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::cluster::condition;
use crate::objects::{self, NAME, Trigger};
use crate::scene::Scene;

pub(super) use self::kafka::on_kafka;
pub(super) use self::prometheus::on_prometheus;
pub(super) use self::redis::{on_a_list, on_a_stream};
pub(super) use self::sqs::on_sqs;

/// Most replicas of any of them: more than there are tasks.
const MAX: u32 = 100;

/// What the tables call our own ScaledObject.
const OURS: &str = "ours";

/// How long they may take to agree with the table, and how long they then have to: a few polls of KEDA.
const WITHIN: Duration = Duration::from_secs(20);
const STAYS: Duration = Duration::from_secs(3);

/// One of KEDA's own triggers on the same queue.
struct Rival {
    /// Name of its ScaledObject.
    name: &'static str,
    trigger: Value,
}

/// What is said of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    /// This many replicas at a target of one; and whether the workload is kept from going to zero.
    Value(i64, bool),
    /// Nothing: the HPA gets an error.
    Error,
}

/// This many, and active.
const fn busy(value: i64) -> Says {
    Says::Value(value, true)
}

/// Nothing to do: KEDA scales to zero.
const IDLE: Says = Says::Value(0, false);

/// Applies a ScaledObject for our trigger and one for each of the others, each with a Deployment of its own.
async fn compete(scene: &mut Scene, ours: &Trigger, rivals: &[Rival]) {
    let object = objects::scaled_object(scene.namespace, ours);
    apply(scene, NAME, object["spec"]["triggers"][0].clone()).await;
    for Rival { name, trigger } in rivals {
        apply(scene, name, trigger.clone()).await;
    }
}

async fn apply(scene: &mut Scene, name: &str, trigger: Value) {
    let any = Trigger::new(objects::Call::External, objects::Queue::List, "any", MAX);
    let mut object = objects::scaled_object(scene.namespace, &any);
    object["metadata"]["name"] = name.into();
    object["spec"]["scaleTargetRef"]["name"] = name.into();
    object["spec"]["triggers"] = json!([trigger]);
    let text = objects::deployment(scene.namespace).to_string();
    let deployment = text.replace(&format!("\"{NAME}\""), &format!("\"{name}\""));
    scene.api.apply(&serde_json::from_str(&deployment).unwrap()).await;
    scene.apply(&object).await;
}

/// Waits until all say of a state what the table has, and watches that they still do after some polls.
async fn expect(scene: &Scene, what: &str, table: &[(&str, Says)]) {
    let wanted: Vec<Says> = table.iter().map(|(_, says)| *says).collect();
    let began = Instant::now();
    let mut since = None;
    while since.is_none_or(|since: Instant| since.elapsed() < STAYS) {
        let mut said = Vec::new();
        for (name, _) in table {
            // The one that the timeline shows is ours.
            said.push(says(scene, if *name == OURS { NAME } else { name }).await);
        }
        if said == wanted {
            since.get_or_insert_with(Instant::now);
        } else {
            since = None;
            assert!(began.elapsed() < WITHIN, "{what}: {said:?} and not {table:?}");
        }
        sleep(Duration::from_millis(200)).await;
    }
    let mut line = format!("{what}:");
    for (name, says) in table {
        match says {
            Says::Value(value, active) => {
                let state = if *active { "active" } else { "to zero" };
                write!(line, "  {name} {value} ({state})").unwrap();
            }
            Says::Error => write!(line, "  {name} error").unwrap(),
        }
    }
    scene.note(line);
}

/// What the API server gives the HPA, and whether KEDA holds the workload active.
async fn says(scene: &Scene, name: &str) -> Says {
    let namespace = scene.namespace;
    let path = format!("/apis/keda.sh/v1alpha1/namespaces/{namespace}/scaledobjects/{name}");
    let object = scene.api.get(&path).await.unwrap();
    let metric = object["status"]["externalMetricNames"][0].as_str().unwrap_or_default();
    let active = condition(&object, "Active").is_some_and(|active| active["status"] == "True");
    let of = format!("labelSelector=scaledobject.keda.sh%2Fname%3D{name}");
    let path = format!("/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{metric}?{of}");
    match scene.api.get(&path).await {
        Some(list) => Says::Value(quantity(list["items"][0]["value"].as_str().unwrap()), active),
        None => Says::Error,
    }
}

/// A whole number, as Kubernetes writes it.
fn quantity(text: &str) -> i64 {
    text.parse().unwrap_or_else(|_| panic!("{text} is no whole number"))
}
