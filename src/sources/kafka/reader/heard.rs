//! What the library says by itself: why connections fail, and that it wants another token.

use std::error::Error;
use std::sync::Arc;

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::sync::watch;

use super::token::Tokens;
use crate::sources::kafka::fault::{Fault, shortened};

/// How the library begins to say that we gave it no token: why, we have said already.
const NO_TOKEN: &str = "Failed to acquire SASL OAUTHBEARER token";

/// What one client of the library has said.
pub(super) struct Heard {
    trouble: watch::Sender<Trouble>,
    tokens: Option<Arc<Tokens>>,
    /// Whose offsets the client asks for, if it asks for any.
    group: Option<Arc<str>>,
}

/// What is wrong with the connections of a client.
#[derive(Clone, Debug, Default)]
pub(super) struct Trouble {
    /// With one of them, which may be mended without anybody noticing.
    last: Option<String>,
    /// With all of them: no answer will come.
    whole: Option<Fault>,
    /// Whether there has been an answer once.
    is_settled: bool,
}

impl Heard {
    pub(super) fn new(tokens: Option<Arc<Tokens>>, group: Option<Arc<str>>) -> Self {
        Self { trouble: watch::Sender::default(), tokens, group }
    }

    /// What is said from now on. Until a first answer all that was said counts, because the library begins to
    /// connect before anybody asks; later a whole trouble may be over, of which nothing is said.
    pub(super) fn listen(&self) -> watch::Receiver<Trouble> {
        self.trouble.send_modify(|trouble| {
            if trouble.is_settled {
                trouble.whole = None;
            }
        });
        self.trouble.subscribe()
    }

    /// An answer has come: what was said before is over.
    pub(super) fn forget(&self) {
        self.trouble.send_replace(Trouble { is_settled: true, ..Trouble::default() });
    }

    fn fail(&self, fault: Fault) {
        self.trouble.send_modify(|trouble| trouble.whole = Some(fault));
    }
}

impl Trouble {
    /// The fault after which no answer will come, if there is one.
    pub(super) fn whole(&self) -> Option<Fault> {
        self.whole.clone()
    }

    /// A fault that the library put into few words, with what it said before.
    pub(super) fn explain(&self, fault: Fault) -> Fault {
        match (fault, &self.last) {
            (Fault::Late | Fault::Lost(_), Some(reason)) => Fault::Lost(reason.clone()),
            (fault, _) => fault,
        }
    }
}

/// Waits for a fault after which no answer will come.
pub(super) async fn whole(mut heard: watch::Receiver<Trouble>) -> Fault {
    match heard.wait_for(|trouble| trouble.whole.is_some()).await.map(|trouble| trouble.whole()) {
        Ok(Some(fault)) => fault,
        // Nobody is left to say anything.
        Ok(None) | Err(_) => std::future::pending().await,
    }
}

impl ClientContext for Heard {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    /// Every line is about one attempt of many. What matters is in the errors.
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, line: &str) {
        tracing::debug!(facility, line, "Kafka's client library said something.");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let said = plainly(reason);
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed) => {
                if !reason.contains(NO_TOKEN) {
                    self.fail(Fault::NotLetIn(said));
                }
            }
            // The library goes on to look for the group's broker until the time is over.
            Some(code @ RDKafkaErrorCode::GroupAuthorizationFailed) => {
                self.fail(Fault::of_group(self.group.as_deref().unwrap_or_default(), code));
            }
            Some(RDKafkaErrorCode::SSL) => {
                let untrusted = said.contains("certificate verify failed");
                let hint = if untrusted { "; `ca` names the authority to trust" } else { "" };
                self.fail(Fault::Lost(format!("{said}{hint}")));
            }
            Some(RDKafkaErrorCode::AllBrokersDown) => self.trouble.send_modify(|trouble| {
                let reason = trouble.last.clone().unwrap_or_else(|| "no broker can be reached".to_owned());
                trouble.whole.get_or_insert(Fault::Lost(reason));
            }),
            _ => self.trouble.send_modify(|trouble| trouble.last = Some(said)),
        }
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        let Some(tokens) = &self.tokens else { return Err("the connection has no token".into()) };
        tokens.fresh().map_err(|fault| {
            let reason = fault.to_string();
            self.trouble.send_modify(|trouble| {
                // The former token may be good for a while.
                trouble.last = Some(reason.clone());
                if !trouble.is_settled {
                    trouble.whole = Some(fault);
                }
            });
            reason.into()
        })
    }
}

impl ConsumerContext for Heard {}

/// What the library said of a broker, without how it counts its attempts.
fn plainly(reason: &str) -> String {
    let (_, said) = reason.split_once("://").unwrap_or(("", reason));
    let said = said.split(" (after ").next().unwrap_or_default();
    let said = said.split(": (errno").next().unwrap_or_default();
    // How long an answer may be is our choice, and nobody else's.
    let said = said.split(": increase receive.message.max.bytes").next().unwrap_or_default();
    shortened(&said.replace("/bootstrap: ", ": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_library_says_is_cut_to_what_matters() {
        for (said, plain) in [
            (
                "sasl_ssl://127.0.0.1:19111/bootstrap: SASL authentication error: Authentication failed \
                 (after 313ms in state AUTH_REQ)",
                "127.0.0.1:19111: SASL authentication error: Authentication failed",
            ),
            (
                "127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state \
                 CONNECT)",
                "127.0.0.1:1: Connect to ipv4#127.0.0.1:1 failed: Connection refused",
            ),
        ] {
            assert_eq!(plainly(said), plain);
        }
        assert_eq!(plainly(&"x".repeat(5_000)).len(), 200);
    }
}
