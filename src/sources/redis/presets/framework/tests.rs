//! What the answers about a framework's queues add up to.

use redis::Value::{Array, BulkString, Int, Nil};

use super::*;
use crate::engine::signals::InFlight;
use crate::sources::Sighting;
use crate::sources::redis::presets::Role::{
    Concurrency, Dead, Due, Head, InFlight as Running, Paused, Rate, Ready, Since, Started,
};
use crate::sources::redis::presets::{Stamp, row};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_060_000);

#[test]
fn what_was_next_when_it_was_asked_for_and_is_not_any_more_has_no_age() {
    let head = || heads(Some("7"));
    for (next, since, oldest) in [
        ("7", text("1700000000000"), Some(60)),
        ("8", text("1700000000000"), None),
        ("7", Nil, None),
        // By another clock.
        ("7", text("1700000099000"), None),
    ] {
        let mut memory = Memory::new(NOW);
        let answers = [Int(2), text(next), since];
        let reading = read(&aged(), &head(), &answers, &mut memory).unwrap();
        assert_eq!(reading.oldest, oldest.map(Duration::from_secs), "{next}");
        assert_eq!(memory.head("q"), Some(next.to_owned()));
    }
    let mut memory = Memory::new(NOW);
    let marker = read(&aged(), &heads(None), &[Int(1), text("0:0")], &mut memory).unwrap();
    assert_eq!((marker.ready, memory.head("q")), (Some(0), None));
}

#[test]
fn a_rate_leaves_room_for_what_may_still_start_and_a_queue_told_to_wait_for_none() {
    let told_to_wait = "9007199254740991";
    for (most, rate, started, ceiling) in [
        (Nil, Nil, Nil, None),
        (text("8"), Nil, Nil, Some(8)),
        (Nil, text("5"), Nil, Some(3 + 5)),
        (Nil, text("5"), text("4"), Some(3 + 1)),
        (text("3"), text("5"), text("4"), Some(3)),
        (Nil, text("5"), text("9"), Some(3)),
        (Nil, Nil, text("9"), None),
        (Nil, Nil, text(told_to_wait), Some(3)),
    ] {
        let rows = [(Ask::Llen, Running), (Ask::Hget("concurrency"), Concurrency)];
        let others = [(Ask::Hget("max"), Rate), (Ask::Get, Started)];
        let framework = of(&[&rows[..], &others].concat());
        let answers = [Int(3), most, rate, started];
        let reading = read(&framework, &heads(None), &answers, &mut Memory::new(NOW)).unwrap();
        assert_eq!(reading.ceiling, ceiling, "{answers:?}");
    }
}

#[test]
fn what_a_paused_queue_holds_waits_for_nobody_and_what_runs_runs_on() {
    let rows = [(Ask::Llen, Ready), (Ask::Zcard, Due), (Ask::Llen, Running), (Ask::Hget("paused"), Paused)];
    let answers = [Int(4), Int(2), Int(3), text("1")];
    let reading = read(&of(&rows), &heads(None), &answers, &mut Memory::new(NOW));
    let in_flight = Some(InFlight::Known(3));
    let held = Reading { ready: Some(0), due: Some(0), delayed: Some(6), in_flight, ..Reading::default() };
    assert_eq!(reading, Ok(held));
}

#[test]
fn nonsense_is_neither_a_number_nor_a_panic() {
    let nonsense = [Nil, Int(-1), Value::Okay, text("soon"), text("-1"), Array(vec![]), Array(vec![Int(1)])];
    for ask in [Ask::Llen, Ask::Hlen, Ask::Zcard, Ask::Exists, Ask::Zcount(Span::Past, Clock::Seconds)] {
        for role in [Ready, Due, Running, Dead, Paused] {
            nonsense.iter().for_each(|answer| refuses(ask, role, answer));
        }
    }
    for role in [Concurrency, Rate, Started] {
        nonsense[1..].iter().for_each(|answer| refuses(Ask::Hget("max"), role, answer));
    }
    for stamp in [Stamp::Millis, Stamp::Rfc3339] {
        nonsense[1..].iter().for_each(|answer| refuses(Ask::Hget("since"), Since(stamp), answer));
    }
    for answer in [Int(1), Array(vec![])] {
        refuses(Ask::Lindex(0), Head(""), &answer);
    }
    for answer in [Nil, text("1"), Array(vec![text("many")]), Array(vec![Nil; 1_001])] {
        refuses(Ask::Sort("*->busy"), Running, &answer);
    }
    for answers in [vec![], vec![Int(1), Int(1)]] {
        let reading = read(&of(&[(Ask::Llen, Ready)]), &heads(None), &answers, &mut Memory::new(NOW));
        assert!(matches!(reading, Err(Fault::Unexpected(_))), "{reading:?}");
    }
}

#[test]
fn the_sum_over_processes_leaves_out_those_that_are_gone() {
    let busy = Array(vec![text("2"), Nil, text("3")]);
    let framework = of(&[(Ask::Sort("*->busy"), Running)]);
    let reading = read(&framework, &heads(None), &[busy], &mut Memory::new(NOW)).unwrap();
    assert_eq!(reading.in_flight, Some(InFlight::Known(5)));
}

#[test]
fn a_lowest_score_is_asked_for_with_its_task_only_when_another_may_be_the_lowest() {
    let framework = of(&[(Ask::Zcard, Ready), (Ask::Zrange, Since(Stamp::Score(Clock::Seconds)))]);
    let mut memory = Memory::new(NOW);
    let mut pipeline = Pipeline::new();
    let unknown = framework.ask(&memory, &mut pipeline);
    assert_eq!(pipeline.len(), 1);
    let Ok(Look::Unfinished(peek)) = framework.read(&unknown, &[Int(3)], &mut memory, NOW) else {
        panic!("the lowest score is not known");
    };
    let answer = Array(vec![text("task"), text("1700000050.5")]);
    let reading = peek.read(&[answer], &mut memory).unwrap();
    assert_eq!((reading.ready, reading.oldest), (Some(3), Some(Duration::from_millis(9_500))));

    let mut pipeline = Pipeline::new();
    let known = framework.ask(&memory, &mut pipeline);
    let commands: Vec<String> =
        pipeline.cmd_iter().map(|command| String::from_utf8(command.get_packed_command()).unwrap()).collect();
    assert!(commands.len() == 3 && commands.iter().all(|command| !command.contains("ZRANGE")));
    let reading = read(&framework, &known, &[Int(3), Int(0), Int(1)], &mut memory).unwrap();
    assert_eq!(reading.oldest, Some(Duration::from_millis(9_500)));
    for (below, with) in [(1, 1), (0, 0)] {
        let look = framework.read(&known, &[Int(3), Int(below), Int(with)], &mut memory, NOW);
        assert!(matches!(look, Ok(Look::Unfinished(_))), "{below} {with}: {look:?}");
    }
    for nonsense in [Nil, Int(-1), text("1")] {
        let look = framework.read(&known, &[Int(3), Int(0), nonsense], &mut memory, NOW);
        assert!(matches!(look, Err(Fault::Unexpected(_))), "{look:?}");
    }
}

fn heads(id: Option<&str>) -> Heads {
    Heads { ids: vec![id.map(str::to_owned)], lowest: Vec::new() }
}

/// The reading where nothing more is asked.
fn read(
    framework: &Framework,
    heads: &Heads,
    answers: &[Value],
    memory: &mut Memory,
) -> Result<Reading, Fault> {
    match framework.read(heads, answers, memory, NOW)? {
        Look::Complete(Sighting::Queue(reading)) => Ok(reading),
        look @ (Look::Complete(_) | Look::Unfinished(_)) => panic!("{look:?}"),
    }
}

fn refuses(ask: Ask, role: Role, answer: &Value) {
    let framework = of(&[(ask, role)]);
    let reading = read(&framework, &heads(None), std::slice::from_ref(answer), &mut Memory::new(NOW));
    assert!(matches!(reading, Err(Fault::Unexpected(_))), "{ask:?} {role:?} {answer:?}: {reading:?}");
}

/// One queue, with these rows about one key.
fn of(rows: &[(Ask, Role)]) -> Framework {
    let question =
        |(ask, role): &(Ask, Role)| Question::new(row(*ask, "", *role), "q".to_owned(), None, Some(0));
    Framework::new("test".to_owned(), vec!["q".to_owned()], rows.iter().map(question).collect())
}

/// One queue whose oldest task has an age.
fn aged() -> Framework {
    let mut framework = of(&[(Ask::Llen, Ready), (Ask::Lindex(0), Head("0:"))]);
    let since = row(Ask::Hget("timestamp"), "", Since(Stamp::Millis));
    framework.questions.push(Question::new(since, "q:\0".to_owned(), None, Some(0)));
    framework
}

fn text(text: &str) -> Value {
    BulkString(text.into())
}
