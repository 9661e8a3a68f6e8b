//! A socket that counts what the peer sends, reads no faster than calls are begun and answers are taken, and fails
//! when the peer takes nothing for too long.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::connections::Connection;

/// How long a peer may take nothing while there is something to send. A connection that was broken off without a
/// word takes nothing either.
const STALL: Duration = Duration::from_secs(30);

/// What is read before the calls that it belongs to have their turn.
const READ_AT_ONCE: usize = 64 * 1024;

/// A socket of a connection.
pub(super) struct Watched<T> {
    socket: T,
    connection: Arc<Connection>,
    /// What was read without giving way to the calls that it belongs to.
    read_on_end: usize,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<T> Watched<T> {
    pub(super) fn new(socket: T, connection: Arc<Connection>) -> Self {
        Self { socket, connection, read_on_end: 0, stalled: None }
    }

    fn in_time<R>(&mut self, write: Poll<io::Result<R>>, cx: &mut Context<'_>) -> Poll<io::Result<R>> {
        if write.is_ready() {
            self.stalled = None;
            return write;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(STALL)));
        match stalled.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Otherwise answers to what is read would pile up here. The write that waits wakes this task.
        if self.stalled.is_some() {
            return Poll::Pending;
        }
        if !self.connection.may_read(cx) {
            return Poll::Pending;
        }
        if self.read_on_end >= READ_AT_ONCE {
            self.read_on_end = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(cx, buffer);
        let more = buffer.filled().len().saturating_sub(before);
        self.read_on_end = if read.is_ready() { self.read_on_end + more } else { 0 };
        self.connection.received.fetch_add(u64::try_from(more).unwrap_or(u64::MAX), Ordering::Relaxed);
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.in_time(write, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.in_time(write, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flush = Pin::new(&mut self.socket).poll_flush(cx);
        self.in_time(flush, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shutdown = Pin::new(&mut self.socket).poll_shutdown(cx);
        self.in_time(shutdown, cx)
    }
}
