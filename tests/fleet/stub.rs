//! The stand-in for the provider, and what it counts: the truth of every scenario.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::process::{Process, example};

/// A running `llm-stub`.
pub(crate) struct Stub {
    /// Where it is.
    pub(crate) url: String,
    client: reqwest::Client,
    _process: Process,
}

/// What it counted of its one account.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Counts {
    pub(crate) admitted: u64,
    pub(crate) refused: u64,
    pub(crate) failed: u64,
    pub(crate) input_tokens: u64,
    pub(crate) output_tokens: u64,
    pub(crate) abandoned: u64,
    pub(crate) reasons: BTreeMap<String, u64>,
    pub(crate) minutes: BTreeMap<u64, Tally>,
    pub(crate) agents: BTreeMap<String, Tally>,
}

/// What it counted of some requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Tally {
    pub(crate) admitted: u64,
    pub(crate) refused: u64,
    pub(crate) failed: u64,
    pub(crate) input_tokens: u64,
    pub(crate) output_tokens: u64,
}

impl Stub {
    /// Starts one with a minute of this length and further flags.
    pub(crate) async fn start(folder: &Path, minute: Duration, flags: &[&str]) -> Self {
        let mut command = Command::new(example("llm-stub"));
        command.args(["--listen", "127.0.0.1:0", "--minute", &format!("{}ms", minute.as_millis())]);
        command.args(flags);
        let mut process = Process::start(&mut command, &folder.join("llm-stub.log"));
        let url = process.printed("listening on ").await;
        Self { url, client: reqwest::Client::new(), _process: process }
    }

    /// Gives it a command.
    pub(crate) async fn control(&self, command: Value) {
        let answer =
            self.client.post(format!("{}/control", self.url)).body(command.to_string()).send().await.unwrap();
        let status = answer.status();
        assert!(status.is_success(), "{command}: {status} {}", answer.text().await.unwrap());
    }

    /// What it has counted.
    pub(crate) async fn counts(&self) -> Counts {
        #[derive(Deserialize)]
        struct Page {
            accounts: BTreeMap<String, Counts>,
        }
        let answer = self.client.get(format!("{}/counts", self.url)).send().await.unwrap();
        let Page { accounts } = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert!(accounts.len() <= 1, "all workers of a scenario have one key");
        accounts.into_values().next().unwrap_or_default()
    }
}

impl Counts {
    /// Requests of these minutes: admitted and refused.
    pub(crate) fn within(&self, minutes: std::ops::Range<u64>) -> (u64, u64) {
        let of = |part: fn(&Tally) -> u64| self.minutes.range(minutes.clone()).map(|(_, t)| part(t)).sum();
        (of(|tally| tally.admitted), of(|tally| tally.refused))
    }

    /// Requests admitted to workers whose names begin with `prefix`.
    pub(crate) fn admitted_to(&self, prefix: &str) -> u64 {
        self.agents.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, t)| t.admitted).sum()
    }
}

/// Refusals as a part of all requests; zero if there were none.
pub(crate) fn part_refused((admitted, refused): (u64, u64)) -> f64 {
    refused as f64 / (admitted + refused).max(1) as f64
}
