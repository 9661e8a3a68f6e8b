//! What one slot of each claim on a limit uses: measured where it can be, and else what is known of others like it.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use crate::engine::limit::Dimension;
use crate::engine::limit::consumption::UsePerSlot;
use crate::engine::limit::evidence::Evidence;
use crate::engine::limit::policy::LimitPolicy;
use crate::engine::limit::share::Claim;

/// The use of one slot of each claim: measured, else the mean of its own namespace, else what is typical of the other
/// namespaces, else configured, else what its own workers used while calls had to wait.
///
/// Other namespaces are believed within four times of those last two.
pub(super) fn uses(
    policy: &LimitPolicy,
    claims: &[Claim<'_>],
    length: Duration,
    evidence: &BTreeMap<&str, Rc<Evidence<'_>>>,
) -> Vec<Option<UsePerSlot>> {
    let measured: Vec<Option<UsePerSlot>> = claims
        .iter()
        .map(|claim| {
            let evidence = evidence.get(claim.namespace)?;
            UsePerSlot::measured(&claim.workers?.minutes, length, |number| evidence.is_free(number))
        })
        .collect();
    let mut of_namespace: BTreeMap<&str, Vec<UsePerSlot>> = BTreeMap::new();
    for (claim, measured) in claims.iter().zip(&measured) {
        of_namespace.entry(claim.namespace).or_default().extend(*measured);
    }
    let means: BTreeMap<&str, UsePerSlot> = of_namespace
        .into_iter()
        .filter_map(|(namespace, measured)| Some((namespace, UsePerSlot::mean(&measured)?)))
        .collect();
    let typical = UsePerSlot::typical(&means.values().copied().collect::<Vec<_>>());
    let counts_calls = policy.amounts.contains_key(&Dimension::Concurrency);
    let others = |claim: &Claim<'_>| {
        let configured = UsePerSlot::configured(policy.use_per_task, claim.service, length);
        let jammed = || UsePerSlot::measured(&claim.workers?.minutes, length, |_| true);
        let known = configured.or_else(jammed);
        typical.map(|typical| known.map_or(typical, |known| typical.near(known))).or(known)
    };
    let of = |(claim, measured): (&Claim<'_>, Option<UsePerSlot>)| {
        measured
            .or_else(|| means.get(claim.namespace).copied())
            .or_else(|| others(claim))
            .or_else(|| counts_calls.then(UsePerSlot::of_calls_only))
    };
    claims.iter().zip(measured).map(of).collect()
}
