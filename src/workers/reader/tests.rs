//! The commands about a scope, its memory, and parts that cannot be read.

use proptest::prelude::*;

use super::*;
use crate::workers::answer::Field;

const NOW: Timestamp = Timestamp::from_millis(29_000_000 * 60_000 + 30_000);

#[test]
fn a_scope_that_is_known_takes_no_more_commands_than_it_costs() {
    let (store, mut memory) = (BTreeMap::new(), Memory::default());
    read(&store, &mut memory, NOW, NOW).unwrap();
    let mut pipeline = Pipeline::new();
    let later = NOW + Duration::from_secs(60);
    Scope::new("acme", Duration::from_secs(60)).ask(&memory, later, &mut pipeline);
    assert_eq!(pipeline.len(), COMMANDS);
}

#[test]
fn a_minute_that_begins_during_the_question_is_read() {
    let (store, mut memory) = (store([28_999_999, 29_000_000, 29_000_001]), Memory::default());
    let turn = NOW + Duration::from_secs(30);
    let seen = read(&store, &mut memory, turn - Duration::from_millis(1), turn).unwrap();
    assert_eq!((seen.minute, numbers(&seen)), (29_000_001, vec![28_999_999, 29_000_000, 29_000_001]));
    // Before it begins, it is not there, whoever wrote to it.
    let seen = read(&store, &mut memory, NOW, NOW).unwrap();
    assert_eq!((seen.minute, numbers(&seen)), (29_000_000, vec![28_999_999, 29_000_000]));
}

#[test]
fn an_answer_that_takes_long_tells_of_the_minutes_that_were_asked_for() {
    let (store, mut memory) = (store([29_000_000, 29_000_001, 29_000_002]), Memory::default());
    let late = NOW + Duration::from_secs(180);
    let seen = read(&store, &mut memory, NOW, late).unwrap();
    assert_eq!((seen.minute, numbers(&seen)), (29_000_001, vec![29_000_000, 29_000_001]));
    let seen = read(&store, &mut memory, late, late).unwrap();
    assert_eq!((seen.minute, numbers(&seen)), (29_000_003, vec![29_000_000, 29_000_001, 29_000_002]));
}

#[test]
fn a_clock_that_went_back_is_noticed_and_makes_minutes_change_again() {
    let (mut store, mut memory) = (store([28_999_998]), Memory::default());
    read(&store, &mut memory, NOW, NOW).unwrap();
    let back = NOW - Duration::from_secs(60);
    assert_eq!(read(&store, &mut memory, NOW, back), Err(Unreadable::ClockWentBack));
    *store.get_mut(&28_999_998).unwrap() = 2;
    let seen = read(&store, &mut memory, back, back).unwrap();
    assert_eq!(seen.minutes.iter().map(|minute| minute.done).collect::<Vec<_>>(), [2]);
}

#[test]
fn scopes_that_are_not_read_and_scopes_beyond_the_most_are_forgotten() {
    let (mut memory, nothing) = (Memory::default(), BTreeMap::new());
    read(&nothing, &mut memory, NOW, NOW).unwrap();
    memory.sweep(NOW + Duration::from_secs(20 * 60));
    assert_eq!(memory.scopes.len(), 1);
    memory.sweep(NOW + Duration::from_secs(40 * 60));
    assert_eq!(memory.scopes.len(), 0);
    for number in 0..MOST_SCOPES {
        memory.scopes.insert(Scope::new(number.to_string(), Duration::from_secs(60)), BTreeMap::new());
    }
    read(&nothing, &mut memory, NOW, NOW).unwrap();
    assert!(memory.scopes.len() <= MOST_SCOPES);
}

#[test]
fn too_few_answers_are_nonsense() {
    let scope = Scope::new("acme", Duration::from_secs(60));
    let asked = scope.ask(&Memory::default(), NOW, &mut Pipeline::new());
    for answers in [vec![], vec![Value::Int(1)], vec![Value::Int(1), hash(&[])]] {
        let error = scope.read(&asked, &answers, &mut Memory::default(), NOW).unwrap_err();
        assert!(matches!(error, Unreadable::Nonsense { .. }), "{error:?}");
    }
    assert!(matches!(LimitScope::new("acme").read(&[], NOW), Err(Unreadable::Nonsense { .. })));
}

#[test]
fn an_unreadable_worker_list_or_minute_costs_only_itself_while_leases_show_running_tasks() {
    let scope = Scope::new("acme", Duration::from_secs(60));
    let asked = scope.ask(&Memory::default(), NOW, &mut Pipeline::new());
    let mut answers = vec![hash(&[("done", "2")]); asked.minutes.len()];
    answers[7] = Value::Int(1);
    let read = |leases, workers: &Value| {
        let answers = [&[Value::Int(leases), workers.clone()][..], &answers].concat();
        scope.read(&asked, &answers, &mut Memory::default(), NOW)
    };
    let (workers, unreadable) = read(3, &Value::Int(1)).unwrap();
    assert_eq!((workers.leases, workers.alive.len(), workers.minutes.len()), (3, 0, 29));
    assert_eq!(unreadable.len(), 2);
    assert!(read(0, &Value::Int(1)).is_err(), "nobody else tells what runs");
    let (workers, unreadable) = read(0, &hash(&[])).unwrap();
    assert_eq!((workers.leases, workers.minutes.len(), unreadable.len()), (0, 29, 1));
}

proptest! {
    /// Workers write to the present minute by their own clocks, which are late or ahead by less than one.
    #[test]
    fn minutes_that_are_remembered_equal_those_that_would_be_read(
        steps in prop::collection::vec((0..150_u64, -59..60_i64, 0..3_u64, 0..2_000_u64), 1..60),
    ) {
        let (mut store, mut memory, mut now) = (BTreeMap::new(), Memory::default(), NOW);
        for (passed, ahead, done, answer) in steps {
            now = now + Duration::from_secs(passed);
            if done > 0 {
                let theirs = now.as_millis().saturating_add_signed(ahead * 1_000);
                *store.entry(theirs / 60_000).or_default() += done;
            }
            let answered = now + Duration::from_millis(answer);
            let seen = read(&store, &mut memory, now, answered);
            let fresh = read(&store, &mut Memory::default(), now, answered);
            prop_assert_eq!(seen, fresh);
            prop_assert!(memory.scopes.values().all(|known| known.len() < 30));
            now = answered;
        }
    }
}

/// Asks at one time and reads what Redis answers at another.
fn read(
    store: &BTreeMap<u64, u64>,
    memory: &mut Memory,
    at: Timestamp,
    now: Timestamp,
) -> Result<Workers, Unreadable> {
    let scope = Scope::new("acme", Duration::from_secs(60));
    let mut pipeline = Pipeline::new();
    let asked = scope.ask(memory, at, &mut pipeline);
    let mut answers = vec![Value::Int(0), hash(&[])];
    answers.extend(asked.minutes.iter().map(|number| match store.get(number) {
        Some(done) => hash(&[("done", &done.to_string())]),
        None => hash(&[]),
    }));
    assert_eq!(answers.len(), pipeline.len());
    let (workers, unreadable) = scope.read(&asked, &answers, memory, now)?;
    assert_eq!(unreadable, []);
    Ok(workers)
}

fn store<const N: usize>(numbers: [u64; N]) -> BTreeMap<u64, u64> {
    numbers.into_iter().map(|number| (number, 1)).collect()
}

fn numbers(workers: &Workers) -> Vec<u64> {
    workers.minutes.iter().map(|minute| minute.number).collect()
}

fn hash(fields: &[Field<'_>]) -> Value {
    let word = |text: &str| Value::BulkString(text.into());
    let words = fields.iter().flat_map(|(name, value)| [word(name), word(value)]);
    Value::Array(vec![word("0"), Value::Array(words.collect())])
}
