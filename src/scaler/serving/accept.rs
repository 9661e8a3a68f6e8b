//! The loop that accepts connections: it never spins, and goes on when file descriptors are out.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::connections::{Connections, Place};
use super::descriptors::{self, Reserve};

/// How long nothing is accepted after an error: none gets better by haste.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a connection takes to close and leave its descriptor, about: a queue of silent peers is passed quickly.
const FREED_WITHIN: Duration = Duration::from_millis(2);

/// How often the log says that nothing can be accepted.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// Accepts connections on `listener` until `shutdown`, and hands each to `serve` with its place.
pub(in crate::scaler) async fn accept(
    listener: TcpListener,
    connections: Arc<Connections>,
    mut reserve: Reserve,
    shutdown: CancellationToken,
    mut serve: impl FnMut(TcpStream, Place),
) {
    let mut said: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => {
                reserve.refill();
                serve(socket, connections.admit(peer.ip()));
                // What it has sent already is read before many others can take its place.
                yield_now().await;
            }
            Err(error) => {
                if said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
                    said = Some(Instant::now());
                    tracing::warn!(%error, "Connections cannot be accepted.");
                }
                let freed = descriptors::are_out(&error) && (connections.close_silent() || reserve.give_up());
                sleep(if freed { FREED_WITHIN } else { PAUSE }).await;
            }
        }
    }
}
