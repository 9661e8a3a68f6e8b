//! Accounts in virtual time.

use proptest::prelude::*;

use super::*;

/// Sixty requests and 6,000 tokens a minute of a minute's length.
fn limits() -> Limits {
    let amounts =
        [(Dimension::RequestsPerMinute, 60), (Dimension::TokensPerMinute, 6_000)].into_iter().collect();
    Limits { amounts, concurrency: None, burst: 1.0, minute: Duration::from_secs(60) }
}

fn account(limits: &Limits) -> Account {
    Account::new(limits, Conditions::default(), Duration::ZERO)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A request that will generate fifty tokens, or all that it may.
fn up_to(most_output: u64) -> Need {
    Need { input_tokens: 0, output_tokens: most_output.min(50), most_output }
}

fn command(text: &str) -> Command {
    Command::read(text).unwrap()
}

/// How many requests without output are admitted, until one is refused.
fn admitted(account: &mut Account, now: Duration) -> u64 {
    let admitted = (0..100_000).take_while(|_| account.admit(up_to(0), now).is_ok()).count();
    u64::try_from(admitted).unwrap()
}

/// What headers say of requests: the rest, and seconds to the reset.
fn requests(account: &mut Account, now: Duration) -> (u64, u64) {
    let shown = account.shown(now);
    let requests = shown.iter().find(|shown| shown.dimension == Dimension::RequestsPerMinute).unwrap();
    (requests.remaining, requests.reset.as_secs())
}

#[test]
fn a_refused_request_costs_nothing() {
    let mut account = account(&limits());
    account.admit(up_to(5_000), seconds(0)).unwrap();
    for _ in 0..10 {
        let refused = account.admit(up_to(2_000), seconds(0)).unwrap_err();
        assert_eq!(refused.label(), "tokens");
        // 1,000 are there, and 100 come back a second.
        assert!(
            matches!(refused, Refused::Rate { wait: Some(wait), .. } if wait == seconds(10)),
            "{refused:?}"
        );
    }
    assert_eq!(requests(&mut account, seconds(0)), (59, 1));
    assert_eq!(account.counts.running, 1);
    account.admit(up_to(2_000), seconds(10)).unwrap();
}

#[test]
fn what_was_not_generated_comes_back_at_the_end() {
    let mut account = account(&limits());
    account.admit(up_to(6_000), seconds(0)).unwrap();
    assert!(account.admit(up_to(1), seconds(0)).is_err());
    // What a request may still generate is held back, but headers do not show it as used.
    let shown = account.shown(seconds(0));
    assert_eq!(shown.iter().map(|shown| shown.remaining).collect::<Vec<_>>(), [59, 6_000]);
    account.finish(up_to(6_000), seconds(0));
    let shown = account.shown(seconds(0));
    assert_eq!(shown.iter().map(|shown| shown.remaining).collect::<Vec<_>>(), [59, 5_950]);
    account.admit(up_to(5_950), seconds(0)).unwrap();
}

#[test]
fn of_output_tokens_what_is_generated_counts_and_not_what_might_be() {
    let amounts = [(Dimension::OutputTokensPerMinute, 100)].into_iter().collect();
    let mut account = account(&Limits { amounts, ..limits() });
    account.admit(up_to(100_000), seconds(0)).unwrap();
    account.admit(up_to(100_000), seconds(0)).unwrap();
    assert_eq!(account.admit(up_to(100_000), seconds(0)).unwrap_err().label(), "output_tokens");
    account.finish(up_to(100_000), seconds(0));
    assert!(account.admit(up_to(100_000), seconds(0)).is_err());
    account.abandon(up_to(100_000), seconds(0));
    account.admit(up_to(100_000), seconds(0)).unwrap();
}

#[test]
fn concurrency_counts_what_is_under_way() {
    let mut account = account(&Limits { concurrency: Some(2), ..limits() });
    assert_eq!(admitted(&mut account, seconds(0)), 2);
    assert_eq!(account.admit(up_to(0), seconds(0)), Err(Refused::Concurrency { limit: 2 }));
    account.finish(up_to(0), seconds(0));
    account.admit(up_to(0), seconds(0)).unwrap();
    assert_eq!(account.counts.most_running, 2);
}

#[test]
fn at_a_part_of_its_capacity_headers_speak_of_the_whole() {
    let mut account = account(&limits());
    account.obey(&command(r#"{"capacity": 0.4, "for": "100s"}"#), seconds(0));
    assert_eq!(admitted(&mut account, seconds(0)), 24);
    assert_eq!(requests(&mut account, seconds(0)), (36, 24));
    assert_eq!(admitted(&mut account, seconds(50)), 20);
    // It ends at 100 s, whoever calls when: 20 until then, and a second each from then on.
    assert_eq!(admitted(&mut account, seconds(110)), 20 + 10);
    assert_eq!(admitted(&mut account, seconds(1_000)), 60);
}

#[test]
fn others_use_what_is_left_and_headers_show_it() {
    let mut account = account(&limits());
    account.obey(&command(r#"{"external": {"requests_per_minute": 20}}"#), seconds(0));
    assert_eq!(admitted(&mut account, seconds(0)), 60);
    assert_eq!(requests(&mut account, seconds(30)), (20, 40));
    assert_eq!(admitted(&mut account, seconds(30)), 20);
    account.obey(&command(r#"{"external": {"requests_per_minute": 90}}"#), seconds(90));
    assert_eq!(requests(&mut account, seconds(90)), (40, 20));
    assert_eq!(admitted(&mut account, seconds(150)), 10);
    account.obey(&command(r#"{"clear": true}"#), seconds(150));
    assert_eq!(admitted(&mut account, seconds(160)), 10);
}

#[test]
fn a_budget_is_used_up_until_it_is_not() {
    let mut account = account(&limits());
    account.obey(&command(r#"{"exhausted": "spend", "for": "1h"}"#), seconds(0));
    assert_eq!(account.admit(up_to(0), seconds(3_599)), Err(Refused::Budget(Exhausted::Spend)));
    account.admit(up_to(0), seconds(3_600)).unwrap();
}

#[test]
fn a_day_has_as_many_minutes_as_any_other() {
    let amounts = [(Dimension::RequestsPerDay, 1_440)].into_iter().collect();
    let mut account = account(&Limits { amounts, minute: seconds(2), ..limits() });
    assert_eq!(admitted(&mut account, seconds(0)), 1_440);
    assert_eq!(admitted(&mut account, seconds(20)), 10);
}

#[test]
fn a_bucket_of_requests_holds_at_least_one() {
    let mut account = account(&Limits { burst: 0.001, ..limits() });
    assert_eq!(admitted(&mut account, seconds(0)), 1);
    assert_eq!(admitted(&mut account, seconds(10)), 1);
    account.obey(&command(r#"{"capacity": 0}"#), seconds(20));
    assert_eq!(admitted(&mut account, seconds(100)), 0);
}

#[test]
fn commands_that_make_no_sense_are_refused() {
    for text in [
        "",
        "[]",
        r#"{"capacity": 1.5}"#,
        r#"{"capacity": -1}"#,
        r#"{"slow_down": -1}"#,
        r#"{"speed": 1}"#,
        r#"{"outage": {"answer": "404"}}"#,
        r#"{"outage": {"answer": "503", "part": 2}}"#,
        r#"{"for": "long"}"#,
        r#"{"exhausted": "patience"}"#,
        r#"{"external": {"requests": 1}}"#,
        r#"{"external": {"requests_per_minute": -1}}"#,
    ] {
        assert!(Command::read(text).is_err(), "{text}");
    }
}

proptest! {
    /// Whatever is asked, ended and commanded: no window admits more than a burst and what comes back in it.
    #[test]
    fn no_window_admits_more_than_its_share(
        burst in 0.1..2.0_f64,
        calls in prop::collection::vec((0..4_000_u64, 0..1_500_u64, 0.0..1.0_f64), 1..60),
        capacity in prop::option::of((1..40_usize, 0.1..0.9_f64)),
    ) {
        let mut account = account(&Limits { burst, ..limits() });
        let (mut now, mut used) = (Duration::ZERO, Vec::new());
        for (number, (pause, most, part)) in calls.into_iter().enumerate() {
            now += Duration::from_millis(pause);
            if let Some((_, part)) = capacity.filter(|(at, _)| *at == number) {
                account.obey(&command(&format!(r#"{{"capacity": {part}, "for": "7s"}}"#)), now);
            }
            if account.admit(up_to(most), now).is_ok() {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss,
                    reason = "a part of a small number")]
                let output_tokens = (most as f64 * part) as u64;
                account.finish(Need { output_tokens, ..up_to(most) }, now);
                used.push((now, output_tokens));
            }
        }
        for (begin, (since, _)) in used.iter().enumerate() {
            for (end, (until, _)) in used.iter().enumerate().skip(begin) {
                let window = (*until - *since).as_secs_f64();
                let outputs = float(used[begin..=end].iter().map(|(_, output)| output).sum());
                let requests = float(u64::try_from(end - begin + 1).unwrap());
                prop_assert!(requests <= (60.0 * burst).max(1.0) + window + 1e-3, "{requests} in {window} s");
                prop_assert!(outputs <= 6_000.0 * burst + 100.0 * window + 1e-3, "{outputs} in {window} s");
            }
        }
    }
}
