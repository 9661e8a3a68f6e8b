//! What the reports of one namespace say of a limit that others use too: k, and the use by those who do not report.
//!
//! Each namespace is bounded by its own reports alone. What its workers write can be wrong or made up, and then it is
//! the namespace itself that gets less; its neighbours still have what the server's file says.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::limit::Dimension;
use crate::engine::limit::admission::{self, Manners, Past, Refusals};
use crate::engine::limit::consumption::{self, SATURATED};
use crate::engine::limit::share::Claim;
use crate::engine::minutes::Minute;

/// The least part of the largest room of a dimension that a namespace is counted with. Below it nobody is fed a slot,
/// and a division by zero would feed nobody else.
const LEAST_PART: f64 = 1e-6;

/// What is the same for all who share a limit.
pub(super) struct Common<'a> {
    /// The limit's amounts.
    pub(super) amounts: &'a BTreeMap<Dimension, f64>,
    /// The minutes of all workers together.
    pub(super) all: &'a BTreeMap<u64, Minute>,
    /// Number of the minute that has not ended.
    pub(super) present: u64,
    /// Length of a minute.
    pub(super) length: Duration,
    pub(super) manners: Manners,
}

/// What the reports of some workers say.
pub(super) struct Evidence<'a> {
    past: BTreeMap<u64, Past<'a>>,
    ks: BTreeMap<u64, f64>,
    present: u64,
    usable: f64,
    /// k, by their refusals.
    pub(super) k: f64,
    /// Use by others of each rate, by their headers.
    pub(super) others: BTreeMap<Dimension, f64>,
}

impl<'a> Evidence<'a> {
    /// What the `own` minutes of some workers say.
    pub(super) fn of(own: &BTreeMap<u64, Minute>, common: &Common<'a>) -> Self {
        let Common { amounts, all, present, length, manners } = *common;
        let others = |number: u64| -> BTreeMap<Dimension, f64> {
            let rates = amounts.iter().filter(|(dimension, _)| !dimension.is_daily());
            rates
                .map(|(dimension, amount)| {
                    let others = consumption::others(own, all, number, *dimension, *amount, length);
                    (*dimension, others)
                })
                .collect()
        };
        let available = |number: u64| {
            let others = others(number);
            others.into_iter().map(|(dimension, others)| (dimension, amounts[&dimension] - others)).collect()
        };
        let past: BTreeMap<u64, Past<'_>> = all
            .range(..present)
            .map(|(number, minute)| {
                let refusals = own.get(number).map(Refusals::of).unwrap_or_default();
                (*number, Past { minute, refusals, available: available(*number) })
            })
            .collect();
        let ks = admission::fold(&past, present, manners);
        let k = ks.values().next_back().copied().unwrap_or(1.0);
        Self { past, ks, present, usable: manners.usable(), k, others: others(present) }
    }

    /// Whether calls did not have to wait in a minute, as far as can be told.
    pub(super) fn is_free(&self, number: u64) -> bool {
        // A minute that has not ended always looks half empty.
        let number = number.min(self.present.saturating_sub(1));
        let k = self.ks.get(&number).copied().unwrap_or(1.0);
        self.past.get(&number).is_none_or(|past| {
            past.available.iter().all(|(dimension, available)| {
                past.minute.used.of(*dimension).is_none_or(|used| (used as f64) < SATURATED * k * available)
            })
        })
    }

    /// What there is of a rate for all its workers, as far as these can tell.
    pub(super) fn room(&self, dimension: Dimension, amount: f64) -> f64 {
        self.usable * self.k * (amount - self.others.get(&dimension).copied().unwrap_or(0.0))
    }
}

/// The minutes of all workers of a limit together. Two triggers on one scope share its minutes: they count once.
pub(super) fn of_all(claims: &[Claim<'_>]) -> BTreeMap<u64, Minute> {
    consumption::together(scopes(claims.iter()).into_values())
}

/// What the workers of each namespace say.
pub(super) fn of_namespaces<'c, 'a>(
    claims: &[Claim<'c>],
    common: &Common<'a>,
) -> BTreeMap<&'c str, Rc<Evidence<'a>>> {
    let mut of_namespace: BTreeMap<&str, Vec<&Claim<'c>>> = BTreeMap::new();
    for claim in claims {
        of_namespace.entry(claim.namespace).or_default().push(claim);
    }
    // Those that report nothing have the same evidence, which is looked at once however many they are.
    let nothing = Rc::new(Evidence::of(&BTreeMap::new(), common));
    let evidence = |claims: Vec<&Claim<'c>>| {
        let own = consumption::together(scopes(claims.into_iter()).into_values());
        if own.is_empty() { Rc::clone(&nothing) } else { Rc::new(Evidence::of(&own, common)) }
    };
    of_namespace.into_iter().map(|(namespace, claims)| (namespace, evidence(claims))).collect()
}

/// How many times less than the most `room` is.
pub(super) fn times_less(most: f64, room: f64) -> f64 {
    if most > 0.0 { most / room.max(LEAST_PART * most) } else { 1.0 }
}

/// The minutes of each scope, once.
fn scopes<'c: 'i, 'i>(claims: impl Iterator<Item = &'i Claim<'c>>) -> BTreeMap<&'c str, &'c [Arc<Minute>]> {
    claims.filter_map(|claim| Some((claim.scope, claim.workers?.minutes.as_slice()))).collect()
}
