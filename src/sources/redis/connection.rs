//! A connection to one server, on which every answer has an end.

use std::net::IpAddr;
use std::sync::Arc;

use futures_util::stream::{FuturesOrdered, StreamExt};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, Pipeline, RedisConnectionInfo, RedisResult, Value};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::fault::Fault;
use super::meter::{Meter, Metered};

/// Most that the answers to one exchange may cost, however many commands it has.
pub(super) const MOST_ANSWERS: usize = 8 << 20;

/// What a server may send beyond the answers it was asked for, and to commands whose answers have a fixed length.
pub(super) const SMALL: usize = 64 << 10;

/// An open connection. One who asks at a time: what the server may send is allowed with the question.
#[derive(Clone)]
pub(super) struct Connection {
    connection: MultiplexedConnection,
    meter: Arc<Meter>,
    unasked: Unasked,
    peer: IpAddr,
    _driver: Arc<AbortOnDropHandle<()>>,
}

/// What a server may send by itself between two questions: nothing, unless it was told to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unasked {
    /// What may be on its way at a time.
    pub(super) at_once: usize,
    /// What may be taken in beyond that.
    pub(super) in_all: usize,
}

/// What came of an exchange.
pub(super) struct Exchange {
    /// The answers to each group of commands, in order, as far as they came.
    pub(super) answers: Vec<Vec<Value>>,
    /// Why there are no more: the connection is then of no more use.
    pub(super) end: Option<End>,
}

/// Why answers did not come.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum End {
    /// Time was up.
    Late,
    /// The first answer that is missing, or one before it, is longer than all together may be.
    TooLong,
    /// The connection broke.
    Lost(Fault),
}

impl Connection {
    /// Opens it over a stream to `peer`.
    ///
    /// # Errors
    /// When the server does not speak the protocol, or refuses.
    pub(super) async fn open<S>(
        stream: S,
        peer: IpAddr,
        meter: Arc<Meter>,
        redis: &RedisConnectionInfo,
        config: AsyncConnectionConfig,
    ) -> RedisResult<Self>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        meter.allow(SMALL);
        let stream = Metered::new(stream, Arc::clone(&meter));
        let (connection, driver) = MultiplexedConnection::new_with_config(redis, stream, config).await?;
        let driver = Arc::new(AbortOnDropHandle::new(tokio::spawn(driver)));
        Ok(Self { connection, meter, unasked: Unasked::default(), peer, _driver: driver })
    }

    /// The address at the other end.
    pub(super) const fn peer(&self) -> IpAddr {
        self.peer
    }

    /// Lets the server send so much by itself, from the next question on.
    pub(super) const fn expect(&mut self, unasked: Unasked) {
        self.unasked = unasked;
    }

    /// Lets it send `most` in answer to what comes next.
    fn allow(&self, most: usize) {
        let Unasked { at_once, in_all } = self.unasked;
        self.meter.allow(most.saturating_add(at_once));
        self.meter.allow_credit(in_all);
    }

    /// Subscribes to channels.
    ///
    /// # Errors
    /// When it is refused, or the connection breaks.
    pub(super) async fn subscribe(&mut self, channels: &[&[u8]]) -> RedisResult<()> {
        self.allow(confirmations(channels));
        self.connection.subscribe(channels).await
    }

    /// Leaves channels.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(super) async fn unsubscribe(&mut self, channels: &[&[u8]]) -> RedisResult<()> {
        self.allow(confirmations(channels));
        self.connection.unsubscribe(channels).await
    }

    /// One command, and its answer, which may be an error and cost at most `most`.
    ///
    /// # Errors
    /// When the connection breaks, or the answer is longer.
    pub(super) async fn ask(&mut self, command: &Cmd, most: usize) -> Result<Value, Fault> {
        self.allow(most);
        let answer = self.connection.send_packed_command(command).await;
        answer.map_err(|error| self.fault(Fault::of_connection(&error)))
    }

    /// Sends groups of commands in one round trip, and takes their answers, all of which may cost `most`, until `by`.
    pub(super) async fn exchange(&mut self, groups: &[Pipeline], most: usize, by: Instant) -> Exchange {
        self.allow(most.min(MOST_ANSWERS));
        self.meter.send_together(groups.iter().map(|group| group.get_packed_pipeline().len()).sum());
        let mut questions: FuturesOrdered<_> = groups
            .iter()
            .map(|group| {
                let mut connection = self.connection.clone();
                async move { connection.send_packed_commands(group, 0, group.len()).await }
            })
            .collect();
        let mut answers = Vec::with_capacity(groups.len());
        let end = loop {
            match timeout_at(by, questions.next()).await {
                Ok(Some(Ok(answer))) => answers.push(answer),
                Ok(None) => break None,
                Err(_) => break Some(End::Late),
                Ok(Some(Err(_))) if self.meter.is_exceeded() => break Some(End::TooLong),
                Ok(Some(Err(error))) => break Some(End::Lost(Fault::of_connection(&error))),
            }
        };
        Exchange { answers, end }
    }

    /// The fault, in other words where the server has sent more than was asked for.
    pub(super) fn fault(&self, fault: Fault) -> Fault {
        if self.meter.is_exceeded() { Fault::too_long() } else { fault }
    }
}

/// What the server says to each channel: a word, the name and a number.
fn confirmations(channels: &[&[u8]]) -> usize {
    const BESIDE_THE_NAME: usize = 512;
    channels.iter().fold(SMALL, |sum, channel| sum.saturating_add(channel.len() + BESIDE_THE_NAME))
}

impl Exchange {
    /// The answers to all commands, one after the other.
    ///
    /// # Errors
    /// When one is missing.
    pub(super) fn all(self) -> Result<Vec<Value>, Fault> {
        match self.end {
            None => Ok(self.answers.into_iter().flatten().collect()),
            Some(end) => Err(end.into()),
        }
    }
}

impl From<End> for Fault {
    fn from(end: End) -> Self {
        match end {
            End::Late => Self::Late,
            End::TooLong => Self::too_long(),
            End::Lost(fault) => fault,
        }
    }
}
