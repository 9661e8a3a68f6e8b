//! What the answers about a framework's queues add up to.

use redis::Value::{Array, BulkString, Int, Nil};

use super::*;
use crate::engine::signals::InFlight;
use crate::sources::Sighting;
use crate::sources::redis::presets::Role::{
    Concurrency, Dead, Due, Head, InFlight as Running, Members, Paused, Rate, Ready, Since, Started,
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
    let sort = Ask::Sort { each: "*", by: "beat", get: "busy" };
    for answer in [Nil, text("1"), Array(vec![text("many")]), Array(vec![text("1"); 1_001])] {
        refuses(sort, Running, &answer);
    }
    for answers in [vec![], vec![Int(1), Int(1)]] {
        let reading = read(&of(&[(Ask::Llen, Ready)]), &heads(None), &answers, &mut Memory::new(NOW));
        assert!(matches!(reading, Err(Fault::Unexpected(_))), "{reading:?}");
    }
}

#[test]
fn an_unusable_answer_costs_its_own_figure_and_a_partial_zero_is_an_error() {
    let rows = [
        (Ask::Llen, Ready),
        (Ask::Zcard, Due),
        (Ask::Llen, Running),
        (Ask::Llen, Running),
        (Ask::Zcard, Dead),
    ];
    let read = |answers: &[Value]| read(&of(&rows), &heads(None), answers, &mut Memory::new(NOW));
    let half = read(&[Int(4), Int(2), Int(3), Nil, Int(7)]).unwrap();
    assert_eq!((half.ready, half.due, half.in_flight, half.dead), (Some(4), Some(2), None, Some(7)));
    let part = read(&[Int(4), Nil, Int(3), Int(1), Nil]).unwrap();
    assert_eq!(
        (part.ready, part.due, part.in_flight, part.dead),
        (Some(4), None, Some(InFlight::Known(4)), None)
    );
    let causes: Vec<String> = part.unknown.iter().map(ToString::to_string).collect();
    assert_eq!(
        causes,
        [
            "a part of the waiting tasks and the number of failed tasks are not known: the answer to ZCARD q makes no sense"
        ]
    );
    let none = read(&[Int(0), Nil, Int(3), Int(1), Int(7)]);
    assert_eq!(none, Err(Fault::nonsense("ZCARD q")), "something may wait, and nothing is seen to");
    assert!(read(&[Nil, Int(2), Int(3), Int(1), Int(7)]).is_err());
}

#[test]
fn a_set_of_too_many_names_is_not_looked_through_again() {
    let sort = Ask::Sort { each: "*", by: "beat", get: "busy" };
    let framework = of(&[(Ask::Llen, Ready), (Ask::Scard, Members), (sort, Running)]);
    let mut memory = Memory::new(NOW);
    let busy = Array(vec![text("2"), Nil]);
    let first = framework.ask(&memory, None, &mut Pipeline::new());
    let reading = read(&framework, &first, &[Int(1), Int(50_001), busy.clone()], &mut memory).unwrap();
    assert_eq!(reading.in_flight, Some(InFlight::Known(2)));
    let mut pipeline = Pipeline::new();
    let second = framework.ask(&memory, None, &mut pipeline);
    assert_eq!(pipeline.len(), 2);
    let reading = read(&framework, &second, &[Int(1), Int(50_000)], &mut memory).unwrap();
    assert_eq!((reading.ready, reading.in_flight), (Some(1), None));
    assert!(
        reading.unknown[0]
            .to_string()
            .starts_with("the number of running tasks is not known: `q` has more than 50000 members")
    );
    let third = framework.ask(&memory, None, &mut Pipeline::new());
    let reading = read(&framework, &third, &[Int(1), Int(3), busy], &mut memory).unwrap();
    assert_eq!((reading.in_flight, reading.unknown.len()), (Some(InFlight::Known(2)), 0));
}

/// `SORT` takes lists and sorted sets too, and finds nothing by their members.
#[test]
fn names_in_a_key_of_another_type_are_not_taken_for_idle_processes() {
    let sort = Ask::Sort { each: "*", by: "beat", get: "busy" };
    let framework = of(&[(Ask::Llen, Ready), (Ask::Scard, Members), (sort, Running)]);
    let mut memory = Memory::new(NOW);
    let refused = |words: &str| redis::parse_redis_value(format!("-{words}\r\n").as_bytes()).unwrap();
    let mut read = |size: Value| {
        let heads = framework.ask(&memory, None, &mut Pipeline::new());
        read(&framework, &heads, &[Int(1), size, Array(vec![Nil, Nil])], &mut memory).unwrap()
    };
    let reading = read(refused("WRONGTYPE list"));
    assert_eq!((reading.ready, reading.in_flight), (Some(1), None));
    assert!(
        reading.unknown[0]
            .to_string()
            .starts_with("the number of running tasks is not known: `q` is a list, and must be a set")
    );
    // Whoever may not count them is told the number by the names themselves.
    assert_eq!(read(refused("NOPERM no")).in_flight, Some(InFlight::Known(0)));
}

#[test]
fn where_answers_are_too_long_only_numbers_are_asked_for() {
    let fault = Fault::oversized(1 << 20);
    let mut pipeline = Pipeline::new();
    let asked = aged().ask(&Memory::new(NOW), Some(&fault), &mut pipeline);
    assert_eq!(pipeline.len(), 1);
    let reading = read(&aged(), &asked, &[Int(4)], &mut Memory::new(NOW)).unwrap();
    assert_eq!((reading.ready, reading.oldest, reading.unknown.len()), (Some(4), None, 1));
}

#[test]
fn the_sum_over_processes_leaves_out_those_that_are_gone() {
    let framework = of(&[(Ask::Sort { each: "*", by: "beat", get: "busy" }, Running)]);
    for gone in [1, 1_000] {
        let busy = Array([vec![text("2"), text("3")], vec![Nil; gone]].concat());
        let reading = read(&framework, &heads(None), &[busy], &mut Memory::new(NOW)).unwrap();
        assert_eq!(reading.in_flight, Some(InFlight::Known(5)));
    }
}

#[test]
fn a_lowest_score_is_asked_for_with_its_task_only_when_another_may_be_the_lowest() {
    let framework = of(&[(Ask::Zcard, Ready), (Ask::Zrange, Since(Stamp::Score(Clock::Seconds)))]);
    let mut memory = Memory::new(NOW);
    let mut pipeline = Pipeline::new();
    let unknown = framework.ask(&memory, None, &mut pipeline);
    assert_eq!(pipeline.len(), 1);
    let Ok(Look::Unfinished(peek)) = framework.read(&unknown, &[Int(3)], &mut memory, NOW) else {
        panic!("the lowest score is not known");
    };
    let answer = Array(vec![text("task"), text("1700000050.5")]);
    let reading = peek.read(&[answer], &mut memory).unwrap();
    assert_eq!((reading.ready, reading.oldest), (Some(3), Some(Duration::from_millis(9_500))));

    let mut pipeline = Pipeline::new();
    let known = framework.ask(&memory, None, &mut pipeline);
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
        let reading = read(&framework, &known, &[Int(3), Int(0), nonsense], &mut memory).unwrap();
        assert_eq!((reading.ready, reading.oldest, reading.unknown.len()), (Some(3), None, 1));
    }
}

fn heads(id: Option<&str>) -> Heads {
    Heads { ids: vec![id.map(str::to_owned)], ..Heads::default() }
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
    if matches!(role, Ready | Due) {
        assert!(matches!(reading, Err(Fault::Unexpected(_))), "{ask:?} {role:?} {answer:?}: {reading:?}");
        return;
    }
    // It costs its own figure, which nobody takes for zero.
    let Reading { unknown, .. } = reading.clone().unwrap();
    assert_eq!(
        reading,
        Ok(Reading { unknown: unknown.clone(), ..Reading::default() }),
        "{ask:?} {role:?} {answer:?}"
    );
    assert_eq!(unknown.len(), 1, "{unknown:?}");
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
