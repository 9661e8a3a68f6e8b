//! The scenarios.

mod chart;
mod fallback;
mod jobs;
mod jobs_end_together;
mod mutual_tls;
mod plan_agrees;
mod polls;
mod protocol;
mod redis_dies;
mod rivals;
mod running_tasks;
mod scaler_dies;
mod wrong_trigger;
mod zero_to_max;

use std::net::Ipv4Addr;
use std::pin::Pin;

use crate::objects::Call::{External, ExternalPush};
use crate::objects::Queue::{List, Stream};
use crate::scene::Stage;

/// One scenario.
pub(crate) struct Scenario {
    /// Its name, which is also its Kubernetes namespace.
    pub(crate) name: &'static str,
    /// Its number, which is part of its addresses.
    pub(crate) number: u8,
    /// How many servers of ours it starts.
    servers: u8,
    /// Plays it; panics if it does not go as it should.
    pub(crate) play: Play,
}

type Play = fn(Stage) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// Name, servers and story of every scenario, the longest first.
const ALL: &[(&str, u8, Play)] = &[
    ("redis-dies-at-the-peak", 1, |stage| Box::pin(redis_dies::at_the_peak(stage))),
    ("redis-dies-while-idle", 1, |stage| Box::pin(redis_dies::while_idle(stage))),
    ("scaler-dies", 1, |stage| Box::pin(scaler_dies::and_comes_back(stage))),
    ("scaler-is-rolled", 2, |stage| Box::pin(scaler_dies::rolled(stage))),
    ("polls-external", 1, |stage| Box::pin(polls::are_counted(stage, External))),
    ("polls-push", 1, |stage| Box::pin(polls::are_counted(stage, ExternalPush))),
    ("list-external", 1, |stage| Box::pin(zero_to_max::play(stage, List, External))),
    ("list-push", 1, |stage| Box::pin(zero_to_max::play(stage, List, ExternalPush))),
    ("stream-external", 1, |stage| Box::pin(zero_to_max::play(stage, Stream, External))),
    ("stream-push", 1, |stage| Box::pin(zero_to_max::play(stage, Stream, ExternalPush))),
    ("running-tasks", 1, |stage| Box::pin(running_tasks::outlive_the_cool_down(stage))),
    ("unseen-tasks", 1, |stage| Box::pin(running_tasks::that_nobody_sees(stage))),
    ("plan-behavior", 1, |stage| Box::pin(plan_agrees::with_a_behavior(stage))),
    ("plan-defaults", 1, |stage| Box::pin(plan_agrees::without_a_behavior(stage))),
    ("plan-jobs", 1, |stage| Box::pin(plan_agrees::on_jobs(stage))),
    ("jobs", 1, |stage| Box::pin(jobs::one_for_each_task(stage))),
    ("jobs-of-workers-list", 1, |stage| Box::pin(jobs::of_the_reference_worker(stage, List))),
    ("jobs-of-workers-stream", 1, |stage| Box::pin(jobs::of_the_reference_worker(stage, Stream))),
    ("rivals-list", 1, |stage| Box::pin(rivals::on_a_list(stage))),
    ("rivals-sqs", 1, |stage| Box::pin(rivals::on_sqs(stage))),
    ("rivals-kafka", 1, |stage| Box::pin(rivals::on_kafka(stage))),
    ("rivals-prometheus", 1, |stage| Box::pin(rivals::on_prometheus(stage))),
    ("rivals-stream", 1, |stage| Box::pin(rivals::on_a_stream(stage))),
    ("jobs-end-together-list", 1, |stage| Box::pin(jobs_end_together::on_a_list(stage))),
    ("jobs-end-together-sqs", 1, |stage| Box::pin(jobs_end_together::on_sqs(stage))),
    ("jobs-default", 1, |stage| Box::pin(jobs::by_strategy(stage, "default", 3))),
    ("jobs-accurate", 1, |stage| Box::pin(jobs::by_strategy(stage, "accurate", 8))),
    ("jobs-eager", 1, |stage| Box::pin(jobs::by_strategy(stage, "eager", 8))),
    ("polls-job", 1, |stage| Box::pin(polls::of_a_scaled_job_are_counted(stage))),
    ("polls-wrong", 1, |stage| Box::pin(polls::go_on_while_the_hpa_gets_nothing(stage))),
    ("fallback", 1, |stage| Box::pin(fallback::acts(stage))),
    ("wrong-trigger", 1, |stage| Box::pin(wrong_trigger::is_explained(stage))),
    ("mutual-tls", 1, |stage| Box::pin(mutual_tls::proves_both_sides(stage))),
    ("chart", 0, |stage| Box::pin(chart::is_accepted(stage))),
    ("protocol", 0, |stage| Box::pin(async move { protocol::is_kedas(&stage) })),
];

fn all() -> impl Iterator<Item = Scenario> {
    let numbered = (1_u8..).zip(ALL);
    numbered.map(|(number, &(name, servers, play))| Scenario { name, number, servers, play })
}

/// The scenarios whose names contain one of `words`; all if there are none.
pub(crate) fn chosen(words: impl Iterator<Item = String>) -> Vec<Scenario> {
    // Test runners pass options of their own.
    let words: Vec<String> = words.filter(|word| !word.starts_with('-')).collect();
    let is_chosen = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    all().filter(|scenario| is_chosen(scenario.name)).collect()
}

/// The host names of all servers, with their addresses.
pub(crate) fn hosts() -> Vec<(String, Ipv4Addr)> {
    let of = |scenario: Scenario| {
        let Scenario { name, number, servers, play: _ } = scenario;
        (1..=servers).map(move |nth| (Stage::host(name), Stage::address(number, nth)))
    };
    all().flat_map(of).collect()
}
