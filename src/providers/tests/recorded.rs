//! Answers of 30 providers and gateways, recorded, documented or made by analogy with those, each with what is right: its
//! kind, its wait, whether others go on, and the headroom in its headers.
//!
//! The times are moved to answers that came at noon of 20 August 2026. A provider that has a label of its own is read
//! under it and as `openai`, because many talk to it by that name.

use serde::Deserialize;
use serde_json::Value;

use super::*;

#[derive(Deserialize)]
struct Recorded {
    name: String,
    provider: String,
    status: u16,
    headers: BTreeMap<String, String>,
    body: Value,
    right: Right,
}

/// A dimension, its limit, what is left of it, and the seconds to the reset.
type Seen = (String, Option<u64>, Option<u64>, Option<f64>);

#[derive(Deserialize)]
struct Right {
    kind: Option<String>,
    /// Other kinds that are accepted, where sources disagree.
    #[serde(default)]
    also: Vec<String>,
    seconds: Option<f64>,
    until: Option<String>,
    others_go_on: bool,
    headroom: Option<Vec<Seen>>,
}

/// The labels under which to read an answer of this name.
fn labels(recorded: &Recorded) -> Vec<Provider> {
    let own = recorded.name.split('-').next().unwrap();
    let own = match own {
        "litellm" | "kong" | "apim" => Some(Provider::Gateway),
        own => own.parse().ok(),
    };
    let given = recorded.provider.parse().unwrap();
    std::iter::once(given).chain(own.filter(|own| *own != given)).collect()
}

/// Every difference between the reading and the table; empty if there is none.
fn faults(recorded: &Recorded, provider: Provider) -> Vec<String> {
    let Recorded { status, headers, body, right, .. } = recorded;
    let body = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
    let headers = headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let said = Answer { status: *status, headers, body }.said_to(provider);
    let mut faults = Vec::new();
    let kind = said.refusal.map(|refusal| format!("{refusal:?}").to_lowercase());
    if kind != right.kind && !kind.as_ref().is_some_and(|kind| right.also.contains(kind)) {
        faults.push(format!("kind {kind:?} instead of {:?}", right.kind));
    }
    let until = right.until.as_deref().map(|until| Timestamp::of_rfc3339(until).unwrap());
    let wait = until.map(|until| until.since(AT).as_secs_f64()).or(right.seconds);
    let named = said.wait.map(|wait| wait.as_secs_f64());
    if !is_near(named, wait) {
        faults.push(format!("wait {named:?} instead of {wait:?}"));
    }
    if said.others_go_on != right.others_go_on {
        faults.push(format!("others go on: {}", said.others_go_on));
    }
    let is_budget = matches!(said.refusal, Some(Refusal::Quota | Refusal::Spend));
    let lasts = wait.or(is_budget.then_some(UNTIL_NEXT_TRY.as_secs_f64())).filter(|_| !right.others_go_on);
    let blocked = said.seen.blocked.map(|block| block.until.since(AT).as_secs_f64());
    if !is_near(blocked, lasts) {
        faults.push(format!("blocked for {blocked:?} instead of {lasts:?}"));
    }
    let known = said.seen.headroom.iter().map(|(dimension, seen)| {
        let reset = seen.reset.map(|reset| reset.since(AT).as_secs_f64());
        (dimension.label().to_owned(), seen.limit, seen.remaining, reset)
    });
    let mut known: Vec<_> = known.collect();
    let mut headroom = right.headroom.clone().unwrap_or_default();
    // Dimensions that this crate does not have.
    headroom.retain(|(dimension, ..)| Dimension::of_label(dimension).is_some());
    known.sort_by(|a, b| a.0.cmp(&b.0));
    headroom.sort_by(|a, b| a.0.cmp(&b.0));
    let are_alike = known.len() == headroom.len()
        && known
            .iter()
            .zip(&headroom)
            .all(|(a, b)| (&a.0, a.1, a.2) == (&b.0, b.1, b.2) && is_near(a.3, b.3));
    if right.headroom.is_some() && !are_alike {
        faults.push(format!("headroom {known:?} instead of {headroom:?}"));
    }
    faults
}

/// Whether two times are equal within the rounding of providers: whole seconds, or a fraction of a percent.
fn is_near(one: Option<f64>, other: Option<f64>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => (one - other).abs() <= 0.002 + other * 0.002,
        (one, other) => one.is_none() && other.is_none(),
    }
}

#[test]
fn every_recorded_answer_has_the_reading_of_the_table() {
    let recorded: Vec<Recorded> = serde_json::from_str(include_str!("answers.json")).unwrap();
    let mut wrong = Vec::new();
    for recorded in &recorded {
        for provider in labels(recorded) {
            let faults = faults(recorded, provider);
            if !faults.is_empty() {
                wrong.push(format!("{} as {provider}: {}", recorded.name, faults.join("; ")));
            }
        }
    }
    assert!(recorded.len() >= 410, "{} answers", recorded.len());
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), recorded.len(), wrong.join("\n"));
}
