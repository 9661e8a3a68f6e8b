//! One batch: which questions go together, and what becomes of each plan.

use std::any::Any;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use redis::{Cmd, Pipeline, Value};
use tokio::time::Instant;

use super::client::RedisClient;
use super::connection::MOST_ANSWERS;
use super::fault::Fault;
use super::layout::{Asked, Layout, Look};
use super::meter;
use super::peek::Peek;
use super::weight::LIGHT;
use super::wire::{Given, Missing, Question};
use super::{slots, wrong_type};
use crate::sources::{Plan, ReadError, Sighting};

/// Most commands of one round trip: a thousand queues of the usual kinds. Redis works one off at a time, and keeps all
/// answers until they are sent.
const MOST_COMMANDS: usize = 4_000;

/// Most bytes that the commands of one round trip take.
const MOST_BYTES: usize = 1 << 20;

/// What heavy tasks that are fetched in one batch should cost together.
const MOST_HEAVY: usize = 1 << 20;

/// What answers that were too long may have cost in one batch before the others wait for the next.
const MOST_WASTED: usize = 32 << 20;

/// Most keys of one queue whose types are told, and most queues for which that is asked in one batch.
const MOST_TYPES: usize = 32;

/// Most bytes of an answer about a type, which is a word or an error.
const SHORT: usize = 512;

/// One batch.
pub(super) struct Round<'a> {
    layouts: Vec<Option<&'a Layout>>,
    results: Vec<Option<Result<Sighting, ReadError>>>,
    peeks: Vec<(usize, Peek)>,
    by: Instant,
    reopenings: u32,
    wasted: usize,
    /// The number of queues in this batch for which types were asked.
    typed: usize,
}

/// What is asked in one round trip.
struct Lot {
    entries: Vec<Entry>,
    questions: Vec<Question>,
    commands: usize,
    bytes: usize,
    answers: usize,
    /// Whether it is one queue by itself.
    is_alone: bool,
}

/// One question of a lot.
struct Entry {
    index: usize,
    asked: Option<Asked>,
    /// Whether it leaves out what was too long.
    is_shortened: bool,
}

impl<'a> Round<'a> {
    /// A batch that has to be done by then.
    pub(super) fn new(plans: &'a [Arc<dyn Plan>], by: Instant) -> Self {
        let layout = |plan: &'a Arc<dyn Plan>| (plan.as_ref() as &dyn Any).downcast_ref::<Layout>();
        Self {
            layouts: plans.iter().map(layout).collect(),
            results: vec![None; plans.len()],
            peeks: Vec::new(),
            by,
            reopenings: 0,
            wasted: 0,
            typed: 0,
        }
    }

    /// One result for each plan, in order.
    pub(super) fn results(self, address: &str) -> Vec<Result<Sighting, ReadError>> {
        let late = || Err(Fault::Late.at(address));
        self.results.into_iter().map(|result| result.unwrap_or_else(late)).collect()
    }

    /// Reads as much as there is time for.
    pub(super) async fn run(&mut self, client: &mut RedisClient) {
        let (mut apart, mut together) = (VecDeque::new(), [(); 4].map(|()| VecDeque::new()));
        for (index, layout) in self.layouts.iter().enumerate() {
            match layout {
                None => {
                    let fault = Fault::Unexpected("the queue is none of Redis".to_owned());
                    self.results[index] = Some(Err(fault.at(&client.address)));
                }
                Some(layout) if client.oversized.rests(layout) && !layout.has_short_answers() => {
                    let fault = Fault::oversized(layout.most());
                    self.results[index] = Some(Err(fault.at(&client.address)));
                }
                Some(layout) if client.oversized.has(layout) && !client.oversized.rests(layout) => {
                    apart.push_back(index);
                }
                Some(layout) => {
                    let is_new = usize::from(!client.oversized.is_proven(layout));
                    together[2 * usize::from(layout.is_report()) + is_new].push_back(index);
                }
            }
        }
        for mut waiting in together {
            while let Some(lot) = self.next_lot(&mut waiting, client) {
                let Some(again) = self.read(lot, client).await else { return };
                for index in again.into_iter().rev() {
                    let is_apart = self.layouts[index].is_some_and(|layout| client.oversized.has(layout));
                    if is_apart { apart.push_back(index) } else { waiting.push_front(index) }
                }
            }
        }
        self.peek(client).await;
        while let Some(index) = apart.pop_front() {
            let mut one = VecDeque::from([index]);
            let Some(lot) = self.next_lot(&mut one, client) else { continue };
            let Some(again) = self.read(Lot { is_alone: true, ..lot }, client).await else { return };
            // From now on only numbers are asked for.
            apart.extend(again);
        }
        self.peek(client).await;
    }

    /// As many of the waiting plans as go together; at least one.
    fn next_lot(&self, waiting: &mut VecDeque<usize>, client: &RedisClient) -> Option<Lot> {
        let mut lot = Lot::new();
        while let Some(index) = waiting.front().copied() {
            let Some(layout) = self.layouts[index] else {
                waiting.pop_front();
                continue;
            };
            let mut commands = Pipeline::new();
            let too_long = client.oversized.rests(layout).then(|| Fault::oversized(layout.most()));
            let asked = layout.ask(&client.memory, too_long.as_ref(), &mut commands);
            let allowance = layout.allowance(commands.len());
            let entry = Entry { index, asked, is_shortened: too_long.is_some() };
            if !lot.takes(&Question { commands, allowance }, entry) {
                break;
            }
            waiting.pop_front();
        }
        (!lot.entries.is_empty()).then_some(lot)
    }

    /// Reads one lot. Gives those that have to be asked again, or nothing where that is of no use.
    async fn read(&mut self, mut lot: Lot, client: &mut RedisClient) -> Option<Vec<usize>> {
        if lot.is_alone
            && let ([entry], [question]) = (lot.entries.as_slice(), lot.questions.as_mut_slice())
        {
            question.allowance += self.layouts[entry.index].map_or(0, Layout::most);
        }
        let answers = match client.ask(&lot.questions, self.by, &mut self.reopenings).await {
            Ok(answers) => answers,
            Err(fault) => {
                let error = fault.at(&client.address);
                let unread = self.results.iter_mut().filter(|result| result.is_none());
                unread.for_each(|result| *result = Some(Err(error.clone())));
                return None;
            }
        };
        let mut again = Vec::new();
        for ((entry, question), answer) in lot.entries.into_iter().zip(&lot.questions).zip(answers) {
            let (index, Some(layout)) = (entry.index, self.layouts[entry.index]) else { continue };
            let look = match answer {
                Ok(Given { mut values, now, lost }) => {
                    self.tell_types(question, &mut values, client).await;
                    let cost = values.iter().map(meter::cost).fold(0, usize::saturating_add);
                    if cost > layout.allowance(question.commands.len()) {
                        client.oversized.add(layout);
                    } else if !entry.is_shortened {
                        client.oversized.was_short(layout);
                    }
                    layout
                        .look(entry.asked.as_ref(), &values, &mut client.memory, now)
                        .map_err(|fault| lost.unwrap_or_else(|| fault.at(&client.address)))
                }
                Err(Missing::NotReached) => {
                    again.push(index);
                    continue;
                }
                Err(Missing::TooLong) if lot.is_alone => {
                    self.wasted = self.wasted.saturating_add(question.allowance);
                    client.oversized.failed(layout);
                    if layout.has_short_answers() && !entry.is_shortened {
                        again.push(index);
                        continue;
                    }
                    Err(Fault::oversized(layout.most()).at(&client.address))
                }
                Err(Missing::TooLong) => {
                    self.wasted = self.wasted.saturating_add(lot.answers);
                    client.oversized.add(layout);
                    again.push(index);
                    continue;
                }
                Err(Missing::Lost(error)) => {
                    self.results[index] = Some(Err(error));
                    continue;
                }
            };
            match look {
                Ok(Look::Complete(sighting)) => self.results[index] = Some(Ok(sighting)),
                Ok(Look::Unfinished(peek)) => {
                    // Enough for whoever has no time to look closer.
                    let reading = peek.clone().unanswered(&mut client.memory);
                    self.results[index] = Some(Ok(reading.into()));
                    self.peeks.push((index, peek));
                }
                Err(error) => self.results[index] = Some(Err(error)),
            }
        }
        (self.wasted <= MOST_WASTED).then_some(again)
    }

    /// Asks Redis for the types of keys with a wrong type, so that the error can name them. Without the right
    /// to ask, the error names only the expected type.
    async fn tell_types(&mut self, question: &Question, values: &mut [Value], client: &mut RedisClient) {
        let commands = question.commands.cmd_iter().zip(values);
        let wrong = commands.filter(|(_, value)| wrong_type::is_one(value));
        let mut wrong: Vec<(Vec<u8>, &mut Value)> = wrong
            .filter_map(|(command, value)| Some((slots::key(command)?.to_vec(), value)))
            .take(MOST_TYPES)
            .collect();
        let is_unknown = |key: &&Vec<u8>| client.memory.kind(key).is_none();
        let unknown: BTreeSet<Vec<u8>> =
            wrong.iter().map(|(key, _)| key).filter(is_unknown).cloned().collect();
        if !unknown.is_empty() && self.typed < MOST_TYPES {
            self.typed += 1;
            let mut commands = Pipeline::new();
            for key in &unknown {
                commands.cmd("TYPE").arg(key);
            }
            let question = Question { allowance: SHORT * commands.len(), commands };
            let told = client.ask(std::slice::from_ref(&question), self.by, &mut self.reopenings).await;
            if let Some(Ok(Given { values, .. })) = told.ok().and_then(|mut answers| answers.pop()) {
                let told = unknown.into_iter().zip(values);
                told.for_each(|(key, told)| client.memory.set_kind(key, wrong_type::with_type(&told)));
            }
        }
        for (key, value) in &mut wrong {
            if let Some(told) = client.memory.kind(key).cloned().flatten() {
                **value = told;
            }
        }
    }

    /// Asks what comes with tasks: first where these are known to be short, then where nothing is known, and then some
    /// of the long ones, of which those come first that have waited longest.
    async fn peek(&mut self, client: &mut RedisClient) {
        let mut peeks = std::mem::take(&mut self.peeks);
        peeks.retain(|(_, peek)| !client.memory.weight(peek.key()).rests());
        peeks.sort_by_cached_key(|(_, peek)| {
            let weight = client.memory.weight(peek.key());
            (weight.is_heavy(), weight.last().is_none(), weight.last().filter(|_| weight.is_heavy()))
        });
        let mut heavy = 0;
        let mut waiting: VecDeque<(usize, Peek)> = peeks.into();
        while !waiting.is_empty() {
            let (mut lot, mut asked) = (Lot::new(), Vec::new());
            while let Some((index, peek)) = waiting.front() {
                let count = peek.count(&mut client.memory);
                let weight = client.memory.weight(peek.key());
                if weight.is_heavy() && heavy > 0 && heavy + weight.of(count) > MOST_HEAVY {
                    waiting.pop_front();
                    continue;
                }
                let mut commands = Pipeline::new();
                peek.ask(&mut client.memory, &mut commands);
                let question =
                    Question { commands, allowance: weight.of(count).saturating_mul(2).max(LIGHT / 4) };
                if !lot.takes(&question, Entry { index: *index, asked: None, is_shortened: false }) {
                    break;
                }
                heavy += if weight.is_heavy() { weight.of(count) } else { 0 };
                asked.extend(waiting.pop_front());
            }
            if asked.is_empty() {
                return;
            }
            let Some(again) = self.read_peeks(lot, asked, client).await else { return };
            again.into_iter().rev().for_each(|peek| waiting.push_front(peek));
        }
    }

    async fn read_peeks(
        &mut self,
        mut lot: Lot,
        asked: Vec<(usize, Peek)>,
        client: &mut RedisClient,
    ) -> Option<Vec<(usize, Peek)>> {
        // Together they may be as long as ever an exchange may: nobody knows how long a task is.
        lot.questions.first_mut()?.allowance = MOST_ANSWERS;
        let answers = client.ask(&lot.questions, self.by, &mut self.reopenings).await.ok()?;
        let mut again = Vec::new();
        for ((index, peek), answer) in asked.into_iter().zip(answers) {
            match answer {
                Ok(Given { values, .. }) => {
                    // The waiting tasks were read before, so this fault costs only other figures.
                    let known = peek.clone();
                    let reading = peek
                        .read(&values, &mut client.memory)
                        .unwrap_or_else(|fault| known.failed(fault, &mut client.memory));
                    self.results[index] = Some(Ok(reading.into()));
                }
                Err(Missing::TooLong) => {
                    self.wasted = self.wasted.saturating_add(MOST_ANSWERS);
                    let weight = client.memory.weight(peek.key()).too_long();
                    client.memory.set_weight(peek.key(), weight);
                }
                Err(Missing::NotReached) => again.push((index, peek)),
                // The queue itself was read.
                Err(Missing::Lost(_)) => {}
            }
        }
        (self.wasted <= MOST_WASTED).then_some(again)
    }
}

impl Lot {
    const fn new() -> Self {
        Self {
            entries: Vec::new(),
            questions: Vec::new(),
            commands: 0,
            bytes: 0,
            answers: 0,
            is_alone: false,
        }
    }

    /// Takes a question in where there is room for it; the first always fits.
    fn takes(&mut self, question: &Question, entry: Entry) -> bool {
        let Question { commands, allowance } = question;
        let bytes: usize = commands.cmd_iter().map(length).sum();
        let is_full = self.commands + commands.len() > MOST_COMMANDS
            || self.bytes.saturating_add(bytes) > MOST_BYTES
            || self.answers.saturating_add(*allowance) > MOST_ANSWERS;
        if is_full && !self.entries.is_empty() {
            return false;
        }
        self.commands += commands.len();
        self.bytes = self.bytes.saturating_add(bytes);
        self.answers = self.answers.saturating_add(*allowance);
        self.questions.push(Question { commands: commands.clone(), allowance: *allowance });
        self.entries.push(entry);
        true
    }
}

fn length(command: &Cmd) -> usize {
    command.get_packed_command().len()
}
