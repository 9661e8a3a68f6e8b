//! What one request costs the others.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const BATCH: Duration = Duration::from_secs(4);

#[tokio::test(start_paused = true)]
async fn fifty_that_hang_leave_all_others_their_answers_within_the_batch() {
    let mut round = Round::new(8, 32);
    for batch in 0..3 {
        let keys: Vec<String> =
            (0..50).flat_map(|number| [format!("hang-{number}"), format!("quick-{number}")]).collect();
        let (answers, took) = ask(&mut round, keys).await;
        let is_answered = |name: &str| {
            answers.iter().filter(|(key, answer)| key.starts_with(name) && answer.is_some()).count()
        };
        assert_eq!((is_answered("quick"), is_answered("hang")), (50, 0), "{batch}");
        assert!(took < BATCH, "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_comes_before_a_thousand_that_were_not() {
    let mut round = Round::new(8, 32);
    let quick: Vec<String> = (0..20).map(|number| format!("quick-{number}")).collect();
    ask(&mut round, quick.clone()).await;
    let keys = (0..1_000).map(|number| format!("hang-{number}")).chain(quick).collect();
    let (answers, took) = ask(&mut round, keys).await;
    assert_eq!(answers.values().flatten().count(), 20);
    assert!(took < BATCH, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn whoever_there_was_no_time_for_has_a_turn_in_a_later_batch() {
    let mut round = Round::new(8, 8);
    let keys: Vec<String> = (0..60).map(|number| format!("slow-{number}")).collect();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..10 {
        let (answers, _) = ask(&mut round, keys.clone()).await;
        seen.extend(answers.into_iter().filter(|(_, answer)| answer.is_some()).map(|(key, _)| key));
    }
    assert_eq!(seen.len(), 60);
}

#[tokio::test(start_paused = true)]
async fn one_that_answers_late_is_waited_for_as_long_as_there_is_time() {
    let mut round = Round::new(8, 32);
    let (answers, _) = ask(&mut round, vec!["late-1".to_owned()]).await;
    assert_eq!(answers["late-1"], Some(()));
}

#[tokio::test(start_paused = true)]
async fn no_more_are_made_at_a_time_than_there_are_places() {
    let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let mut round = Round::new(8, 32);
    let answers = round.ask((0..40).collect(), |_: usize| async {
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(9)).await;
        now.fetch_sub(1, Ordering::SeqCst);
    });
    assert_eq!((answers.await.len(), most.into_inner()), (40, 8));
}

#[tokio::test(start_paused = true)]
async fn what_nobody_asks_for_is_forgotten() {
    let mut round = Round::new(8, 32);
    ask(&mut round, vec!["quick-1".to_owned(), "hang-1".to_owned()]).await;
    assert_eq!(round.past.len(), 2);
    tokio::time::advance(REMEMBERED).await;
    ask(&mut round, vec!["quick-2".to_owned()]).await;
    assert_eq!(round.past.len(), 1);
}

/// The answers of one batch, and how long they took.
async fn ask(round: &mut Round, keys: Vec<String>) -> (BTreeMap<String, Option<()>>, Duration) {
    let started = Instant::now();
    round.answer_by(started + BATCH);
    let answers = round.ask(keys, |key| async move {
        let time = match key.split('-').next() {
            Some("quick") => Duration::from_millis(5),
            Some("slow") => Duration::from_secs(1),
            Some("late") => Duration::from_millis(2_500),
            _ => return pending().await,
        };
        tokio::time::sleep(time).await;
    });
    (answers.await, started.elapsed())
}
