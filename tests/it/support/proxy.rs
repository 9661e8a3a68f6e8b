//! A TCP proxy that counts, stalls, cuts, and talks nonsense.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What a proxy does. A change is seen at once, by open connections too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Passes everything on.
    Pass,
    /// Takes what the client says, and never answers.
    Stall,
    /// Closes every connection.
    Cut,
    /// Passes on this many bytes of each answer, and closes the connection.
    CutAfter(usize),
    /// Answers with this, whatever it is asked.
    Say(&'static [u8]),
}

/// A proxy on a port of its own. Ends with its handle.
pub(crate) struct Proxy {
    port: u16,
    mode: watch::Sender<Mode>,
    round_trips: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Starts to pass connections on to `port` of the loopback.
    pub(crate) async fn start(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own_port = listener.local_addr().unwrap().port();
        let (mode, modes) = watch::channel(Mode::Pass);
        let round_trips = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, SocketAddr::from(([127, 0, 0, 1], port)), modes, round_trips.clone()));
        Self { port: own_port, mode, round_trips, _tasks: tasks }
    }

    /// The port to connect to.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Does something else from now on.
    pub(crate) fn switch(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// How often an answer has followed a question since the last call.
    ///
    /// Needs a runtime with one thread: there, a client has said all that it can say without an answer
    /// before the proxy looks at the answer.
    pub(crate) fn round_trips(&self) -> usize {
        self.round_trips.swap(0, Ordering::Relaxed)
    }
}

async fn accept(
    listener: TcpListener,
    server: SocketAddr,
    modes: watch::Receiver<Mode>,
    round_trips: Arc<AtomicUsize>,
) {
    // Dropped with this task, and the connections with it.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let (modes, round_trips) = (modes.clone(), round_trips.clone());
        connections.spawn(async move {
            // A connection that breaks is what a proxy is there for.
            let _ = pass(client, server, modes, &round_trips).await;
        });
    }
}

/// Passes one connection on, until the mode or one of the two ends it.
async fn pass(
    mut client: TcpStream,
    server: SocketAddr,
    mut modes: watch::Receiver<Mode>,
    round_trips: &AtomicUsize,
) -> io::Result<()> {
    let mut server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut question, mut answer) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut asked = false;
    loop {
        let mode = *modes.borrow_and_update();
        if mode == Mode::Cut {
            return Ok(());
        }
        tokio::select! {
            // The client first: it may say more before it has an answer.
            biased;
            changed = modes.changed() => if changed.is_err() { return Ok(()) },
            read = client.read(&mut question) => {
                let length = read?;
                if length == 0 {
                    return Ok(());
                }
                match mode {
                    Mode::Pass | Mode::CutAfter(_) => server.write_all(&question[..length]).await?,
                    Mode::Say(words) => client.write_all(words).await?,
                    Mode::Stall | Mode::Cut => {}
                }
                asked = true;
            }
            read = server.read(&mut answer) => {
                let length = read?;
                if length == 0 {
                    return Ok(());
                }
                // Lets a client go on that waits for room to write: what it says comes first.
                tokio::task::yield_now().await;
                while let Ok(length @ 1..) = client.try_read(&mut question) {
                    server.write_all(&question[..length]).await?;
                }
                if std::mem::take(&mut asked) {
                    round_trips.fetch_add(1, Ordering::Relaxed);
                }
                match mode {
                    Mode::Pass => client.write_all(&answer[..length]).await?,
                    Mode::CutAfter(most) => return client.write_all(&answer[..length.min(most)]).await,
                    Mode::Stall | Mode::Say(_) | Mode::Cut => {}
                }
            }
        }
    }
}
