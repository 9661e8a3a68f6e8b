//! What every scenario is played on: a namespace, a Redis, servers of ours, workers, and somebody who watches.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::api::{Api, path_of};
use crate::cluster::{Cluster, condition, is_true};
use crate::objects::{self, NAME, Queue, Trigger};
use crate::servers::{Redis, Says, Scaler};
use crate::timeline::{Sample, Timeline};
use crate::workers::{Lifetime, Place, Workers};

/// How often the scene is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(400);

/// Longest time in which KEDA takes a new object: gRPC's back-off may lie in it.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);

/// What the HPA is said to want while it gets no value.
pub(crate) const NO_METRIC: &str = "no metric";

/// What a scenario is given.
pub(crate) struct Stage {
    /// Its name, which is also its Kubernetes namespace.
    pub(crate) name: &'static str,
    /// Its number, which is part of its addresses.
    pub(crate) number: u8,
    /// The cluster that it shares with the others.
    pub(crate) cluster: Arc<Cluster>,
    /// Where it tells what happens.
    pub(crate) timeline: Timeline,
}

impl Stage {
    /// Address of the `nth` server of the scenario `number`.
    pub(crate) const fn address(number: u8, nth: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, 1, number, nth)
    }

    /// Name under which KEDA finds the servers of the scenario `name`.
    pub(crate) fn host(name: &str) -> String {
        format!("agent-scaler.{name}.svc.cluster.local")
    }

    /// A folder of its own.
    pub(crate) fn folder(&self) -> PathBuf {
        self.cluster.folder(self.name)
    }
}

/// A stage with everything on it.
pub(crate) struct Scene {
    /// The namespace.
    pub(crate) namespace: &'static str,
    /// The host name for `scalerAddress`.
    pub(crate) host: String,
    /// The Kubernetes API.
    pub(crate) api: Api,
    /// Holds the tasks.
    pub(crate) redis: Redis,
    /// Our servers.
    pub(crate) scalers: Vec<Scaler>,
    /// What would run in the pods.
    pub(crate) workers: Workers,
    timeline: Timeline,
    samples: watch::Receiver<Sample>,
    observer: JoinHandle<()>,
    /// The cluster that it shares with the others.
    pub(crate) cluster: Arc<Cluster>,
}

/// What differs between scenes.
pub(crate) struct Setting {
    /// Where the tasks are.
    pub(crate) queue: Queue,
    /// What works on them.
    pub(crate) lifetime: Lifetime,
    /// How many servers of ours there are: one or two.
    pub(crate) scalers: u8,
    /// The `tick` of their files.
    pub(crate) tick: &'static str,
    /// The `tls` section of their files.
    pub(crate) tls: Option<String>,
    /// Further lines of the `connections` in their files.
    pub(crate) connections: String,
}

impl Setting {
    /// One server and a Deployment on `queue`.
    pub(crate) const fn on(queue: Queue) -> Self {
        Self {
            queue,
            lifetime: Lifetime::Endless,
            scalers: 1,
            tick: "500ms",
            tls: None,
            connections: String::new(),
        }
    }
}

impl Scene {
    /// Sets a scene: everything runs, and nothing is scaled yet.
    pub(crate) async fn set(stage: Stage, setting: Setting) -> Self {
        let mut scene = Self::set_without_redis(stage, setting).await;
        scene.redis.start().await;
        scene
    }

    /// Sets a scene whose Redis does not run yet.
    pub(crate) async fn set_without_redis(stage: Stage, setting: Setting) -> Self {
        let folder = stage.folder();
        let Stage { name: namespace, number, cluster, timeline } = stage;
        let api = cluster.api.clone();
        let redis = Redis::new(Stage::address(number, 1), folder.clone());
        api.apply(&objects::namespace(namespace)).await;
        let mut started = Vec::new();
        for nth in 1..=setting.scalers {
            let mut scaler = Scaler::new(Stage::address(number, nth), &folder, &redis, &setting);
            scaler.start().await;
            started.push(scaler);
        }
        let place = Place {
            pods: Arc::clone(&cluster.pods),
            namespace,
            folder,
            address: Stage::address(number, 1),
            url: redis.url(),
        };
        let workers = Workers::start(place, setting.queue, setting.lifetime);
        let (sender, mut samples) = watch::channel(Sample::default());
        let observer = Observer {
            namespace,
            cluster: Arc::clone(&cluster),
            asked: started.iter().map(Scaler::asked).collect(),
            books: workers.books(),
            timeline: timeline.clone(),
            samples: sender,
        };
        let observer = tokio::spawn(observer.watch());
        // Before the first look nothing has been seen, which is not the same as nothing being there.
        samples.changed().await.unwrap();
        Self {
            namespace,
            host: Stage::host(namespace),
            api,
            redis,
            scalers: started,
            workers,
            timeline,
            samples,
            observer,
            cluster,
        }
    }

    /// Adds what the scenario does to its timeline.
    pub(crate) fn note(&self, text: impl Into<String>) {
        self.timeline.note(text);
    }

    /// Puts tasks into the queue that take `seconds` each.
    pub(crate) async fn put(&self, count: u64, seconds: u64) {
        self.note(format!("{count} tasks of {seconds} s are put in"));
        self.workers.put(count, Duration::from_secs(seconds)).await;
    }

    /// Waits until `seen` is so.
    ///
    /// # Panics
    /// When it is not within `seconds`.
    pub(crate) async fn until(&mut self, what: &str, seconds: u64, seen: impl Fn(&Sample) -> bool) {
        let since = Instant::now();
        let wait = self.samples.wait_for(|sample| seen(sample));
        let waited = timeout(Duration::from_secs(seconds), wait).await.is_ok();
        assert!(waited, "not within {seconds} s: {what}");
        self.note(format!("{what} (after {:.1} s)", since.elapsed().as_secs_f64()));
    }

    /// Watches that `seen` stays so for a while.
    ///
    /// # Panics
    /// When it does not.
    pub(crate) async fn holds(&mut self, what: &str, seconds: u64, seen: impl Fn(&Sample) -> bool) {
        let wait = self.samples.wait_for(|sample| !seen(sample));
        let broken = timeout(Duration::from_secs(seconds), wait).await.is_ok();
        assert!(!broken, "did not stay so for {seconds} s: {what}");
        self.note(format!("{what}, for {seconds} s"));
    }

    /// What is seen at present.
    pub(crate) fn sample(&self) -> Sample {
        self.samples.borrow().clone()
    }

    /// Every task was done exactly once and none was interrupted.
    pub(crate) fn nothing_was_lost(&self) {
        let counts = self.workers.ledger().counts();
        assert!(counts.is_clean(), "tasks were lost, repeated or interrupted: {counts:?}");
    }

    /// Creates the Deployment and the ScaledObject that scales it, and waits until KEDA has taken it.
    pub(crate) async fn scale(&mut self, trigger: &Trigger) {
        self.api.apply(&objects::deployment(self.namespace)).await;
        self.apply(&objects::scaled_object(self.namespace, trigger)).await;
    }

    /// Creates or changes a scaled object, and waits until KEDA has taken it.
    pub(crate) async fn apply(&mut self, object: &Value) {
        self.api.apply(object).await;
        let path = path_of(object);
        let since = Instant::now();
        while !self.api.get(&path).await.is_some_and(|object| is_true(&object, "Ready")) {
            assert!(since.elapsed() < TAKEN_WITHIN, "KEDA does not take {path}");
            sleep(Duration::from_millis(100)).await;
        }
        self.note(format!("KEDA has taken it (after {:.1} s)", since.elapsed().as_secs_f64()));
    }

    /// Reasons and texts of all events of objects of a kind in this namespace.
    pub(crate) async fn events(&self, kind: &str) -> Vec<String> {
        let path = format!("/apis/events.k8s.io/v1/namespaces/{}/events", self.namespace);
        let list = self.api.get(&path).await.unwrap_or_default();
        let events = list["items"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        events
            .iter()
            .filter(|event| event["regarding"]["kind"] == kind)
            .map(|event| format!("{}: {}", text(&event["reason"]), text(&event["note"])))
            .collect()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.observer.abort();
    }
}

/// Looks at a scene and tells what changes.
struct Observer {
    namespace: &'static str,
    cluster: Arc<Cluster>,
    asked: Vec<Says>,
    books: Arc<std::sync::Mutex<crate::ledger::Ledger>>,
    timeline: Timeline,
    samples: watch::Sender<Sample>,
}

impl Observer {
    async fn watch(self) {
        let mut blind = 0;
        loop {
            let mut sample = self.look().await;
            blind += u64::from(sample.hpa == NO_METRIC);
            sample.blind = blind;
            let news = self.samples.send_if_modified(|last| {
                let changed = *last != sample;
                last.clone_from(&sample);
                changed
            });
            if news {
                self.timeline.saw(&sample);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn look(&self) -> Sample {
        let Self { namespace, cluster, asked, books, .. } = self;
        let mut said = Vec::new();
        for scaler in asked {
            said.push(scaler.about(namespace).await);
        }
        said.dedup();
        let api = &cluster.api;
        let deployment = api.get(&format!("/apis/apps/v1/namespaces/{namespace}/deployments/{NAME}")).await;
        let hpa =
            format!("/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers/keda-hpa-{NAME}");
        let hpa = api.get(&hpa).await.map(|hpa| wish(&hpa)).unwrap_or_default();
        let jobs = api.get(&format!("/apis/batch/v1/namespaces/{namespace}/jobs")).await.unwrap_or_default();
        let jobs = jobs["items"].as_array().cloned().unwrap_or_default();
        let unfinished =
            jobs.iter().filter(|job| !is_true(job, "Complete") && !is_true(job, "Failed")).count() as u64;
        let number = |pointer| deployment.as_ref().and_then(|it| it.pointer(pointer)).and_then(Value::as_u64);
        let pods = cluster.pods.of(namespace);
        Sample {
            said: said.join(" | "),
            hpa,
            replicas: number("/spec/replicas").unwrap_or(unfinished),
            generation: number("/metadata/generation").unwrap_or(0),
            blind: 0,
            jobs: jobs.len() as u64,
            ready: pods.values().filter(|phase| **phase == crate::kubelet::Phase::Ready).count(),
            tasks: books.lock().unwrap_or_else(PoisonError::into_inner).counts(),
        }
    }
}

/// What an HPA wants, or why it does nothing.
fn wish(hpa: &Value) -> String {
    let active = condition(hpa, "ScalingActive");
    match active.and_then(|active| active["reason"].as_str()) {
        Some("ValidMetricFound") => hpa["status"]["desiredReplicas"].to_string(),
        Some("ScalingDisabled") => "off at 0".to_owned(),
        Some("FailedGetExternalMetric") => NO_METRIC.to_owned(),
        Some(other) => other.to_owned(),
        None => "not yet".to_owned(),
    }
}
