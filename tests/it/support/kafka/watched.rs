//! A way to a broker on which its requests are counted by kind, and on which things go wrong.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

/// How a way behaves. A change is seen with the next request or answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Passes everything on.
    Pass,
    /// Takes requests, and never answers.
    Stall,
    /// Answers every request with bytes that mean nothing.
    Nonsense,
}

/// A port that leads to a broker.
pub(crate) struct Watched {
    port: u16,
    state: Arc<State>,
}

struct State {
    target: AtomicU16,
    manner: Mutex<Manner>,
    /// Requests by the number of their kind in Kafka's protocol.
    requests: Mutex<BTreeMap<i16, usize>>,
    open: Mutex<Vec<TcpStream>>,
}

impl Watched {
    /// Begins to listen; the broker that its address is given to need not be there yet.
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            target: AtomicU16::new(0),
            manner: Mutex::new(Manner::Pass),
            requests: Mutex::default(),
            open: Mutex::default(),
        });
        let accepting = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let state = Arc::clone(&accepting);
                // A connection that breaks is what it is there for.
                std::thread::spawn(move || drop(pass(client, &state)));
            }
        });
        Self { port, state }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn leads_to(&self, port: u16) {
        self.state.target.store(port, Ordering::SeqCst);
    }

    /// Passes everything on, and has counted nothing.
    pub(super) fn reset(&self) {
        self.switch(Manner::Pass);
        self.requests();
    }

    /// Behaves otherwise from now on.
    pub(crate) fn switch(&self, manner: Manner) {
        *self.state.manner.lock().unwrap() = manner;
    }

    /// Closes every connection. New ones are taken.
    pub(crate) fn cut(&self) {
        for stream in self.state.open.lock().unwrap().drain(..) {
            // It may be closed.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Requests since the last call, by the number of their kind in Kafka's protocol.
    pub(crate) fn requests(&self) -> BTreeMap<i16, usize> {
        std::mem::take(&mut self.state.requests.lock().unwrap())
    }
}

/// Passes one connection on, until one of the two ends it.
fn pass(mut client: TcpStream, state: &Arc<State>) -> io::Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", state.target.load(Ordering::SeqCst)))?;
    state.open.lock().unwrap().extend([client.try_clone()?, server.try_clone()?]);
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut answers, mut back) = (server.try_clone()?, client.try_clone()?);
    let of_answers = Arc::clone(state);
    let answering = std::thread::spawn(move || drop(pass_answers(&mut answers, &mut back, &of_answers)));
    let result = pass_requests(&mut client, &mut server, state);
    let _ = server.shutdown(Shutdown::Both);
    let _ = client.shutdown(Shutdown::Both);
    let _ = answering.join();
    result
}

fn pass_requests(client: &mut TcpStream, server: &mut TcpStream, state: &State) -> io::Result<()> {
    loop {
        let frame = frame(client)?;
        let kind = i16::from_be_bytes([frame[4], frame[5]]);
        *state.requests.lock().unwrap().entry(kind).or_default() += 1;
        let manner = *state.manner.lock().unwrap();
        match manner {
            Manner::Pass => server.write_all(&frame)?,
            Manner::Stall => {}
            // The number by which an answer is told from others, and rubbish.
            Manner::Nonsense => {
                client.write_all(&[&9_u32.to_be_bytes(), &frame[8..12], &[0xff; 5]].concat())?;
            }
        }
    }
}

fn pass_answers(server: &mut TcpStream, client: &mut TcpStream, state: &State) -> io::Result<()> {
    loop {
        let frame = frame(server)?;
        let manner = *state.manner.lock().unwrap();
        if manner == Manner::Pass {
            client.write_all(&frame)?;
        }
    }
}

/// A request or an answer with its length.
fn frame(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let bytes = u32::from_be_bytes(length) as usize;
    if !(8..1 << 26).contains(&bytes) && bytes < 4 {
        return Err(io::Error::other("not Kafka's protocol"));
    }
    let mut frame = vec![0; 4 + bytes];
    frame[..4].copy_from_slice(&length);
    stream.read_exact(&mut frame[4..])?;
    Ok(frame)
}
