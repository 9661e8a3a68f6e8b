//! The connection to Redis: opened when it is needed, given up after any fault, and never waited for in vain.

use std::sync::{Mutex, PoisonError};

use agent_scaler::secret::Revealed;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, FromRedisValue, IntoConnectionInfo as _, RedisConnectionInfo,
    RedisError, TlsCertificates,
};
use tokio::time::{Instant, timeout_at};

use crate::settings;

/// Why Redis could not be asked. Names no credential.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// No answer in time: nobody knows whether it was done.
    #[error("no answer from Redis in time")]
    Deadline,
    /// A file is missing that a connection needs.
    #[error("cannot read a file of the Redis connection")]
    File(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No connection, or it broke.
    #[error("Redis cannot be reached")]
    Unreachable(#[source] RedisError),
    /// Redis says no: to us, to the command, or to everybody.
    #[error("Redis refuses")]
    Refused(#[source] RedisError),
    /// An answer that makes no sense.
    #[error("Redis holds something else than expected: {0}")]
    Nonsense(&'static str),
}

impl Fault {
    /// A word for metrics.
    pub(crate) const fn label(&self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::File(_) | Self::Unreachable(_) => "unreachable",
            Self::Refused(_) => "refused",
            Self::Nonsense(_) => "unexpected",
        }
    }

    fn of(error: RedisError) -> Self {
        let kind = error.kind();
        if kind == ErrorKind::UnexpectedReturnType {
            Self::Nonsense("an answer of another type")
        } else if matches!(
            kind,
            ErrorKind::Server(_) | ErrorKind::AuthenticationFailed | ErrorKind::Extension
        ) {
            Self::Refused(error)
        } else {
            Self::Unreachable(error)
        }
    }
}

/// One connection for all requests: their commands go out together, and their answers come in order.
pub(crate) struct Link {
    redis: settings::Redis,
    open: Mutex<Slot>,
    /// Held while one request connects for all.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Slot {
    /// How many connections there have been.
    number: u64,
    connection: Option<MultiplexedConnection>,
}

impl Link {
    /// A link that connects when it is first used.
    pub(crate) fn new(redis: settings::Redis) -> Self {
        Self { redis, open: Mutex::default(), connecting: tokio::sync::Mutex::default() }
    }

    /// Asks Redis, within the time that the settings give it, connecting included.
    ///
    /// # Errors
    /// When there is no answer, or it is no. After [`Fault::Deadline`] and [`Fault::Unreachable`] the command
    /// may have been carried out nevertheless.
    pub(crate) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Fault> {
        let end = Instant::now() + self.redis.timeout;
        let (number, mut connection) =
            timeout_at(end, self.connection()).await.map_err(|_| Fault::Deadline)??;
        let answer = timeout_at(end, command.query_async(&mut connection)).await;
        let answer = answer.map_err(|_| Fault::Deadline).and_then(|answer| answer.map_err(Fault::of));
        if answer.is_err() {
            // It may hang, or have ended, or lead to a server that has become a replica. A new one costs little.
            self.give_up(number);
        }
        answer
    }

    /// The open connection and its number; opens one if there is none.
    async fn connection(&self) -> Result<(u64, MultiplexedConnection), Fault> {
        if let Some(open) = self.open() {
            return Ok(open);
        }
        let _one_at_a_time = self.connecting.lock().await;
        if let Some(open) = self.open() {
            return Ok(open);
        }
        let connection = connect(&self.redis).await?;
        let mut slot = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        slot.number += 1;
        slot.connection = Some(connection.clone());
        Ok((slot.number, connection))
    }

    fn open(&self) -> Option<(u64, MultiplexedConnection)> {
        let slot = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        slot.connection.clone().map(|connection| (slot.number, connection))
    }

    /// Uses connection `number` no more. Requests that still wait on it go on doing so.
    fn give_up(&self, number: u64) {
        let mut slot = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.number == number {
            slot.connection = None;
        }
    }
}

async fn connect(redis: &settings::Redis) -> Result<MultiplexedConnection, Fault> {
    let (password, ca) = read_files(redis.clone()).await?;
    // Without naming our library, which no ACL can allow by itself before Redis 7.2.
    let mut login = RedisConnectionInfo::default().set_skip_set_lib_name();
    let info = redis.url.as_str().into_connection_info().map_err(Fault::Unreachable)?;
    login = login.set_db(info.redis_settings().db());
    if let Some(username) = &redis.username {
        login = login.set_username(username);
    }
    if let Some(password) = &password {
        login = login.set_password(password.expose());
    }
    let info = info.set_redis_settings(login);
    let client = if redis.url.starts_with("rediss:") {
        redis::Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert: ca })
    } else {
        redis::Client::open(info)
    };
    // The caller has the deadline.
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    client.map_err(Fault::of)?.get_multiplexed_async_connection_with_config(&config).await.map_err(Fault::of)
}

/// Reads the files anew, because they may have been rotated.
async fn read_files(redis: settings::Redis) -> Result<(Option<Revealed>, Option<Vec<u8>>), Fault> {
    let read = tokio::task::spawn_blocking(move || {
        let password = redis.password.map(|secret| secret.reveal()).transpose();
        let ca = redis.ca.map(std::fs::read).transpose();
        Ok((
            password.map_err(|error| Fault::File(error.into()))?,
            ca.map_err(|error| Fault::File(error.into()))?,
        ))
    });
    read.await.map_err(|error| Fault::File(error.into()))?
}
