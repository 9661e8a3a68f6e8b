//! Recorded answers of providers, given to real workers: which requests a refusal pauses, and for how long.

use agent_scaler::timestamp::Timestamp;

use super::*;

/// The answers; `HUGE` stands in the request that gets one of them.
const ANSWERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/answers/worker.json");

/// The result of sixty small tasks.
struct Sixty {
    took: Duration,
    throttled: u64,
    refused: u64,
    used: u64,
    is_blocked: bool,
    huge: Option<String>,
}

/// The settings of a worker of that provider, with a limit that is never reached.
fn settings(provider: &str) -> [&str; 8] {
    ["--limit", LIMIT, "--requests-per-minute", "6000", "--slots", "4", "--provider", provider]
}

fn limit() -> String {
    format!("agent-scaler:limit:{{{LIMIT}}}")
}

/// A field of the limit's hash.
fn said(place: &Place, field: &str) -> Option<u64> {
    redis::from_redis_value(place.redis.command(&["HGET", &limit(), field])).unwrap()
}

/// How often a recorded answer was given.
async fn replayed(place: &Place, answer: &str) -> u64 {
    count(&place.counts().await, &["replayed", answer])
}

/// Runs sixty small tasks of two steps with two workers, beside one that always gets `answer` if there is one.
async fn sixty(provider: &str, answer: Option<&str>) -> Sixty {
    let place = Place::new(Kind::Stream, &["--answers", ANSWERS]);
    if let Some(answer) = answer {
        place.control(json!({"replay": {"answer": answer, "if_holds": "HUGE"}})).await;
        place.put("huge", "[steps=1 think=0] HUGE");
    }
    let tasks = ids(60);
    tasks.iter().for_each(|id| place.put(id, "[steps=2 think=0.2 tool=0] go"));
    let began = tokio::time::Instant::now();
    let mut workers = ["first", "second"].map(|name| place.worker(name, &settings(provider)));
    place.all(&tasks, "done").await;
    let took = began.elapsed();
    let is_blocked = said(&place, "blocked_ms").is_some();
    workers.iter_mut().for_each(|worker| worker.leaves(PATIENCE));
    if let Some(answer) = answer {
        assert!(replayed(&place, answer).await >= 1, "{answer}");
    }
    Sixty {
        took,
        throttled: place.reported("throttle_ms"),
        refused: place.reported("r429"),
        used: place.reported("req"),
        is_blocked,
        huge: answer.map(|_| place.field("huge", "status")),
    }
}

/// k follows from `r429` and `req` of the minutes alone: without a refusal it stays where it is.
async fn nobody_else_is_held_up(provider: &str, answer: &str, is_for_good: bool) {
    let (without, with) = (sixty(provider, None).await, sixty(provider, Some(answer)).await);
    let (took, throttled) = (with.took, with.throttled);
    let (before, waited) = (without.took, without.throttled);
    let huge = with.huge.unwrap_or_default();
    #[expect(clippy::print_stdout, reason = "for people")]
    {
        println!(
            "{answer} ({huge}): {took:?} instead of {before:?}, throttled {throttled} instead of {waited} ms"
        );
    }
    // One of the recordings answers the others too, at their first step.
    let used = if answer == "azure-mixed" { 60 } else { 120 };
    assert_eq!((with.refused, with.used, with.is_blocked), (0, used, false), "{answer}");
    if is_for_good {
        assert_eq!(huge, "failed", "{answer}");
    }
    // The one request may wait for as long as it likes, on its own.
    let own = if is_for_good { 0 } else { u64::try_from(took.as_millis()).unwrap() + 2_000 };
    assert!(throttled <= waited + own + 1_000, "{answer}: {throttled} ms throttled instead of {waited}");
    assert!(took <= before + before / 2 + Duration::from_secs(1), "{answer}: {took:?} instead of {before:?}");
}

#[tokio::test]
async fn a_request_that_can_never_pass_fails_and_no_other_waits() {
    for (provider, answer) in [
        ("azure-openai", "azure-content-filter"),
        ("openai", "github-too-large"),
        ("anthropic", "anthropic-long-context"),
        ("groq", "groq-never"),
    ] {
        nobody_else_is_held_up(provider, answer, true).await;
    }
}

#[tokio::test]
async fn a_request_that_alone_is_refused_again_and_again_waits_alone() {
    for (provider, answer) in [("openai", "nvidia-bare"), ("azure-openai", "azure-mixed")] {
        nobody_else_is_held_up(provider, answer, false).await;
    }
}

#[tokio::test]
async fn a_request_for_which_there_is_no_room_at_peak_waits_alone() {
    nobody_else_is_held_up("azure-openai", "azure-peak-load", false).await;
}

/// The first of the next month.
fn next_month() -> Timestamp {
    const DAY: u64 = 86_400_000;
    let today = now_ms() / DAY;
    let days = (1..=31).map(|days| Timestamp::from_millis((today + days) * DAY));
    days.into_iter().find(|day| day.to_string().contains("-01T")).unwrap()
}

#[tokio::test]
async fn a_budget_of_a_month_blocks_until_its_end_and_one_request_of_all_tries_before() {
    let until = next_month();
    let day = until.to_string()[..10].to_owned();
    let body = json!({"type": "error", "error": {"type": "rate_limit_error",
        "message": format!("You will regain access on {day} at 00:00 UTC."),
        "details": {"error_code": "enforced_spend_limit_reached"}}});
    let files = tempfile::tempdir().unwrap();
    let answers = files.path().join("answers.json");
    let month = json!({"month": {"status": 429, "headers": {}, "body": body}});
    std::fs::write(&answers, month.to_string()).unwrap();
    let place = Place::new(Kind::Stream, &["--answers", answers.to_str().unwrap()]);
    place.control(json!({"replay": {"answer": "month"}})).await;
    let tasks = ids(6);
    tasks.iter().for_each(|id| place.put(id, "[steps=1 think=0] go"));
    let settings = ["--limit", LIMIT, "--provider", "anthropic", "--slots", "2"];
    let _workers = ["first", "second", "third"].map(|name| place.worker(name, &settings));
    within(PATIENCE, "a refusal", async || said(&place, "blocked_ms")).await;
    // Requests that were under way are refused too.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let exact = Some(until.as_millis());
    assert_eq!(said(&place, "blocked_ms"), exact);
    let before = replayed(&place, "month").await;
    assert!(before <= 6, "{before}");

    // Five minutes later.
    let long_ago = (now_ms() - 301_000).to_string();
    place.redis.command(&["HSET", &limit(), "blocked_seen", &long_ago]);
    within(PATIENCE, "one that tries", async || (replayed(&place, "month").await > before).then_some(()))
        .await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!((replayed(&place, "month").await, said(&place, "blocked_ms")), (before + 1, exact));
    assert!(said(&place, "blocked_seen").unwrap() > now_ms() - 20_000);
    assert!(tasks.iter().all(|id| matches!(&*place.field(id, "attempts"), "" | "1")));

    // It was paid: the next one that tries lets all others go on.
    place.control(json!({"clear": true})).await;
    place.redis.command(&["HSET", &limit(), "blocked_seen", &long_ago]);
    place.all(&tasks, "done").await;
    assert_eq!(said(&place, "blocked_ms"), None);
}

#[tokio::test]
async fn a_rate_with_an_end_that_is_too_far_ends_within_a_few_windows() {
    // A wait of Azure's minute limit lasts for a minute.
    for (provider, answer, longest) in [("openai", "nvidia-bare", 18), ("azure-openai", "azure-86400", 80)] {
        let place = Place::new(Kind::Stream, &["--answers", ANSWERS]);
        let _workers = ["first", "second", "third"].map(|name| place.worker(name, &settings(provider)));
        place.control(json!({"replay": {"answer": answer}, "for": "4s"})).await;
        let (tasks, began) = (ids(24), tokio::time::Instant::now());
        tasks.iter().for_each(|id| place.put(id, "[steps=1 think=0.1 tool=0] go"));
        within(Duration::from_secs(longest), answer, async || {
            tasks.iter().all(|id| place.field(id, "status") == "done").then_some(())
        })
        .await;
        let (took, refused) = (began.elapsed(), replayed(&place, answer).await);
        // Twelve slots that all tried each time would be refused ten times as often.
        assert!((1..=40).contains(&refused), "{answer}: {refused} in {took:?}");
    }
}

#[tokio::test]
async fn an_error_within_a_success_is_no_use() {
    for (provider, answer) in [("openai", "error-alone-in-200"), ("openrouter", "openrouter-error-in-200")] {
        let place = Place::new(Kind::Stream, &["--answers", ANSWERS]);
        let mut worker = place.worker("first", &settings(provider));
        place.control(json!({"replay": {"answer": answer}, "for": "2s"})).await;
        let tasks = ids(4);
        tasks.iter().for_each(|id| place.put(id, "[steps=1 think=0 tool=0] go"));
        place.all(&tasks, "done").await;
        worker.leaves(PATIENCE);
        assert!(replayed(&place, answer).await >= 1);
        assert_eq!(place.reported("req"), 4, "{answer}");
        assert!(tasks.iter().all(|id| !place.field(id, "result").is_empty()), "{answer}");
    }
}
