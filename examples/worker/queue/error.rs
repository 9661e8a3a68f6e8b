//! What a queue says when it cannot do what it is asked. Nothing of it is ever an empty queue.

use redis::{ErrorKind, RedisError};

/// Why a queue was not reached, or refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The Redis that holds the queue, or the records of its tasks.
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// The server that holds the messages, where that is not Redis.
    #[error("{0}")]
    Broker(String),
    /// The server is there, and the queue is not.
    #[error("{0}")]
    Gone(String),
}

impl Error {
    /// Whether Redis does not take our password.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Redis(error) if error.kind() == ErrorKind::AuthenticationFailed)
    }

    /// Whether the queue has to be opened anew: a Redis that lost its data has lost the group with it.
    pub(crate) fn is_gone(&self) -> bool {
        match self {
            Self::Redis(error) => error.code() == Some("NOGROUP"),
            Self::Gone(_) => true,
            Self::Broker(_) => false,
        }
    }
}
