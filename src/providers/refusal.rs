//! Why a response is not a success: by its status, codes, windows and numbers, and last by its words.

use std::collections::BTreeMap;
use std::time::Duration;

use super::fault::{Fault, Violation};
use super::window::Window;
use super::{Provider, Refusal, Response, headroom, wait};
use crate::engine::limit::Dimension;
use crate::engine::limit::Headroom;

/// The longest wait that a rate may ask for. A bucket of a minute is full again after one minute, or a few
/// where it is overdrawn. A longer wait is a budget's, or an error of the provider.
pub(super) const LONGEST_RATE: Duration = Duration::from_secs(5 * 60);

/// Codes of a request that is too large, under any status.
const TOO_LARGE_CODES: &[&str] =
    &["context_length", "too_large", "too_long", "tokens_limit_reached", "above_max"];

/// Phrases of a request that is too large.
const TOO_LARGE: &[&str] = &[
    "too large",
    "too long",
    "context length",
    "context window",
    "long context",
    "reduce your message",
    "reduce your prompt",
    "reduce the length",
    "must be reduced",
];

/// Codes of money that is used up.
const MONEY_CODES: &[&str] = &[
    "insufficient_quota",
    "exceeded_current_quota",
    "billing",
    "spend_limit",
    "spending",
    "budget",
    "balance",
    "credits",
    "credit_balance",
    "insufficient_funds",
    "payment_required",
    "notpurchased",
    "arrear",
    "overdue",
];

/// Words for money, and words for the lack of something. One clause has to hold both.
const MONEY: &[&str] = &[
    "balance",
    "credit",
    "funds",
    "spending",
    "spend limit",
    "spend cap",
    "budget",
    "billing",
    "invoice",
    "prepayment",
    "prepaid",
    "payment",
    "api usage",
    "key limit",
];
const LACKING: &[&str] = &[
    "insufficient",
    "not enough",
    "deplet",
    "exhaust",
    "exceed",
    "reach",
    "crossed",
    "used all",
    "used up",
    "too low",
    "suspended",
    "to pay ",
    "unpaid",
    "overdue",
    "past due",
    "ran out",
    "run out",
    "out of",
    "has no ",
    "have any",
    "purchased",
    "requires more",
    "to be enabled",
    "must be provided",
    "not enabled",
    "disabled",
    "not active",
    "inactive",
];

/// Codes and phrases of a provider, or of a server behind a gateway, that has no capacity for any request.
const OVERLOAD_CODES: &[&str] = &[
    "overload",
    "capacity",
    "slow_down",
    "queue_exceeded",
    "unavailable",
    "notready",
    "upstream",
    "server_busy",
];
const OVERLOAD: &[&str] = &[
    "overloaded",
    "capacity",
    "high demand",
    "high traffic",
    "high load",
    "heavy load",
    "busy",
    "upstream",
    "provider returned error",
    "shared pool",
    "no deployments available",
    "no healthy",
    "pending requests exceeded",
    "temporarily unavailable",
    "at the moment",
    "currently loading",
];

/// Phrases of an overload that mean it under any status.
const FULL: &[&str] = &["overloaded", "at capacity", "capacity exceeded", "high demand", "high load"];

/// Codes of a limit that is reached, under any status.
const LIMIT_CODES: &[&str] = &[
    "rate_limit",
    "ratelimit",
    "throttl",
    "too_many_requests",
    "toomanyrequests",
    "resource_exhausted",
    "resource-exhausted",
    "quotaexceeded",
    "quota_exceeded",
    "quota_exhausted",
    "usage_limit",
];

/// Headers of Anthropic's fast mode, which has budgets of its own.
const FAST: [&str; 3] =
    ["anthropic-fast-requests", "anthropic-fast-input-tokens", "anthropic-fast-output-tokens"];

/// The class of a refusal, without its end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Verdict {
    pub(super) refusal: Refusal,
    /// Whether other requests under the limit may be sent at once, also while this one waits.
    pub(super) is_alone: bool,
    /// The window of the limit that is reached.
    pub(super) window: Option<Window>,
    /// Whether waiting does not help, because the plan does not include it.
    pub(super) is_endless: bool,
}

impl Verdict {
    const fn of(refusal: Refusal) -> Self {
        Self { refusal, is_alone: matches!(refusal, Refusal::Other), window: None, is_endless: false }
    }

    const fn alone(refusal: Refusal) -> Self {
        Self { is_alone: true, ..Self::of(refusal) }
    }

    /// A limit that counts over `window`: a budget if that is longer than a request can wait.
    const fn counted(window: Option<Window>) -> Self {
        let refusal = match window {
            None | Some(Window::Second | Window::Minute) => Refusal::Rate,
            Some(Window::Hour | Window::Day | Window::Week | Window::Month) => Refusal::Quota,
        };
        Self { window, ..Self::of(refusal) }
    }
}

/// Classifies an error; the most reliable signs come first.
pub(super) fn judge(
    provider: Provider,
    response: &Response<'_>,
    fault: &Fault,
    headroom: &BTreeMap<Dimension, Headroom>,
) -> Verdict {
    if let Some(verdict) = about_this_request(response, fault, headroom) {
        return verdict;
    }
    if is_money(fault) {
        return Verdict::of(Refusal::Spend);
    }
    let is_servers = matches!(fault.status, 498 | 503 | 529);
    if is_servers || fault.has_code(OVERLOAD_CODES) && fault.status != 400 {
        return overload(fault);
    }
    if !is_limit(fault) {
        // A server that counts its own requests answers 500, or sends words without a status in a stream.
        let is_own =
            matches!(fault.status, 0 | 500) && (fault.says(FULL) || fault.says_both(&["limit"], LACKING));
        return if is_own { overload(fault) } else { Verdict::of(Refusal::Other) };
    }
    limit(provider, response, fault, headroom)
}

/// A refusal that does not concern other requests.
fn about_this_request(
    response: &Response<'_>,
    fault: &Fault,
    headroom: &BTreeMap<Dimension, Headroom>,
) -> Option<Verdict> {
    // A limit of zero is a property of the plan and not of this request.
    let limit = fault.number("limit").filter(|limit| *limit > 0);
    let asks_too_much = limit.zip(fault.number("requested")).is_some_and(|(limit, asked)| asked > limit);
    if asks_too_much || fault.status == 413 || fault.has_code(TOO_LARGE_CODES) {
        return Some(Verdict::of(Refusal::Other));
    }
    if fault.says(TOO_LARGE) {
        // Long requests may have their own rate.
        let has_rate = fault.status == 429 && fault.says(&["long context"]) && fault.window().is_some();
        return Some(if has_rate { Verdict::alone(Refusal::Rate) } else { Verdict::of(Refusal::Other) });
    }
    // The queue of batches has its own limit.
    let is_batch = fault.status == 429 && fault.says(&["enqueued", "batch queue", "in_progress batches"]);
    is_batch.then(|| Verdict::alone(Refusal::Rate)).or_else(|| about_fast_mode(response, fault, headroom))
}

/// A refusal of Anthropic's fast mode. Requests of normal speed do not use its budgets.
fn about_fast_mode(
    response: &Response<'_>,
    fault: &Fault,
    headroom: &BTreeMap<Dimension, Headroom>,
) -> Option<Verdict> {
    let says = |part: &str| FAST.iter().any(|name| response.header(&format!("{name}-{part}")) == Some("0"));
    let is_named = fault.says(&["fast mode"]);
    let is_ordinary = headroom.values().any(|seen| seen.remaining == Some(0));
    if fault.status != 429 || is_ordinary {
        return None;
    }
    // The plan has no fast mode, so no request of this speed will ever pass.
    if says("limit") || is_named && fault.number("limit of") == Some(0) {
        return Some(Verdict::of(Refusal::Other));
    }
    (is_named || says("remaining")).then(|| Verdict::alone(Refusal::Rate))
}

fn is_money(fault: &Fault) -> bool {
    // Alibaba's code for tokens per minute is OpenAI's code for money.
    let is_allocated = fault.says(&["allocated quota"]) || fault.has_code(&["allocationquota"]);
    match fault.status {
        402 => true,
        _ if is_allocated => false,
        500.. => fault.has_code(MONEY_CODES),
        _ => fault.has_code(MONEY_CODES) || fault.says_both(MONEY, LACKING),
    }
}

/// The provider has no capacity. A time that it names holds for all requests, unless it refuses only large
/// requests, or one server behind a gateway has no capacity.
fn overload(fault: &Fault) -> Verdict {
    let is_others = fault.has_code(&["no_capacity", "upstream"])
        || fault.says(&["usage size", "upstream", "provider returned error"]);
    Verdict { is_alone: is_others, ..Verdict::of(Refusal::Overload) }
}

/// Whether a limit is the cause.
fn is_limit(fault: &Fault) -> bool {
    let reached = |what: &[&str]| fault.says_both(what, LACKING);
    match fault.status {
        429 => true,
        400 | 401 => fault.has_code(LIMIT_CODES) || reached(&["quota"]),
        403 | 412 => {
            fault.has_code(LIMIT_CODES) || reached(&["quota", "limit", "free allocation", "free tier"])
        }
        // An error inside a success, which has no status.
        0 => fault.has_code(LIMIT_CODES) || reached(&["quota", "rate limit", "free allocation"]),
        _ => fault.has_code(LIMIT_CODES),
    }
}

/// Whether the limit that is reached is a rate or a budget.
fn limit(
    provider: Provider,
    response: &Response<'_>,
    fault: &Fault,
    headroom: &BTreeMap<Dimension, Headroom>,
) -> Verdict {
    let is_zero = fault.number("limit") == Some(0)
        || fault.violations.iter().any(Violation::is_of_zero)
        || headroom::plan_has_none(provider, response);
    if is_zero {
        return Verdict { is_endless: true, ..Verdict::of(Refusal::Quota) };
    }
    let day = headroom::day_used_up(headroom).map(|_| Window::Day);
    let window = fault.window().max(headroom::windows_used_up(response)).max(day);
    if window.is_some() {
        return Verdict::counted(window);
    }
    if wait::subscription(response).is_some() {
        // One model may have its own budget, beside windows that are open.
        let is_open = |window: &str| {
            response.header(&format!("anthropic-ratelimit-unified-{window}-status")) == Some("allowed")
        };
        let is_alone = is_open("5h") && is_open("7d");
        return Verdict { is_alone, ..Verdict::of(Refusal::Quota) };
    }
    let is_coded = fault.has_code(&["servicequota", "usage_limit", "quota_exhausted"]);
    if is_coded {
        return Verdict::of(Refusal::Quota);
    }
    // Without the word `quota`, Google's shared pool is full.
    let is_pool = fault.has_code(&["resource_exhausted"]) && !fault.text().to_lowercase().contains("quota");
    if is_pool || fault.says(OVERLOAD) {
        return overload(fault);
    }
    let asked = wait::asked(response, fault);
    // Sentences about rates use the word `quota` too, and then name a short wait.
    let is_worded = fault.says_both(&["quota", "free allocation", "free tier", "usage limit"], LACKING)
        && !fault.says(&["allocated quota"]);
    let is_short = fault.status == 429 && asked.is_some_and(|asked| asked <= LONGEST_RATE);
    if is_worded && !is_short {
        return Verdict::of(Refusal::Quota);
    }
    // Azure's limits count by the minute, and yet often name a wait of a day.
    let is_azure = provider == Provider::AzureOpenAi || fault.text().contains("Azure");
    let is_long = asked.is_some_and(|asked| asked > LONGEST_RATE) && !is_azure;
    Verdict::of(if is_long { Refusal::Quota } else { Refusal::Rate })
}
