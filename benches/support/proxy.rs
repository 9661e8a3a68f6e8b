//! A TCP proxy that counts what passes between the server and Redis.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::task::yield_now;

/// A proxy on a port of its own, for as long as the process lives.
pub(crate) struct Proxy {
    port: u16,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    round_trips: AtomicU64,
    to_server: AtomicU64,
    from_server: AtomicU64,
}

/// What has passed since the proxy was asked last.
pub(crate) struct Passed {
    /// How often an answer has followed a question.
    pub(crate) round_trips: u64,
    /// Bytes of the questions.
    pub(crate) to_server: u64,
    /// Bytes of the answers.
    pub(crate) from_server: u64,
}

impl Proxy {
    /// Passes connections on to `port` of the loopback.
    pub(crate) fn start(port: u16) -> Self {
        let server = SocketAddr::from(([127, 0, 0, 1], port));
        // A thread of its own: it counts beside a bench that is busy.
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let counts = Arc::new(Counts::default());
        std::thread::spawn({
            let counts = Arc::clone(&counts);
            move || runtime.block_on(accept(&listener, server, &counts))
        });
        Self { port, counts }
    }

    /// The port to connect to.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What has passed since the last call.
    pub(crate) fn take(&self) -> Passed {
        let Counts { round_trips, to_server, from_server } = &*self.counts;
        let [round_trips, to_server, from_server] =
            [round_trips, to_server, from_server].map(|count| count.swap(0, Ordering::Relaxed));
        Passed { round_trips, to_server, from_server }
    }
}

async fn accept(listener: &TcpListener, server: SocketAddr, counts: &Arc<Counts>) {
    while let Ok((client, _)) = listener.accept().await {
        let counts = Arc::clone(counts);
        // The server says by itself when a connection breaks.
        tokio::spawn(async move { drop(pass(client, server, &counts).await) });
    }
}

/// Passes one connection on until one of the two ends it.
async fn pass(mut client: TcpStream, server: SocketAddr, counts: &Counts) -> io::Result<()> {
    let mut server = TcpStream::connect(server).await?;
    // What comes in pieces goes on in pieces, and waits for no acknowledgement.
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut question, mut answer) = (vec![0; 1 << 18], vec![0; 1 << 18]);
    let mut asked = false;
    loop {
        tokio::select! {
            // The client first: an answer to the beginning of a question is none to the whole.
            biased;
            read = client.read(&mut question) => {
                let length @ 1.. = read? else { return Ok(()) };
                asked = true;
                counts.to_server.fetch_add(length as u64, Ordering::Relaxed);
                server.write_all(&question[..length]).await?;
            }
            read = server.read(&mut answer) => {
                let length @ 1.. = read? else { return Ok(()) };
                yield_now().await;
                while let Ok(length @ 1..) = client.try_read(&mut question) {
                    counts.to_server.fetch_add(length as u64, Ordering::Relaxed);
                    server.write_all(&question[..length]).await?;
                }
                counts.round_trips.fetch_add(u64::from(std::mem::take(&mut asked)), Ordering::Relaxed);
                counts.from_server.fetch_add(length as u64, Ordering::Relaxed);
                client.write_all(&answer[..length]).await?;
            }
        }
    }
}
