//! Tokens for `OAUTHBEARER`: out of a file that somebody keeps fresh, or from where tokens are had.

use std::error::Error;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::OAuthToken;
use serde::Deserialize;
use tokio::runtime;

use crate::secret::Secret;
use crate::sources::kafka::fault::{Fault, shortened};
use crate::sources::kafka::login::{Login, TokenEndpoint};
use crate::sources::kafka::opening::reveal;

/// How long a token is used that does not say when it ends.
const UNSAID_LIFE: Duration = Duration::from_secs(300);

/// Longest time after which a file is read anew, though its token has not ended: it may have been replaced.
const LONGEST_OF_FILE: Duration = Duration::from_secs(300);

/// Longest wait for a token.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Longest answer of a token endpoint that is read, in bytes. A token takes some thousands.
const LONGEST_ANSWER: usize = 1 << 18;

/// The tokens of one connection, which all its clients share.
pub(super) struct Tokens {
    from: From,
    last: Mutex<Option<Token>>,
}

enum From {
    Secret(Secret),
    Endpoint { at: TokenEndpoint, http: reqwest::Client, runtime: runtime::Handle },
}

/// A token, with times in milliseconds since the Unix epoch.
#[derive(Clone)]
struct Token {
    text: String,
    had: i64,
    ends: i64,
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    expires_in: Option<u64>,
}

#[derive(Deserialize)]
struct Refused {
    error: String,
}

#[derive(Deserialize)]
struct Claims {
    sub: Option<String>,
    exp: Option<f64>,
}

impl Tokens {
    /// Where the tokens of `login` are had; `None` if it needs none. Must be called within a runtime.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub(super) fn of(login: &Login) -> Result<Option<Self>, Fault> {
        let from = match login {
            Login::Password { .. } => return Ok(None),
            Login::Token(secret) => From::Secret(secret.clone()),
            Login::Tokens(at) => {
                From::Endpoint { at: at.clone(), http: http()?, runtime: runtime::Handle::current() }
            }
        };
        Ok(Some(Self { from, last: Mutex::default() }))
    }

    /// A token that is good for a while. Blocks, and must not be called on a thread of the runtime.
    ///
    /// # Errors
    /// When none can be had.
    pub(super) fn fresh(&self) -> Result<OAuthToken, Fault> {
        // Whoever comes second waits for the token of the first.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = now();
        let token = match last.take().filter(|token| now < token.had + (token.ends - token.had) / 2) {
            Some(token) => token,
            None => self.from.have(now)?,
        };
        *last = Some(token.clone());
        let principal_name = claims(&token.text).and_then(|claims| claims.sub);
        Ok(OAuthToken {
            principal_name: principal_name.unwrap_or_else(|| "agent-scaler".to_owned()),
            lifetime_ms: token.ends,
            token: token.text,
        })
    }
}

impl From {
    fn have(&self, now: i64) -> Result<Token, Fault> {
        match self {
            Self::Secret(secret) => {
                let text = reveal(secret)?.expose().to_owned();
                let longest = now + millis(LONGEST_OF_FILE);
                let ends = claims(&text).and_then(|claims| claims.exp).map_or(longest, seconds_to_millis);
                if ends <= now {
                    return Err(Fault::NotLetIn(format!("the token of {secret:?} has ended")));
                }
                Ok(Token { text, had: now, ends: ends.min(longest) })
            }
            Self::Endpoint { at, http, runtime } => {
                let Answer { access_token, expires_in } = runtime.block_on(ask(at, http))?;
                let life = expires_in.map_or(UNSAID_LIFE, Duration::from_secs);
                Ok(Token { text: access_token, had: now, ends: now + millis(life) })
            }
        }
    }
}

fn http() -> Result<reqwest::Client, Fault> {
    // The client takes the process's. One that is there already stays.
    drop(rustls::crypto::ring::default_provider().install_default());
    let client =
        reqwest::Client::builder().timeout(ANSWER_WITHIN).redirect(reqwest::redirect::Policy::none());
    client.build().map_err(|error| Fault::Lost(format!("no HTTP client: {error}")))
}

/// Asks for a token in the way that every server of OAuth 2 knows.
async fn ask(at: &TokenEndpoint, http: &reqwest::Client) -> Result<Answer, Fault> {
    let TokenEndpoint { url, client_id, client_secret, scope } = at;
    let secret = reveal(client_secret)?;
    let mut form = vec![("grant_type", "client_credentials")];
    form.extend(scope.as_deref().map(|scope| ("scope", scope)));
    let request = http.post(url.clone()).basic_auth(client_id, Some(secret.expose())).form(&form);
    let lost = |error: &reqwest::Error| {
        let mut cause: &dyn Error = error;
        while let Some(next) = cause.source() {
            cause = next;
        }
        let why =
            if error.is_timeout() { "no answer in time".to_owned() } else { shortened(&cause.to_string()) };
        Fault::Lost(format!("{url}: {why}"))
    };
    let mut response = request.send().await.map_err(|error| lost(&error))?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| lost(&error))? {
        body.extend_from_slice(&chunk);
        if body.len() > LONGEST_ANSWER {
            return Err(Fault::Lost(format!("{url}: the answer is too long for a token")));
        }
    }
    if !status.is_success() {
        // Only the word that the standard has for it: the rest may repeat what we sent.
        let word = serde_json::from_slice::<Refused>(&body).map(|refused| shortened(&refused.error));
        let word = word.map(|word| format!(": {word}")).unwrap_or_default();
        let message = format!("{url} gives no token ({}{word})", status.as_u16());
        return Err(if status.is_client_error() { Fault::NotLetIn(message) } else { Fault::Lost(message) });
    }
    serde_json::from_slice(&body)
        .map_err(|_| Fault::Lost(format!("{url}: the answer holds no `access_token`")))
}

/// What a token says of itself, if it is a JWT. Only the broker checks whether it is true.
fn claims(token: &str) -> Option<Claims> {
    let payload = token.split('.').nth(1)?;
    serde_json::from_slice(&decoded(payload)?).ok()
}

/// Base64 as JWTs have it: for URLs, without padding.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let (mut bits, mut held, mut bytes) = (0_u32, 0, Vec::new());
    for letter in text.bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xffff;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from((bits >> held) & 0xff).ok()?);
        }
    }
    Some(bytes)
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 2)
}

#[expect(clippy::cast_possible_truncation, reason = "a float that is too large becomes the largest number")]
fn seconds_to_millis(seconds: f64) -> i64 {
    (seconds * 1_000.0) as i64
}

/// The machine's wall time, by which the library is told when a token ends.
#[expect(clippy::disallowed_methods, reason = "tokens end by the wall clock, and the library asks for that")]
fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    millis(since.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jwt_says_who_and_until_when_and_other_tokens_say_nothing() {
        let token = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJjYXJvbCIsImV4cCI6MTgwMDAwMDAwMH0.";
        let Some(Claims { sub, exp }) = claims(token) else { panic!("a JWT") };
        assert_eq!((sub.as_deref(), exp), (Some("carol"), Some(1_800_000_000.0)));
        for opaque in ["", "abc", "a.b.c", "a.!!.c", "a.bm9uc2Vuc2U.c"] {
            assert!(claims(opaque).is_none(), "{opaque}");
        }
    }
}
