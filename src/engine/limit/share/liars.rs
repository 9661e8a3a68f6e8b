//! What the reports of one namespace cannot do to its neighbours.

use proptest::prelude::*;

use super::tests::{cap, claim, divided, pacing, requests};
use super::*;
use crate::engine::minutes::Used;
use crate::engine::signals::{Worker, WorkerState};

const MINUTE: Duration = Duration::from_secs(60);

/// Ten minutes of what a liar reports.
fn lies(minute: impl Fn(u64) -> Minute) -> Workers {
    let minutes = (90..100).map(|number| Arc::new(Minute { number, ..minute(number) })).collect();
    Workers { minutes, ..pacing(5) }
}

/// What is left to a neighbour of 60 requests a minute, of which half is its part: six slots of five a minute.
fn slots_beside(liar: &Workers) -> f64 {
    let honest = pacing(5);
    let claims = [claim("liar", 1.0, Some(500.0), liar), claim("calm", 1.0, Some(50.0), &honest)];
    cap(&divided(&requests(60.0), &claims).0[1]).slots
}

#[test]
fn refusals_that_only_one_namespace_reports_cut_nobody() {
    let liar = lies(|_| Minute { refused: 1_000_000_000, ..Minute::default() });
    assert_eq!(slots_beside(&liar), 6.0);
}

#[test]
fn use_by_others_that_only_one_namespace_reports_takes_no_room() {
    let liar = lies(|number| {
        let left = if number % 2 == 0 { 1_000_000_000 } else { 0 };
        let at = Timestamp::from_millis(number * 60_000);
        Minute { remaining: [(Dimension::RequestsPerMinute, (left, at))].into(), ..Minute::default() }
    });
    assert_eq!(slots_beside(&liar), 6.0);
}

#[test]
fn the_use_of_one_namespace_does_not_stand_for_that_of_an_unmeasured_neighbour_beyond_the_file() {
    let liar = lies(|_| Minute {
        used: Used { requests: 1_000_000_000, ..Used::default() },
        busy: MINUTE,
        throttled: Some(Duration::ZERO),
        ..Minute::default()
    });
    let silent = Workers { minute: 100, ..Workers::default() };
    let mut unmeasured = claim("new", 1.0, Some(99.0), &silent);
    unmeasured.service = Some(MINUTE);
    let mut policy = requests(600.0);
    policy.use_per_task.requests = Some(5.0);
    let (shares, _) = divided(&policy, &[claim("liar", 1.0, Some(500.0), &liar), unmeasured]);
    // Four times as much as the file says, and no more.
    assert_eq!(cap(&shares[1]).per_slot, 20.0);

    // Somebody else who was measured outvotes it.
    let honest = pacing(6);
    let claims = [claim("liar", 1.0, None, &liar), claim("calm", 1.0, None, &honest), unmeasured];
    assert_eq!(cap(&divided(&requests(600.0), &claims).0[2]).per_slot, 6.0);
}

#[test]
fn a_full_limit_that_only_one_namespace_reports_does_not_replace_what_a_neighbour_measured() {
    let liar = lies(|_| Minute {
        used: Used { requests: 1_000_000, ..Used::default() },
        busy: MINUTE,
        ..Minute::default()
    });
    let mut honest = pacing(5);
    let silent = |minute: &Arc<Minute>| Arc::new(Minute { throttled: None, ..minute.as_ref().clone() });
    honest.minutes = honest.minutes.iter().map(silent).collect();
    let claims = [claim("liar", 1.0, Some(500.0), &liar), claim("calm", 1.0, Some(50.0), &honest)];
    let per_slot = |claims: &[Claim<'_>]| cap(&divided(&requests(600.0), claims).0[1]).per_slot;
    assert_eq!(per_slot(&claims), 5.0);
    // Even where the liar's own use is measured.
    let throttled = lies(|_| Minute {
        used: Used { requests: 1_000_000, ..Used::default() },
        busy: MINUTE,
        throttled: Some(Duration::ZERO),
        ..Minute::default()
    });
    assert_eq!(per_slot(&[claim("liar", 1.0, Some(500.0), &throttled), claims[1]]), 20.0);
}

fn minute() -> impl Strategy<Value = Minute> {
    let count = || prop_oneof![Just(0), 1..2_000_u64, Just(1_000_000_000_000)];
    let left = || (count(), prop_oneof![Just(0), 5_400_000..6_000_000_u64, Just(u64::MAX)]);
    let times = (count(), prop::option::of(count()), count());
    (count(), count(), count(), count(), left(), times).prop_map(
        |(requests, input_tokens, output_tokens, refused, (left, at), (busy, throttled, calling))| Minute {
            used: Used { requests, input_tokens, output_tokens },
            refused,
            busy: Duration::from_millis(busy),
            throttled: throttled.map(Duration::from_millis),
            calling: Duration::from_millis(calling),
            remaining: [(Dimension::RequestsPerMinute, (left, Timestamp::from_millis(at)))].into(),
            ..Minute::default()
        },
    )
}

proptest! {
    #[test]
    fn whatever_one_namespace_reports_leaves_a_neighbour_its_part(
        minutes in prop::collection::vec(minute(), 10), paces in any::<bool>(), scopes in 1..4_usize,
        running in any::<u32>(), wanted in prop_oneof![Just(None), (0.0..1e18_f64).prop_map(Some)],
    ) {
        let mut liar = lies(|number| minutes[(number % 10) as usize].clone());
        let worker = Worker { running, paces, slots: running, state: WorkerState::Busy, ..liar.alive[0] };
        (liar.alive, liar.leases) = (vec![worker], u64::MAX);
        let honest = pacing(5);
        let names = ["a", "b", "c"];
        let mut claims: Vec<Claim<'_>> = names[..scopes].iter().map(|scope| Claim {
            namespace: "liar",
            ..claim(scope, 1.0, wanted, &liar)
        }).collect();
        claims.push(claim("calm", 1.0, Some(50.0), &honest));
        let (shares, state) = divided(&requests(60.0), &claims);
        // Its part is six slots; workers of others that do not pace themselves cost it 8 %.
        let share = cap(&shares[scopes]);
        prop_assert!(share.slots >= 0.92 * 6.0 - 1e-6, "{share:?} {state:?}");
        prop_assert!(share.replicas >= 5 && share.fair >= 5, "{share:?}");
        prop_assert!(share.allowance.rates.values().all(|rate| (0.0..=60.0 + 1e-6).contains(rate)));
    }
}
