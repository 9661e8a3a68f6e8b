//! What a limit leaves to whom, computed by hand.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::engine::limit::Headroom;
use crate::engine::limit::policy::UsePerTask;
use crate::engine::minutes::Used;
use crate::engine::signals::{Worker, WorkerState};

const MINUTE: Duration = Duration::from_secs(60);
const NOW: Timestamp = Timestamp::from_millis(100 * 60_000 + 30_000);

#[test]
fn sixty_requests_by_weight_one_to_three_are_three_slots_and_nine_at_five_a_slot() {
    let workers = [pacing(5), pacing(5)];
    let claims = [claim("flood", 1.0, Some(200.0), &workers[0]), claim("calm", 3.0, Some(50.0), &workers[1])];
    let (shares, state) = divided(&requests(60.0), &claims);
    let caps: Vec<&Cap> = shares.iter().map(cap).collect();
    assert_eq!((caps[0].replicas, caps[1].replicas), (3, 9));
    assert_eq!((rate(caps[0]), rate(caps[1])), (15.0, 45.0));
    assert_eq!((caps[0].dimension, caps[0].per_slot, caps[0].k), (Dimension::RequestsPerMinute, 5.0, 1.0));
    assert_eq!((caps[0].twice, caps[1].twice), (6, 18));
    assert!(state.paced);
}

#[test]
fn what_a_neighbour_does_not_want_is_not_lost() {
    let workers = [pacing(5), pacing(5)];
    let claims = [claim("flood", 1.0, Some(200.0), &workers[0]), claim("calm", 3.0, Some(2.0), &workers[1])];
    let (shares, _) = divided(&requests(60.0), &claims);
    assert_eq!((cap(&shares[0]).replicas, cap(&shares[1]).replicas), (10, 2));
    assert_eq!((cap(&shares[0]).fair, cap(&shares[1]).fair), (3, 9));
}

#[test]
fn an_inactive_neighbour_has_no_part() {
    let workers = [pacing(5), pacing(5)];
    let claims = [claim("flood", 1.0, Some(200.0), &workers[0]), claim("calm", 3.0, None, &workers[1])];
    let (shares, _) = divided(&requests(60.0), &claims);
    assert_eq!(
        (cap(&shares[0]).replicas, &shares[1].bound),
        (12, &Bound::Open(Cause::new("it is not active")))
    );
}

#[test]
fn triggers_of_one_namespace_divide_its_weight() {
    let workers = [pacing(5), pacing(5), pacing(5)];
    let mut claims = [
        claim("a", 1.0, Some(99.0), &workers[0]),
        claim("b", 1.0, Some(99.0), &workers[1]),
        claim("c", 1.0, Some(99.0), &workers[2]),
    ];
    (claims[0].namespace, claims[1].namespace) = ("acme", "acme");
    (claims[0].weight, claims[1].weight) = (1.0, 2.0);
    let (shares, _) = divided(&requests(90.0), &claims);
    let slots: Vec<f64> = shares.iter().map(|share| cap(share).slots.round()).collect();
    assert_eq!(slots, [3.0, 6.0, 9.0]);
}

#[test]
fn until_it_is_measured_use_is_what_the_configuration_says_and_then_the_mean_of_the_others() {
    let silent = Workers { minute: 100, ..Workers::default() };
    let mut unmeasured = claim("new", 1.0, Some(99.0), &silent);
    unmeasured.service = Some(MINUTE * 2);
    let policy = LimitPolicy {
        use_per_task: UsePerTask { requests: Some(12.0), ..UsePerTask::default() },
        ..requests(60.0)
    };
    let (shares, _) = divided(&policy, &[unmeasured]);
    // 12 requests in two minutes are six a minute; who does not say that it paces itself gets 92 %.
    assert_eq!((cap(&shares[0]).per_slot, cap(&shares[0]).quality), (6.0, Quality::Estimated));
    assert!((cap(&shares[0]).slots - 0.92 * 60.0 / 6.0).abs() < 1e-9);

    let measured = pacing(4);
    let (shares, _) = divided(&policy, &[unmeasured, claim("old", 1.0, Some(99.0), &measured)]);
    assert_eq!((cap(&shares[0]).per_slot, cap(&shares[0]).quality), (4.0, Quality::Estimated));
}

#[test]
fn without_an_amount_or_a_use_there_is_no_cap_and_a_reason() {
    let silent = Workers::default();
    let open =
        |policy: &LimitPolicy| divided(policy, &[claim("a", 1.0, Some(9.0), &silent)]).0[0].bound.clone();
    let Bound::Open(cause) = open(&LimitPolicy::default()) else { panic!("a cap out of nothing") };
    assert!(cause.to_string().contains("no limit is known"), "{cause}");
    let Bound::Open(cause) = open(&requests(60.0)) else { panic!("a cap out of nothing") };
    assert!(cause.to_string().contains("usePerTask"), "{cause}");
}

#[test]
fn the_providers_own_words_make_a_limit_and_lower_a_configured_one_and_a_zero_says_nothing() {
    let workers = pacing(5);
    let said = |limit| LimitSeen {
        headroom: [(Dimension::RequestsPerMinute, Headroom { limit, seen: NOW, ..Headroom::default() })]
            .into(),
        ..LimitSeen::default()
    };
    let slots = |policy: &LimitPolicy, limit| {
        cap(&with(policy, said(limit), &[claim("a", 1.0, Some(99.0), &workers)]).0[0]).slots.round()
    };
    assert_eq!(slots(&LimitPolicy::default(), Some(30)), 6.0);
    assert_eq!(slots(&requests(60.0), Some(30)), 6.0);
    assert_eq!(slots(&requests(60.0), Some(600)), 12.0);
    assert_eq!(slots(&requests(60.0), Some(0)), 12.0);
    assert_eq!(slots(&requests(60.0), None), 12.0);
}

#[test]
fn a_daily_budget_feeds_no_more_tasks_than_it_can_finish_and_blocks_when_it_is_used_up() {
    let workers = pacing(5);
    let policy =
        LimitPolicy { amounts: [(Dimension::RequestsPerDay, 1_000.0)].into(), ..LimitPolicy::default() };
    let mut claim = claim("a", 1.0, Some(99.0), &workers);
    claim.service = Some(MINUTE * 4);
    let used = |requests| LimitSeen {
        used_today: [(Dimension::RequestsPerDay, requests)].into(),
        ..LimitSeen::default()
    };
    // A task takes 5 · 4 = 20 requests, and 100 are left.
    assert_eq!(cap(&with(&policy, used(900), &[claim]).0[0]).slots.round(), 5.0);
    let (shares, _) = with(&policy, used(1_000), &[claim]);
    let midnight = Timestamp::from_millis(86_400_000);
    assert_eq!(shares[0].blocked, Some(Block { until: midnight, why: crate::engine::limit::Why::Quota }));
    assert_eq!(cap(&shares[0]).replicas, 1);
    let unknown = with(&policy, LimitSeen::default(), &[claim]).0;
    assert!(matches!(unknown[0].bound, Bound::Open(_)), "{unknown:?}");
}

#[test]
fn concurrency_counts_the_part_of_the_time_that_a_slot_calls() {
    let mut workers = pacing(5);
    let half: Vec<Arc<Minute>> = workers
        .minutes
        .iter()
        .map(|minute| Arc::new(Minute { calling: minute.busy / 2, ..minute.as_ref().clone() }))
        .collect();
    workers.minutes = half;
    let policy = LimitPolicy { amounts: [(Dimension::Concurrency, 8.0)].into(), ..LimitPolicy::default() };
    let (shares, _) = divided(&policy, &[claim("a", 1.0, Some(99.0), &workers)]);
    assert_eq!(cap(&shares[0]).slots.round(), 16.0);
}

#[test]
fn what_bursts_of_workers_that_are_gone_earned_does_not_hold_up_the_next() {
    let mut workers = pacing(2);
    let refused = |minute: &Arc<Minute>| Arc::new(Minute { refused: 2, ..minute.as_ref().clone() });
    workers.minutes = workers.minutes.iter().map(refused).collect();
    let k = |workers: &Workers| divided(&requests(60.0), &[claim("a", 1.0, Some(9.0), workers)]).1.k;
    assert!(k(&workers) < 1.0, "pacing workers earn no 9 %");
    workers.alive.clear();
    assert_eq!(k(&workers), 1.0);
}

#[test]
fn use_by_others_is_taken_off_the_room() {
    let mut workers = pacing(4);
    let with_headers = |minute: &Arc<Minute>| {
        let at = Timestamp::from_millis(minute.number * 60_000);
        let remaining = [(Dimension::RequestsPerMinute, (20, at))].into();
        Arc::new(Minute { remaining, ..minute.as_ref().clone() })
    };
    // Ten busy slots use 40 of 60 a minute, and the bucket does not fill: 20 go to somebody else.
    workers.minutes = workers.minutes.iter().map(with_headers).collect();
    let (shares, state) = divided(&requests(60.0), &[claim("a", 1.0, Some(99.0), &workers)]);
    assert_eq!(state.dimensions[0].others, 20.0);
    assert_eq!((cap(&shares[0]).room, cap(&shares[0]).slots), (40.0, 10.0));
}

#[test]
fn little_headroom_is_scarce_until_the_bucket_has_refilled() {
    let workers = pacing(5);
    let said = |remaining, ago| LimitSeen {
        headroom: [(
            Dimension::RequestsPerMinute,
            Headroom {
                limit: Some(60),
                remaining: Some(remaining),
                reset: None,
                seen: NOW - Duration::from_secs(ago),
            },
        )]
        .into(),
        ..LimitSeen::default()
    };
    let scarce =
        |seen| cap(&with(&requests(60.0), seen, &[claim("a", 1.0, Some(9.0), &workers)]).0[0]).scarce;
    assert_eq!([said(11, 0), said(12, 0), said(3, 8), said(3, 10)].map(scarce), [true, false, true, false]);
}

#[test]
fn replicas_have_room_for_the_slots_with_less_than_one_to_spare() {
    let workers = [pacing(5), pacing(5)];
    let mut claims = [claim("a", 1.0, Some(99.0), &workers[0]), claim("b", 1.0, Some(99.0), &workers[1])];
    claims.iter_mut().for_each(|claim| claim.tasks_per_replica = NonZeroU32::new(4).unwrap());
    // 50 requests feed ten slots, five each: three replicas of four, not four of them.
    let (shares, _) = divided(&requests(50.0), &claims);
    assert_eq!(shares.iter().map(|share| cap(share).replicas).sum::<u32>(), 3);
}

proptest! {
    #[test]
    fn caps_are_at_least_one_and_buy_what_was_admitted(
        wants in prop::collection::vec((0.1..300.0_f64, 0.1..9.0_f64, 1..20_u32), 1..8), amount in 1.0..2_000.0_f64,
    ) {
        let workers = pacing(5);
        let claims: Vec<Claim<'_>> = wants.iter().map(|(slots, weight, c)| Claim {
            tasks_per_replica: NonZeroU32::new(*c).unwrap(),
            ..claim("x", *weight, Some(*slots), &workers)
        }).collect();
        let (shares, state) = divided(&requests(amount), &claims);
        let caps: Vec<&Cap> = shares.iter().map(cap).collect();
        prop_assert!(caps.iter().all(|cap| cap.replicas >= 1));
        let admitted: f64 = caps.iter().map(|cap| cap.slots).sum();
        prop_assert!((admitted * 5.0 - state.dimensions[0].room).abs() < 1e-6 * amount, "all of it is divided");
        let bought: f64 = caps.iter().zip(&wants).map(|(cap, want)| f64::from(cap.replicas * want.2)).sum();
        prop_assert!(bought >= admitted - 1e-3, "{bought} {admitted}");
        let rates: f64 = caps.iter().map(|cap| rate(cap)).sum();
        prop_assert!((rates - state.dimensions[0].room).abs() < 1e-6 * amount, "limiters may use all of it");
    }

    #[test]
    fn the_same_claims_give_the_same_shares(slots in prop::collection::vec(0.1..300.0_f64, 1..8)) {
        let workers = pacing(5);
        let claims: Vec<Claim<'_>> =
            slots.iter().map(|slots| claim("x", 1.0, Some(*slots), &workers)).collect();
        prop_assert_eq!(divided(&requests(60.0), &claims).0, divided(&requests(60.0), &claims).0);
    }
}

pub(super) fn divided(policy: &LimitPolicy, claims: &[Claim<'_>]) -> (Vec<Share>, LimitState) {
    with(policy, LimitSeen::default(), claims)
}

fn with(policy: &LimitPolicy, seen: LimitSeen, claims: &[Claim<'_>]) -> (Vec<Share>, LimitState) {
    let seen = Signal::Seen { value: seen, at: NOW, quality: Quality::Measured };
    share(&"prod".into(), policy, &LimitSignals { seen, minute: MINUTE }, claims, NOW)
}

pub(super) fn requests(amount: f64) -> LimitPolicy {
    LimitPolicy {
        amounts: BTreeMap::from([(Dimension::RequestsPerMinute, amount)]),
        ..LimitPolicy::default()
    }
}

pub(super) fn claim<'a>(name: &'a str, weight: f64, slots: Option<f64>, workers: &'a Workers) -> Claim<'a> {
    Claim {
        slots,
        tasks_per_replica: NonZeroU32::MIN,
        namespace: name,
        namespace_weight: weight,
        weight: 1.0,
        scope: name,
        workers: Some(workers),
        service: None,
    }
}

/// Ten minutes of ten busy slots that pace themselves and make so many requests a slot-minute.
pub(super) fn pacing(requests: u64) -> Workers {
    let minute = |number| {
        let used = Used { requests: requests * 10, ..Used::default() };
        let throttled = Some(Duration::ZERO);
        Arc::new(Minute { number, used, busy: MINUTE * 10, throttled, ..Minute::default() })
    };
    let alive = vec![Worker {
        state: WorkerState::Busy,
        slots: 10,
        running: 10,
        oldest: None,
        progress: None,
        paces: true,
        poison: 0,
    }];
    let minutes = (90..100).map(minute).collect();
    Workers { leases: 10, alive, minutes, minute: 100, ..Workers::default() }
}

pub(super) fn cap(share: &Share) -> &Cap {
    match &share.bound {
        Bound::At(cap) => cap,
        Bound::Open(cause) => panic!("no cap: {cause}"),
    }
}

fn rate(cap: &Cap) -> f64 {
    cap.allowance.rates.get(&Dimension::RequestsPerMinute).copied().unwrap_or(0.0)
}
