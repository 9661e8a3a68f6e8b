//! KEDA as the server sees it: all calls and streams of all triggers over one connection.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use agent_scaler::scaler::proto::external_scaler_client::ExternalScalerClient;
use agent_scaler::scaler::proto::{GetMetricsRequest, IsActiveResponse, ScaledObjectRef};
use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::queues::Kind;
use super::table::Sorted;

/// Calls of the first round that are under way at a time.
const AT_ONCE: usize = 512;

/// Calls that may be due and not made yet; beyond it the bench itself is too slow.
const DUE_AHEAD: usize = 10_000;

/// A client on the one connection.
pub(crate) type Client = ExternalScalerClient<Channel>;

/// The triggers of `count` ScaledObjects, each on a queue of its own.
pub(crate) fn triggers(kind: Kind, count: usize) -> Arc<[ScaledObjectRef]> {
    let trigger = |queue: usize| {
        let ours = [("connection", "main"), ("tasksPerReplica", "4"), ("maxQueueWait", "2m")];
        let scaler_metadata = ours
            .map(|(key, value)| (key, value.to_owned()))
            .into_iter()
            .chain(kind.keys(queue))
            .chain([("scalerAddress", "agent-scaler.keda.svc.cluster.local:9090".to_owned())])
            .map(|(key, value)| (key.to_owned(), value))
            .collect();
        ScaledObjectRef { name: format!("worker-{queue:05}"), namespace: "acme".to_owned(), scaler_metadata }
    };
    (0..count).map(trigger).collect()
}

/// Asks for every trigger until it is answered. Gives the time that it took.
pub(crate) async fn first_round(client: &Client, triggers: &[ScaledObjectRef]) -> Duration {
    let started = Instant::now();
    stream::iter(triggers)
        .for_each_concurrent(AT_ONCE, |trigger| async move {
            while let Err(status) = client.clone().is_active(trigger.clone()).await {
                assert_eq!(status.code(), tonic::Code::Unavailable, "{status}");
            }
        })
        .await;
    started.elapsed()
}

/// What a load saw.
pub(crate) struct Load {
    /// From the moment when a call was due to its answer, so that a server which stalls hides nothing.
    pub(crate) latencies: Sorted,
    /// From the moment when a call was due to the moment when it was made: the bench's own part.
    pub(crate) delays: Sorted,
    /// Calls that ended with an error.
    pub(crate) errors: Vec<Status>,
}

/// Calls `rate` times a second for `time`, whether or not answers come.
pub(crate) async fn load(
    client: &Client,
    triggers: &Arc<[ScaledObjectRef]>,
    rate: u32,
    time: Duration,
) -> Load {
    let gap = Duration::from_secs(1) / rate;
    let (sender, mut due) = mpsc::channel(DUE_AHEAD);
    // A thread of its own, because the timers of the runtime are good to a millisecond only.
    let pace = thread::spawn(move || {
        let started = Instant::now();
        for call in 0..rate * u32::try_from(time.as_secs()).unwrap() {
            let at = started + gap * call;
            thread::sleep(at.saturating_duration_since(Instant::now()));
            sender.blocking_send((call, at)).unwrap();
        }
    });
    let mut calls = JoinSet::new();
    while let Some((number, at)) = due.recv().await {
        let (client, triggers) = (client.clone(), Arc::clone(triggers));
        calls.spawn(async move {
            let delay = at.elapsed();
            let result = call(client, &triggers, number as usize).await;
            (delay, at.elapsed(), result.err())
        });
    }
    pace.join().unwrap();
    let all = calls.join_all().await;
    Load {
        latencies: all.iter().map(|(_, latency, _)| *latency).collect::<Vec<_>>().into(),
        delays: all.iter().map(|(delay, _, _)| *delay).collect::<Vec<_>>().into(),
        errors: all.into_iter().filter_map(|(_, _, error)| error).collect(),
    }
}

/// One of the three calls that KEDA makes for a trigger at each poll, and for each question of the HPA.
async fn call(mut client: Client, triggers: &[ScaledObjectRef], number: usize) -> Result<(), Status> {
    // Far from its neighbours, as polls are.
    let trigger = triggers[number / 3 * 7_919 % triggers.len()].clone();
    match number % 3 {
        0 => client.get_metric_spec(trigger).await.map(drop),
        1 => {
            let (scaled_object_ref, metric_name) = (Some(trigger), "agent-replicas".to_owned());
            client.get_metrics(GetMetricsRequest { scaled_object_ref, metric_name }).await.map(drop)
        }
        _ => client.is_active(trigger).await.map(drop),
    }
}

/// An open `StreamIsActive` for each trigger.
pub(crate) struct Streams {
    told: mpsc::Receiver<(usize, bool, Instant)>,
    /// How long it took until each had told its first state.
    pub(crate) opened_in: Duration,
    _tasks: JoinSet<()>,
}

impl Streams {
    /// Opens them, and takes the first message of each.
    pub(crate) async fn open(client: &Client, triggers: &[ScaledObjectRef]) -> Self {
        let started = Instant::now();
        let (sender, mut told) = mpsc::channel(triggers.len());
        let mut tasks = JoinSet::new();
        for (number, trigger) in triggers.iter().enumerate() {
            let (mut client, trigger, sender) = (client.clone(), trigger.clone(), sender.clone());
            tasks.spawn(async move {
                let messages = client.stream_is_active(trigger).await.unwrap().into_inner();
                listen(number, messages, sender).await;
            });
        }
        for _ in triggers {
            told.recv().await.unwrap();
        }
        Self { told, opened_in: started.elapsed(), _tasks: tasks }
    }

    /// When the stream of trigger `number` says that there is work.
    pub(crate) async fn active(&mut self, number: usize) -> Instant {
        loop {
            if let (told, true, at) = self.told.recv().await.unwrap()
                && told == number
            {
                return at;
            }
        }
    }
}

async fn listen(
    number: usize,
    mut messages: Streaming<IsActiveResponse>,
    sender: mpsc::Sender<(usize, bool, Instant)>,
) {
    while let Ok(Some(message)) = messages.message().await {
        if sender.send((number, message.result, Instant::now())).await.is_err() {
            return;
        }
    }
}
