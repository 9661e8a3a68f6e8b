//! One client of the library: questions to it block, so they are asked on threads that may.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use tokio::time::Instant;

use super::heard::{self, Heard};
use super::token::Tokens;
use crate::sources::kafka::fault::{Fault, shortened};

/// A client that subscribes to nothing.
pub(super) type Asker = BaseConsumer<Heard>;

/// How long one poll waits for the library to say something, and so how long an end of ours may take.
const POLL: Duration = Duration::from_millis(200);

/// An open client. Its connections end with it, though not at once.
pub(super) struct Handle {
    /// `None` only while it is dropped.
    asker: Option<Arc<Asker>>,
    is_over: Arc<AtomicBool>,
}

impl Handle {
    /// Opens a client with `config`. Nothing is connected yet. Blocks for some milliseconds.
    ///
    /// # Errors
    /// When the library takes no such configuration.
    pub(super) fn open(
        config: &ClientConfig,
        tokens: Option<Arc<Tokens>>,
        group: Option<Arc<str>>,
    ) -> Result<Self, Fault> {
        let asker: Asker = config.create_with_context(Heard::new(tokens, group)).map_err(|error| {
            // What the library says of a setting may repeat its value, which may be a secret.
            if let KafkaError::ClientConfig(_, _, name, _) = error {
                return Fault::Lost(format!("the client library does not take the setting {name}"));
            }
            Fault::Lost(shortened(&error.to_string()))
        })?;
        let asker = Arc::new(asker);
        let is_over = Arc::new(AtomicBool::new(false));
        let (polled, ends) = (Arc::clone(&asker), Arc::clone(&is_over));
        // Tokens are refreshed only from within a poll, and troubles told only there: also while nobody asks.
        let poller = std::thread::Builder::new().name("kafka".to_owned()).spawn(move || {
            while !ends.load(Ordering::Acquire) {
                // A client that subscribes to nothing gets errors at most, and these are heard by its context.
                drop(polled.poll(POLL));
            }
        });
        poller.map_err(|error| Fault::Lost(format!("no thread can be started: {error}")))?;
        Ok(Self { asker: Some(asker), is_over })
    }

    /// Asks `question`, which is told how long it may block.
    ///
    /// # Errors
    /// When the library says so, no answer has come at `until`, or it is known that none will come.
    pub(super) async fn ask<T, F>(&self, until: Instant, question: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnOnce(&Asker, Duration) -> Result<T, KafkaError> + Send + 'static,
    {
        let Some(asker) = self.asker.clone() else { return Err(Fault::Late.into()) };
        let within = until.saturating_duration_since(Instant::now());
        let troubles = asker.client().context().listen();
        let asking = tokio::task::spawn_blocking(move || {
            let answer = question(&asker, within);
            if answer.is_ok() {
                asker.client().context().forget();
            }
            answer
        });
        let answer = tokio::select! {
            // An answer that is there counts, whatever was said meanwhile.
            biased;
            answer = asking => answer,
            fault = heard::whole(troubles.clone()) => return Err(fault.into()),
            () = tokio::time::sleep_until(until + POLL) => return Err(troubles.borrow().explain(Fault::Late).into()),
        };
        let answer = answer.map_err(|_| Fault::Lost("the question was cut off".to_owned()))?;
        answer.map_err(|error| {
            let trouble = troubles.borrow();
            let fault = trouble.whole().unwrap_or_else(|| trouble.explain(Fault::of(&error)));
            Failure { fault, error: Some(error) }
        })
    }
}

/// Why there is no answer.
pub(super) struct Failure {
    pub(super) fault: Fault,
    /// What the library said itself, if it has said anything.
    pub(super) error: Option<KafkaError>,
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self { fault, error: None }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // The last owner waits for the connections to close, so that must be one of the threads that may block: the
        // poller holds one until it sees that it is over.
        self.asker = None;
        self.is_over.store(true, Ordering::Release);
    }
}
