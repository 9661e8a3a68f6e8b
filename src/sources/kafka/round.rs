//! The questions of one read, each once for all queues.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::client::KafkaClient;
use super::fault::Fault;
use super::lag::{self, Offsets};
use super::queue::{Isolation, Queue, Topics};
use super::wire::{Answers, End, InOrder, OfGroups, Place, Question, by_topic};
use crate::engine::signals::Cause;

/// What is to be read of one queue.
struct Target<'a> {
    queue: &'a Queue,
    places: Vec<Place>,
}

/// The offsets of one queue's partitions that were read.
pub(super) struct Partitions {
    pub(super) offsets: Vec<(Place, Offsets)>,
    /// Figures that could not be read.
    pub(super) unknown: Vec<Cause>,
}

/// What every group has committed.
type Committed = HashMap<Arc<str>, Result<Answers<Option<u64>>, Fault>>;

/// The ends of all partitions, for each way of seeing them that was asked for.
type Ends = HashMap<Isolation, Result<Answers<u64>, Fault>>;

impl KafkaClient {
    /// What each of `queues` has committed and could have.
    ///
    /// Commits are read before ends: what a worker finishes in between counts as waiting, and never as less.
    pub(super) async fn offsets(
        &mut self,
        queues: &[&Queue],
        until: Instant,
    ) -> Vec<Result<Partitions, Fault>> {
        let is_fresh = match self.refresh_topics(queues, until).await {
            Ok(is_fresh) => is_fresh,
            Err(fault) => return queues.iter().map(|_| Err(fault.clone())).collect(),
        };
        let mut targets: Vec<Result<Target<'_>, Fault>> =
            queues.iter().map(|queue| self.target(queue, is_fresh)).collect();
        let committed = self.committed(&targets, until).await;
        for target in &mut targets {
            let narrowed = match target {
                Ok(target) if target.queue.topics == Topics::Committed => self.narrow(target, &committed),
                Ok(_) | Err(_) => Ok(()),
            };
            if let Err(fault) = narrowed {
                *target = Err(fault);
            }
        }
        let mut ends = Ends::new();
        for isolation in [Isolation::Uncommitted, Isolation::Committed] {
            let of_it = targets.iter().flatten().filter(|target| target.queue.isolation == isolation);
            let places: BTreeSet<&Place> = of_it.flat_map(|target| &target.places).collect();
            let places = places.into_iter().cloned().collect();
            ends.insert(isolation, self.ends(isolation, places, End::End, until).await);
        }
        let due = self.due_starts(&targets, &committed, &ends);
        let starts = self.ends(Isolation::Uncommitted, due.clone(), End::Start, until).await;
        if let Ok(starts) = &starts {
            self.starts.learn(&due, starts, Instant::now());
        }
        targets.into_iter().map(|target| self.complete(&target?, &committed, &ends)).collect()
    }

    /// Learns which topics there are. Says whether all of them were asked for.
    async fn refresh_topics(&mut self, queues: &[&Queue], until: Instant) -> Result<bool, Fault> {
        let mut named = BTreeSet::new();
        let mut all = false;
        for queue in queues {
            match &queue.topics {
                Topics::Named(names) => named.extend(names.iter().cloned()),
                Topics::Committed => all = true,
            }
        }
        self.topics.refresh(&mut self.process, &named, all, until).await
    }

    /// The partitions of a queue. Of one that names no topic, at first and after all topics were read anew, those of
    /// the whole cluster; and between that those that its group has committed to.
    fn target<'a>(&self, queue: &'a Queue, is_fresh: bool) -> Result<Target<'a>, Fault> {
        let mut places = Vec::new();
        match &queue.topics {
            Topics::Named(names) => {
                for name in names {
                    self.add_places(queue, name, &mut places)?;
                }
            }
            Topics::Committed => {
                let known = self.committed_to.get(&queue.group).filter(|_| !is_fresh);
                for name in self.topics.all().keys() {
                    if known.is_none_or(|known| known.contains(name)) {
                        self.add_places(queue, name, &mut places)?;
                    }
                }
            }
        }
        if places.is_empty() {
            return Err(Fault::Unexpected(match &queue.topics {
                Topics::Named(names) => {
                    format!(
                        "topic `{}` has none of the partitions that `partitionLimitation` names",
                        names.join(",")
                    )
                }
                Topics::Committed => nothing_committed(&queue.group),
            }));
        }
        Ok(Target { queue, places })
    }

    fn add_places(&self, queue: &Queue, name: &Arc<str>, places: &mut Vec<Place>) -> Result<(), Fault> {
        let partitions = self.topics.partitions(name)?;
        for partition in partitions.iter().filter(|partition| queue.counts(partition.number)) {
            if !partition.has_leader && matches!(queue.topics, Topics::Named(_)) {
                return Err(leaderless(name, partition.number));
            }
            places.push((Arc::clone(name), partition.number));
        }
        Ok(())
    }

    /// What all groups have committed, each asked at the same time.
    async fn committed(&mut self, targets: &[Result<Target<'_>, Fault>], until: Instant) -> Committed {
        let mut wanted: BTreeMap<&Arc<str>, BTreeSet<&Place>> = BTreeMap::new();
        for target in targets.iter().flatten() {
            wanted.entry(&target.queue.group).or_default().extend(&target.places);
        }
        let mut committed = Committed::new();
        let mut asked = Vec::new();
        for (group, places) in wanted {
            match self.groups.admit(group) {
                Ok(()) => asked.push((group, places)),
                Err(fault) => drop(committed.insert(Arc::clone(group), Err(fault))),
            }
        }
        let groups =
            asked.iter().map(|(group, places)| (group.to_string(), by_topic(places.iter().copied())));
        let (groups, closed) = (groups.collect(), self.groups.take_closed());
        let question = Question::Committed { groups, closed, within: left(until) };
        let answers: Result<OfGroups, Fault> = self.process.ask(&question, until).await;
        let answers = answers.unwrap_or_else(|fault| vec![Err(fault); asked.len()]);
        for ((group, places), answers) in asked.into_iter().zip(answers) {
            if let Err(fault) = &answers {
                self.groups.close(group, fault);
            }
            let answers = answers.map(|answers| places.into_iter().cloned().zip(answers).collect());
            committed.insert(Arc::clone(group), answers);
        }
        committed
    }

    /// Leaves the topics of the target to which its group has committed, and remembers them.
    fn narrow(&mut self, target: &mut Target<'_>, committed: &Committed) -> Result<(), Fault> {
        let group = &target.queue.group;
        let Some(Ok(answers)) = committed.get(group) else { return Ok(()) };
        let has_commit = |place: &&Place| matches!(answers.get(*place), Some(Ok(Some(_))));
        let topics: BTreeSet<Arc<str>> =
            target.places.iter().filter(has_commit).map(|(topic, _)| Arc::clone(topic)).collect();
        target.places.retain(|(topic, _)| topics.contains(topic));
        let is_empty = topics.is_empty();
        if is_empty {
            self.committed_to.remove(group);
            return Err(Fault::Unexpected(nothing_committed(group)));
        }
        let without = topics.iter().find_map(|topic| {
            let partitions = self.topics.partitions(topic).ok()?;
            let partition = partitions.iter().find(|partition| !partition.has_leader)?;
            Some(leaderless(topic, partition.number))
        });
        self.committed_to.insert(Arc::clone(group), topics);
        // The library gives no answer at all where it must ask for one such partition among others.
        without.map_or(Ok(()), Err)
    }

    /// One end of all `places`.
    async fn ends(
        &mut self,
        isolation: Isolation,
        places: Vec<Place>,
        end: End,
        until: Instant,
    ) -> Result<Answers<u64>, Fault> {
        if places.is_empty() {
            return Ok(Answers::new());
        }
        let question = Question::Ends { isolation, places: by_topic(&places), end, within: left(until) };
        let answers: Result<InOrder<u64>, Fault> = self.process.ask(&question, until).await;
        let answers: Result<Answers<u64>, Fault> =
            answers.map(|answers| places.iter().cloned().zip(answers).collect());
        let topics: BTreeSet<&Arc<str>> = match &answers {
            Ok(answers) => {
                let failed = answers.iter().filter(|(_, answer)| answer.is_err());
                failed.map(|((topic, _), _)| topic).collect()
            }
            Err(_) => places.iter().map(|(topic, _)| topic).collect(),
        };
        // Other brokers may lead them by now.
        topics.into_iter().for_each(|topic| self.topics.doubt(topic));
        answers
    }

    /// The partitions whose first record matters and is not known well enough.
    fn due_starts(
        &mut self,
        targets: &[Result<Target<'_>, Fault>],
        committed: &Committed,
        ends: &Ends,
    ) -> Vec<Place> {
        let now = Instant::now();
        let mut wanted = BTreeSet::new();
        for target in targets.iter().flatten() {
            let (Some(Ok(committed)), Some(Ok(ends))) =
                (committed.get(&target.queue.group), ends.get(&target.queue.isolation))
            else {
                continue;
            };
            for place in &target.places {
                let (Some(Ok(committed)), Some(Ok(end))) = (committed.get(place), ends.get(place)) else {
                    continue;
                };
                if lag::needs_start(target.queue, *committed, *end) {
                    wanted.insert(place);
                } else if committed.is_some() {
                    self.starts.reached(place, now);
                }
            }
        }
        self.starts.due(wanted.into_iter().cloned().collect(), now)
    }

    fn complete(&self, target: &Target<'_>, committed: &Committed, ends: &Ends) -> Result<Partitions, Fault> {
        let Target { queue, places } = target;
        let committed = committed.get(&queue.group).ok_or(Fault::Late)?.as_ref().map_err(Fault::clone)?;
        let ends = ends.get(&queue.isolation).ok_or(Fault::Late)?.as_ref().map_err(Fault::clone)?;
        let mut unknown = Vec::new();
        let offsets = places.iter().map(|place| {
            let committed = committed.get(place).cloned().unwrap_or(Err(unanswered(place)))?;
            let end = ends.get(place).cloned().unwrap_or(Err(unanswered(place)))?;
            let start = match self.starts.of(place) {
                Some(start) => start,
                // Retention seldom overtakes a group. Where it did, the lag includes records that are gone.
                None if lag::needs_start(queue, committed, end) && committed.is_some() => {
                    if unknown.is_empty() {
                        let (topic, partition) = place;
                        unknown.push(Cause::new(format!(
                            "the number of records in the lag that retention has removed is not known: there was no \
                             answer about the first offset of partition {partition} of topic `{topic}`"
                        )));
                    }
                    0
                }
                None if lag::needs_start(queue, committed, end) => return Err(unanswered(place)),
                None => 0,
            };
            Ok((place.clone(), Offsets { committed, start, end }))
        });
        Ok(Partitions { offsets: offsets.collect::<Result<_, _>>()?, unknown })
    }
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

fn nothing_committed(group: &str) -> String {
    format!("group `{group}` has committed nothing yet, so its topics are not known: name them in `topic`")
}

fn leaderless(topic: &str, number: i32) -> Fault {
    let message =
        format!("partition {number} of topic `{topic}` has no leader: the brokers that keep it are down");
    Fault::Unexpected(message)
}

fn unanswered((topic, partition): &Place) -> Fault {
    Fault::Unexpected(format!("partition {partition} of topic `{topic}`: no answer about it"))
}
