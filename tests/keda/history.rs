//! What the real HPA did at each of its syncs, and KEDA between them: read from their logs, which miss nothing.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::PathBuf;

use agent_scaler::engine::hpa::Milli;
use agent_scaler::timestamp::Timestamp;

use crate::cluster::Cluster;
use crate::objects::NAME;

/// One sync of an HPA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sync {
    /// When it ended, by the time of day.
    pub(crate) at: Timestamp,
    /// Replicas before it.
    pub(crate) current: u32,
    /// The value that KEDA gave it; `None` at zero, where the HPA asks for none.
    pub(crate) value: Option<Milli>,
    /// Replicas after it.
    pub(crate) next: u32,
}

/// All that one ScaledObject went through.
#[derive(Debug)]
pub(crate) struct History {
    namespace: &'static str,
    /// The syncs, in order.
    pub(crate) syncs: Vec<Sync>,
    /// Replica counts with their times: what the HPA or KEDA set.
    counts: Vec<(Timestamp, u32)>,
    values: Vec<(Timestamp, Milli)>,
    controllers: Tail,
    operator: Tail,
    /// Whether the sync that is being read has asked for a value.
    asked: bool,
}

impl History {
    /// The history of the one scaled object of `namespace`, from now on.
    pub(crate) fn of(cluster: &Cluster, namespace: &'static str) -> Self {
        let tail = |program| Tail { path: cluster.log(program), read: 0, rest: String::new() };
        let (controllers, operator) = (tail("kube-controller-manager"), tail("keda-operator"));
        let (syncs, counts, values) = (Vec::new(), Vec::new(), Vec::new());
        Self { namespace, syncs, counts, values, controllers, operator, asked: false }
    }

    /// Takes in what has happened since it was last read.
    pub(crate) fn read(&mut self) {
        // In this order: a sync's value is there before its end is.
        let controllers = self.controllers.lines(self.namespace);
        for line in self.operator.lines(self.namespace) {
            self.add_kedas(&line);
        }
        for line in controllers {
            self.add_hpas(&line);
        }
        self.counts.sort_unstable_by_key(|(at, _)| *at);
    }

    /// The replica counts so far, in order, each once.
    pub(crate) fn counts(&self) -> Vec<u32> {
        let mut counts: Vec<u32> = self.counts.iter().map(|(_, replicas)| *replicas).collect();
        counts.dedup();
        counts
    }

    /// How often the HPA was given a value so far.
    pub(crate) fn given(&self) -> u64 {
        self.values.len() as u64
    }

    fn add_kedas(&mut self, line: &str) {
        let (namespaced, Some(at)) = (self.names_it(line), time_of_day(line)) else { return };
        if let Some(replicas) = after(line, "\"New Replicas Count\":").filter(|_| namespaced) {
            self.counts.push((at, number(replicas)));
        } else if line.contains("Providing metrics") {
            let value = after(line, "string:").unwrap_or_else(|| panic!("no value: {line}"));
            self.values.push((at, quantity(value)));
        }
    }

    fn names_it(&self, line: &str) -> bool {
        line.contains(&format!("\"{}\"", self.namespace))
    }

    fn add_hpas(&mut self, line: &str) {
        let hpa = format!("HPA=\"{}/keda-hpa-{NAME}\"", self.namespace);
        let target = format!("scaleTarget=\"Deployment/{}/{NAME}\"", self.namespace);
        let Some(at) = time_of_day(line) else { return };
        let count = |key: &str| after(line, key).map(number);
        let (current, next) = if line.contains(&hpa) && line.contains("\"Successfully rescaled\"") {
            (count("currentReplicas="), count("desiredReplicas="))
        } else if line.contains(&target) && line.contains("\"Decided not to scale\"") {
            (count("desiredReplicas="), count("desiredReplicas="))
        } else {
            self.asked |= line.contains(&target) && line.contains("\"Proposing desired replicas\"");
            return;
        };
        let (current, next) = current.zip(next).unwrap_or_else(|| panic!("no counts: {line}"));
        let value = self.values.iter().rev().find(|(given, _)| *given <= at).map(|(_, value)| *value);
        let value = value.filter(|_| std::mem::take(&mut self.asked));
        self.syncs.push(Sync { at, current, value, next });
        if current != next {
            self.counts.push((at, next));
        }
    }
}

/// A log that grows.
#[derive(Debug)]
struct Tail {
    path: PathBuf,
    read: u64,
    /// The begin of a line whose end is not there yet.
    rest: String,
}

impl Tail {
    /// The new lines that name `word`.
    fn lines(&mut self, word: &str) -> Vec<String> {
        let mut file = File::open(&self.path).unwrap();
        file.seek(SeekFrom::Start(self.read)).unwrap();
        let mut bytes = Vec::new();
        self.read += file.read_to_end(&mut bytes).unwrap() as u64;
        self.rest.push_str(&String::from_utf8_lossy(&bytes));
        let Some(end) = self.rest.rfind('\n') else { return Vec::new() };
        let rest = self.rest.split_off(end + 1);
        let whole = std::mem::replace(&mut self.rest, rest);
        whole.lines().filter(|line| line.contains(word)).map(str::to_owned).collect()
    }
}

/// What follows `key` in a line.
fn after<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.split_once(key).map(|(_, rest)| rest.trim_start())
}

/// The whole number that a text begins with.
fn number(text: &str) -> u32 {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    text[..digits].parse().unwrap_or_else(|_| panic!("no number: {text}"))
}

/// The quantity that a text begins with: a whole number, or thousandths.
fn quantity(text: &str) -> Milli {
    let text = text.trim_start_matches(['\\', '"']);
    let unit = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
    if unit.starts_with('m') {
        Milli::from_thousandths(number(text).into())
    } else {
        Milli::whole(number(text))
    }
}

/// The time of day in a line, the first text of the form `10:35:14.123`.
fn time_of_day(line: &str) -> Option<Timestamp> {
    let colon = line.match_indices(':').map(|(at, _)| at).find(|at| {
        let around = line.get(at.saturating_sub(2)..at + 10).unwrap_or_default().as_bytes();
        around.len() == 12 && around[5] == b':' && around[8] == b'.'
    })?;
    let text = &line[colon - 2..colon + 10];
    let part = |range: Range<usize>| text.get(range)?.parse::<u64>().ok();
    let seconds = part(0..2)? * 3_600 + part(3..5)? * 60 + part(6..8)?;
    // Zeros at the end of a fraction may have been left out, so that something else stands there.
    let digit = |at: usize| text.as_bytes().get(at).filter(|digit| digit.is_ascii_digit());
    let thousandths =
        (9..12).fold(0, |sum, at| sum * 10 + digit(at).map_or(0, |digit| u64::from(digit - b'0')));
    Some(Timestamp::from_millis(seconds * 1_000 + thousandths))
}
