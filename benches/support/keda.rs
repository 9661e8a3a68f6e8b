//! KEDA as the server sees it: all calls and streams of all triggers over one connection.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use agent_scaler::scaler::proto::external_scaler_client::ExternalScalerClient;
use agent_scaler::scaler::proto::{GetMetricsRequest, ScaledObjectRef};
use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::Status;
use tonic::transport::Channel;

use super::queues::Kind;
use super::table::Sorted;

/// Calls of the first round, and streams not open yet, that are under way at a time.
const AT_ONCE: usize = 512;

/// A server that has just started may refuse calls for so long.
const EARLY: Duration = Duration::from_millis(500);

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

/// How the first call for each trigger went.
pub(crate) struct FirstRound {
    /// From the start to the first answer.
    pub(crate) first: Duration,
    /// From the start until all were answered.
    pub(crate) all: Duration,
    /// Calls that were refused in the first 500 ms.
    pub(crate) early_errors: usize,
    /// Calls that were refused later.
    pub(crate) late_errors: usize,
}

/// Asks for every trigger until it is answered; `start` is when the server was started.
pub(crate) async fn first_round(client: &Client, triggers: &[ScaledObjectRef], start: Instant) -> FirstRound {
    let ask = |trigger: ScaledObjectRef| async move {
        let mut refused = Vec::new();
        loop {
            let request = metrics_request(trigger.clone());
            match client.clone().get_metrics(request).await {
                Ok(_) => return (refused, start.elapsed()),
                Err(status) => {
                    assert_eq!(status.code(), tonic::Code::Unavailable, "{status}");
                    refused.push(start.elapsed());
                }
            }
        }
    };
    let answers: Vec<(Vec<Duration>, Duration)> =
        stream::iter(triggers.iter().cloned()).map(ask).buffer_unordered(AT_ONCE).collect().await;
    let refused = || answers.iter().flat_map(|(refused, _)| refused);
    let answered = || answers.iter().map(|(_, answered)| *answered);
    FirstRound {
        first: answered().min().unwrap_or_default(),
        all: answered().max().unwrap_or_default(),
        early_errors: refused().filter(|at| **at <= EARLY).count(),
        late_errors: refused().filter(|at| **at > EARLY).count(),
    }
}

fn metrics_request(trigger: ScaledObjectRef) -> GetMetricsRequest {
    GetMetricsRequest { scaled_object_ref: Some(trigger), metric_name: "agent-replicas".to_owned() }
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

async fn call(mut client: Client, triggers: &[ScaledObjectRef], number: usize) -> Result<(), Status> {
    // Far from its neighbours, as polls are.
    let trigger = triggers[number * 7_919 % triggers.len()].clone();
    client.get_metrics(metrics_request(trigger)).await.map(drop)
}

/// An open `StreamIsActive` for each trigger.
pub(crate) struct Streams {
    told: mpsc::Receiver<Told>,
    /// How long it took until each had told its first state.
    pub(crate) opened_in: Duration,
    /// Why streams ended instead.
    pub(crate) errors: Vec<Status>,
    _tasks: JoinSet<()>,
}

/// What a stream says: its trigger and whether there is work, or why it ended.
struct Told {
    trigger: usize,
    state: Result<bool, Status>,
    at: Instant,
}

impl Streams {
    /// Opens them, and takes the first message of each.
    pub(crate) async fn open(client: &Client, triggers: &[ScaledObjectRef]) -> Self {
        let started = Instant::now();
        let (sender, mut told) = mpsc::channel::<Told>(triggers.len());
        let mut tasks = JoinSet::new();
        let mut errors = Vec::new();
        for (number, trigger) in triggers.iter().enumerate() {
            if AT_ONCE <= number {
                errors.extend(told.recv().await.unwrap().state.err());
            }
            tasks.spawn(listen(number, client.clone(), trigger.clone(), sender.clone()));
        }
        for _ in 0..AT_ONCE.min(triggers.len()) {
            errors.extend(told.recv().await.unwrap().state.err());
        }
        Self { told, opened_in: started.elapsed(), errors, _tasks: tasks }
    }

    /// When the stream of trigger `number` says that there is work.
    pub(crate) async fn active(&mut self, number: usize) -> Instant {
        loop {
            let told = self.told.recv().await.unwrap();
            match told.state {
                Ok(true) if told.trigger == number => return told.at,
                Ok(_) => {}
                Err(status) => self.errors.push(status),
            }
        }
    }
}

/// Passes on what one stream says.
async fn listen(trigger: usize, mut client: Client, object: ScaledObjectRef, told: mpsc::Sender<Told>) {
    let tell = async |state| told.send(Told { trigger, state, at: Instant::now() }).await.is_ok();
    let mut messages = match client.stream_is_active(object).await {
        Ok(response) => response.into_inner(),
        Err(status) => {
            tell(Err(status)).await;
            return;
        }
    };
    loop {
        let state = match messages.message().await {
            Ok(Some(message)) => Ok(message.result),
            Ok(None) => Err(Status::ok("the stream has ended")),
            Err(status) => Err(status),
        };
        let ended = state.is_err();
        if !tell(state).await || ended {
            return;
        }
    }
}
