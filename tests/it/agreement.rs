//! Several servers of ours decide each alone, and must agree.

use std::collections::VecDeque;
use std::time::Duration;

use agent_scaler::engine::signals::{Quality, Signal};
use agent_scaler::scaler::proto::ScaledObjectRef;
use redis::streams::StreamReadReply;

use crate::support::harness::{Harness, eventually, trigger};
use crate::support::servers::Redis;

/// Time passes in such steps, for the workers and for the servers alike.
const STEP: Duration = Duration::from_millis(10);

/// Tasks that run at a time, tasks that always wait, and steps that a task takes.
const SLOTS: usize = 24;
const BACKLOG: usize = 60;
const TASK: u32 = 90;

/// A promise of 2 s and tasks of 0.9 s make of 60 waiting tasks 27 slots as soon as that time is measured, and
/// 60 before: all is 1/45 of a real load, and so is the time that this takes.
#[tokio::test]
async fn a_fresh_server_is_never_below_an_old_one_and_agrees_with_it_once_it_has_measured() {
    let redis = Redis::plain();
    let mut plant = Plant::start(&redis);
    let file = format!("connections: {{ main: {{ type: redis, url: \"{}\" }} }}\n", redis.url());
    let old = Harness::with(&file).await;
    eventually("the old one's first value", async || old.value(&plant.trigger).await.ok()).await;
    while measured(&old, &plant.trigger).is_none() {
        plant.step(&[&old]).await;
    }
    for _ in 0..200 {
        plant.step(&[&old]).await;
    }
    let fresh = Harness::with(&file).await;
    // Clocks of two machines agree.
    fresh.clock.advance(STEP * plant.steps);
    eventually("the fresh one's first value", async || fresh.value(&plant.trigger).await.ok()).await;

    let (mut before, mut after) = (0, 0);
    while after < 300 {
        plant.step(&[&old, &fresh]).await;
        let (ours, theirs) = (plant.replicas(&fresh), plant.replicas(&old));
        let measured = measured(&fresh, &plant.trigger).is_some();
        if measured {
            after += 1;
            assert!((ours - theirs).abs() <= (theirs * 0.05).max(1.0), "step {after}: {ours}, {theirs}");
        } else {
            before += 1;
            assert!(ours >= theirs, "before it has measured: {ours}, {theirs}");
            assert!(ours - theirs >= 20.0, "the two must differ, or nothing is shown: {ours}, {theirs}");
        }
    }
    assert!(before > 20, "{before} steps with nothing measured");
    let [old, fresh] = [&old, &fresh].map(|server| measured(server, &plant.trigger).unwrap());
    let task = (STEP * TASK).as_secs_f64();
    for seconds in [old, fresh] {
        assert!((seconds / task - 1.0).abs() <= 0.1, "measured {old} and {fresh}, and tasks take {task}");
    }
}

/// The service time that a server has measured.
fn measured(server: &Harness, trigger: &ScaledObjectRef) -> Option<f64> {
    match server.report(trigger)?.signals.service {
        Signal::Seen { value, quality: Quality::Measured, .. } => Some(value.as_secs_f64()),
        Signal::Seen { .. } | Signal::Missing(_) => None,
    }
}

/// Workers on a stream that is always as long: whenever a task ends, another is added and another taken.
struct Plant {
    connection: redis::Connection,
    trigger: ScaledObjectRef,
    running: VecDeque<(u32, String)>,
    steps: u32,
}

impl Plant {
    fn start(redis: &Redis) -> Self {
        let keys = [
            ("source", "redis-streams"),
            ("connection", "main"),
            ("stream", "tasks"),
            ("consumerGroup", "workers"),
            ("maxQueueWait", "2s"),
            ("podStartupTime", "0"),
        ];
        let trigger = trigger("support", &keys);
        let mut plant = Self { connection: redis.connection(), trigger, running: VecDeque::new(), steps: 0 };
        redis.command(&["XGROUP", "CREATE", "tasks", "workers", "0", "MKSTREAM"]);
        plant.add(SLOTS + BACKLOG);
        for (slot, id) in (0_u32..).zip(plant.take(SLOTS)) {
            // As if they had begun one after the other.
            let ends = (slot + 1) * TASK / u32::try_from(SLOTS).unwrap();
            plant.running.push_back((ends, id));
        }
        plant
    }

    /// Lets a step pass. Nothing is read between what the workers do and the clocks.
    async fn step(&mut self, servers: &[&Harness]) {
        self.steps += 1;
        assert!(self.steps < 3_000, "half a minute, and nothing is measured");
        while let Some((_, id)) = self.running.pop_front_if(|(ends, _)| *ends <= self.steps) {
            redis::cmd("XACK").arg(&["tasks", "workers", &id]).exec(&mut self.connection).unwrap();
            self.add(1);
            let ends = self.steps + TASK;
            let taken = self.take(1);
            self.running.extend(taken.into_iter().map(|id| (ends, id)));
        }
        for server in servers {
            server.clock.advance(STEP);
        }
        tokio::time::sleep(STEP).await;
    }

    /// The number of replicas that a server answers. Nothing is awaited, so that it is that of the moment.
    fn replicas(&self, server: &Harness) -> f64 {
        f64::from(server.report(&self.trigger).unwrap().decision.size().unwrap().replicas)
    }

    fn add(&mut self, count: usize) {
        for _ in 0..count {
            redis::cmd("XADD").arg(&["tasks", "*", "task", "x"]).exec(&mut self.connection).unwrap();
        }
    }

    fn take(&mut self, count: usize) -> Vec<String> {
        let count = count.to_string();
        let words = ["GROUP", "workers", "one", "COUNT", &count, "STREAMS", "tasks", ">"];
        let reply: StreamReadReply =
            redis::cmd("XREADGROUP").arg(&words).query(&mut self.connection).unwrap();
        reply.keys.into_iter().flat_map(|key| key.ids).map(|entry| entry.id).collect()
    }
}
