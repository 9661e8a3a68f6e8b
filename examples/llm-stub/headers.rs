//! The rate-limit headers of each provider, as it writes them.

use std::time::Duration;

use agent_scaler::engine::limit::Dimension;
use agent_scaler::timestamp::Timestamp;

use crate::account::Shown;
use crate::settings::Style;

/// Headers of an answer that cost `tokens`.
pub(crate) fn rate_limits(
    style: Style,
    shown: &[Shown],
    tokens: u64,
    now: Timestamp,
) -> Vec<(String, String)> {
    match style {
        Style::Anthropic => anthropic(shown, now),
        Style::OpenAi => {
            let requests = of(shown, Dimension::RequestsPerMinute).or(of(shown, Dimension::RequestsPerDay));
            openai(requests, of(shown, Dimension::TokensPerMinute), go_duration)
        }
        Style::Groq => {
            let requests = of(shown, Dimension::RequestsPerDay);
            openai(requests, of(shown, Dimension::TokensPerMinute), go_duration)
        }
        Style::AzureOpenAi => azure_openai(shown),
        Style::Mistral => mistral(shown, tokens),
        Style::None => Vec::new(),
    }
}

/// The headers that say how long to wait.
pub(crate) fn retry_after(style: Style, wait: Option<Duration>) -> Vec<(String, String)> {
    let Some(wait) = wait else { return Vec::new() };
    // At least a second, as whole numbers go: zero would mean that there is no need to wait.
    let seconds = || ("retry-after".to_owned(), seconds(wait).max(1).to_string());
    let millis = || ("retry-after-ms".to_owned(), millis(wait).max(1).to_string());
    match style {
        Style::Anthropic => vec![seconds()],
        Style::OpenAi | Style::AzureOpenAi => vec![seconds(), millis()],
        Style::Groq => vec![("retry-after".to_owned(), format!("{:.3}", wait.as_secs_f64()))],
        Style::Mistral | Style::None => Vec::new(),
    }
}

/// A duration as Go prints it, to the millisecond.
pub(crate) fn go_duration(duration: Duration) -> String {
    let millis = millis(duration);
    let (minutes, millis) = (millis / 60_000, millis % 60_000);
    let (hours, minutes) = (minutes / 60, minutes % 60);
    let seconds = format!("{}.{:03}", millis / 1_000, millis % 1_000);
    let seconds = seconds.trim_end_matches('0').trim_end_matches('.');
    match (hours, minutes, millis) {
        (0, 0, 1..1_000) => format!("{millis}ms"),
        (0, 0, _) => format!("{seconds}s"),
        (0, ..) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// Anthropic's names; resets in whole seconds of the clock.
fn anthropic(shown: &[Shown], now: Timestamp) -> Vec<(String, String)> {
    let (input, output) =
        (of(shown, Dimension::InputTokensPerMinute), of(shown, Dimension::OutputTokensPerMinute));
    // Where there is no limit on the sum, the sum is shown.
    let sum = input.zip(output).map(|(input, output)| Shown {
        dimension: Dimension::TokensPerMinute,
        limit: input.limit + output.limit,
        remaining: input.remaining + output.remaining,
        reset: input.reset.max(output.reset),
    });
    let words = [
        ("requests", of(shown, Dimension::RequestsPerMinute)),
        ("input-tokens", input),
        ("output-tokens", output),
        ("tokens", of(shown, Dimension::TokensPerMinute).or(sum)),
    ];
    let mut headers = Vec::new();
    for (word, shown) in words {
        let Some(Shown { limit, remaining, reset, .. }) = shown else { continue };
        let remaining = if word == "requests" { remaining } else { rounded(remaining, limit) };
        let reset = (now + reset).as_millis().div_ceil(1_000) * 1_000;
        let reset = Timestamp::from_millis(reset).to_string().replace(".000Z", "Z");
        for (part, value) in
            [("limit", limit.to_string()), ("remaining", remaining.to_string()), ("reset", reset)]
        {
            headers.push((format!("anthropic-ratelimit-{word}-{part}"), value));
        }
    }
    headers
}

/// Tokens to the nearest thousand. Not where the limit is far below those of real accounts, as in tests: there
/// the rounding would be all that is seen.
const fn rounded(tokens: u64, limit: u64) -> u64 {
    if limit < 100_000 { tokens } else { (tokens + 500) / 1_000 * 1_000 }
}

fn openai(
    requests: Option<Shown>,
    tokens: Option<Shown>,
    reset: impl Fn(Duration) -> String,
) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    for (word, shown) in [("requests", requests), ("tokens", tokens)] {
        let Some(shown) = shown else { continue };
        headers.push((format!("x-ratelimit-limit-{word}"), shown.limit.to_string()));
        headers.push((format!("x-ratelimit-remaining-{word}"), shown.remaining.to_string()));
        headers.push((format!("x-ratelimit-reset-{word}"), reset(shown.reset)));
    }
    headers
}

fn azure_openai(shown: &[Shown]) -> Vec<(String, String)> {
    let (requests, tokens) = (of(shown, Dimension::RequestsPerMinute), of(shown, Dimension::TokensPerMinute));
    let mut headers = openai(requests, tokens, |reset| seconds(reset).to_string());
    for (word, shown) in [("requests", requests), ("tokens", tokens)] {
        if shown.is_some() {
            headers.push((format!("x-ratelimit-renewalperiod-{word}"), "60".to_owned()));
        }
    }
    headers
}

fn mistral(shown: &[Shown], tokens: u64) -> Vec<(String, String)> {
    let words = [("req-minute", Dimension::RequestsPerMinute), ("tokens-minute", Dimension::TokensPerMinute)];
    let mut headers = vec![("x-ratelimit-tokens-query-cost".to_owned(), tokens.to_string())];
    for (word, dimension) in words {
        let Some(shown) = of(shown, dimension) else { continue };
        headers.push((format!("x-ratelimit-limit-{word}"), shown.limit.to_string()));
        headers.push((format!("x-ratelimit-remaining-{word}"), shown.remaining.to_string()));
    }
    headers
}

fn of(shown: &[Shown], dimension: Dimension) -> Option<Shown> {
    shown.iter().find(|shown| shown.dimension == dimension).copied()
}

/// Whole seconds, rounded up.
fn seconds(duration: Duration) -> u64 {
    millis(duration).div_ceil(1_000)
}

/// Whole milliseconds, rounded up.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for (millis, text) in [
            (0, "0s"),
            (120, "120ms"),
            (1_000, "1s"),
            (8_640, "8.64s"),
            (179_560, "2m59.56s"),
            (360_000, "6m0s"),
            (86_400_000, "24h0m0s"),
        ] {
            assert_eq!(go_duration(Duration::from_millis(millis)), text);
        }
    }
}
