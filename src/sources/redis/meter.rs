//! Counts what a server sends before it is decoded: one that sends more than was asked for loses its connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use redis::Value;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What each line costs beside its bytes: a decoded value takes some fifty bytes however short its text is, and an
/// array of a million empty ones is four megabytes on the wire.
const LINE: usize = 32;

/// What a server may still send on one connection, in bytes and lines.
#[derive(Debug, Default)]
pub(super) struct Meter {
    left: AtomicUsize,
    /// How much may be credited yet.
    credit: AtomicUsize,
    is_exceeded: AtomicBool,
    /// Bytes of the present questions that have not come yet: what has come waits for them.
    unsent: AtomicUsize,
}

impl Meter {
    /// Lets the server send `most` from now on, whatever it was allowed before.
    pub(super) fn allow(&self, most: usize) {
        self.left.store(most, Ordering::Relaxed);
        self.credit.store(0, Ordering::Relaxed);
        self.unsent.store(0, Ordering::Relaxed);
    }

    /// Holds what is written until it is so many bytes: the codec would send questions in pieces of 8 KiB, and the
    /// server answer the first of them before it has seen the last.
    pub(super) fn send_together(&self, bytes: usize) {
        self.unsent.store(bytes, Ordering::Relaxed);
    }

    /// Lets what is [taken in](Self::take_in) be sent on top, up to `most`: so a message is bounded in its length, and
    /// all messages in their number.
    pub(super) fn allow_credit(&self, most: usize) {
        self.credit.store(most, Ordering::Relaxed);
    }

    /// A message of this cost was decoded and is kept nowhere.
    pub(super) fn take_in(&self, cost: usize) {
        let lowered = |credit: usize| Some(credit.saturating_sub(cost));
        let before = self.credit.fetch_update(Ordering::Relaxed, Ordering::Relaxed, lowered);
        self.left.fetch_add(before.unwrap_or_default().min(cost), Ordering::Relaxed);
    }

    /// Whether the server has sent more than it was allowed.
    pub(super) fn is_exceeded(&self) -> bool {
        self.is_exceeded.load(Ordering::Relaxed)
    }

    /// Counts what came in. Gives how much of it may be decoded.
    fn count(&self, bytes: &[u8]) -> usize {
        let most = self.left.load(Ordering::Relaxed);
        let mut cost = 0;
        for (index, byte) in bytes.iter().enumerate() {
            cost += if *byte == b'\n' { 1 + LINE } else { 1 };
            if cost > most {
                self.left.store(0, Ordering::Relaxed);
                self.is_exceeded.store(true, Ordering::Relaxed);
                return index;
            }
        }
        self.left.fetch_sub(cost, Ordering::Relaxed);
        bytes.len()
    }
}

/// What an answer has cost on its way, within a few bytes.
pub(super) fn cost(answer: &Value) -> usize {
    // A type, a length, and the ends of two lines.
    const SCALAR: usize = 8 + 2 * LINE;
    match answer {
        Value::BulkString(bytes) => bytes.len() + SCALAR,
        Value::SimpleString(text) => text.len() + SCALAR,
        Value::Array(items) | Value::Set(items) | Value::Push { data: items, .. } => {
            items.iter().map(cost).fold(SCALAR, usize::saturating_add)
        }
        Value::Map(pairs) => pairs
            .iter()
            .map(|(key, value)| cost(key).saturating_add(cost(value)))
            .fold(SCALAR, usize::saturating_add),
        Value::VerbatimString { text, .. } => text.len() + SCALAR,
        Value::ServerError(error) => error.details().map_or(0, str::len) + SCALAR,
        Value::Attribute { data, attributes: _ } => cost(data).saturating_add(SCALAR),
        Value::Nil
        | Value::Int(_)
        | Value::Okay
        | Value::Double(_)
        | Value::Boolean(_)
        | Value::BigNumber(_)
        | _ => SCALAR,
    }
}

/// A stream of which everything that comes in is counted.
pub(super) struct Metered<S> {
    stream: S,
    meter: Arc<Meter>,
    /// What was written and not sent yet.
    held: BytesMut,
}

impl<S> Metered<S> {
    /// Counts what comes out of `stream`.
    pub(super) fn new(stream: S, meter: Arc<Meter>) -> Self {
        Self { stream, meter, held: BytesMut::new() }
    }
}

fn exceeded() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "more than was asked for")
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.meter.is_exceeded() {
            return Poll::Ready(Err(exceeded()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let allowed = self.meter.count(buffer.filled().get(before..).unwrap_or_default());
        // What was allowed is decoded; where that is nothing, it must not look like the end.
        buffer.set_filled(before + allowed);
        if allowed == 0 && self.meter.is_exceeded() {
            return Poll::Ready(Err(exceeded()));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> Metered<S> {
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(context, &self.held))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held.advance(sent);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let unsent = self.meter.unsent.load(Ordering::Relaxed);
        if unsent > 0 {
            self.held.extend_from_slice(bytes);
            self.meter.unsent.store(unsent.saturating_sub(bytes.len()), Ordering::Relaxed);
            return Poll::Ready(Ok(bytes.len()));
        }
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.meter.unsent.load(Ordering::Relaxed) > 0 {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn what_is_allowed_is_read_and_nothing_behind_it() {
        let meter = Arc::<Meter>::default();
        meter.allow(20 + LINE);
        let mut stream = Metered::new(&b"+PONG\r\n+and more than that"[..], Arc::clone(&meter));
        let mut read = Vec::new();
        assert!(stream.read_to_end(&mut read).await.is_err());
        assert_eq!(read, b"+PONG\r\n+and more tha");
        assert!(meter.is_exceeded());
    }

    #[tokio::test]
    async fn lines_cost_more_than_their_bytes() {
        let meter = Arc::<Meter>::default();
        meter.allow(1_000);
        let mut stream = Metered::new(&[b'\n'; 1_000][..], Arc::clone(&meter));
        let mut read = Vec::new();
        assert!(stream.read_to_end(&mut read).await.is_err());
        assert_eq!(read.len(), 1_000 / (1 + LINE));
    }

    #[test]
    fn what_was_taken_in_may_be_sent_again_but_not_without_end() {
        let meter = Meter::default();
        meter.allow(100);
        meter.allow_credit(150);
        for _ in 0..2 {
            assert_eq!(meter.count(&[b'x'; 100]), 100);
            meter.take_in(100);
        }
        assert_eq!(meter.count(&[b'x'; 100]), 50);
        assert!(meter.is_exceeded());
    }

    #[test]
    fn an_answer_costs_about_what_it_took_on_its_way() {
        for text in ["$5\r\nhello\r\n", "*2\r\n:1\r\n$-1\r\n", "*1\r\n*1\r\n+OK\r\n", "-ERR no\r\n"] {
            let lines = text.matches('\n').count();
            let on_its_way = text.len() + lines * LINE;
            let cost = cost(&redis::parse_redis_value(text.as_bytes()).unwrap());
            assert!(on_its_way <= cost && cost <= 3 * on_its_way, "{text:?}: {cost} {on_its_way}");
        }
    }
}
