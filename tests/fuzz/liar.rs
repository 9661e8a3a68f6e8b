//! A server of an arbitrary protocol that answers what it is told.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// The bytes that are sent for those that came, and whether the connection goes on; `None` if a request has not come
/// in full. Takes from the beginning what it has answered.
pub(crate) type Answers = dyn Fn(&mut Vec<u8>) -> Option<(Vec<u8>, bool)> + Send + Sync;

/// It listens on a port of its own, for as long as the process runs.
pub(crate) struct Liar<T> {
    pub(crate) port: u16,
    told: Arc<Mutex<T>>,
}

impl<T: Send + 'static> Liar<T> {
    /// Starts one whose answers are made of what it was told last.
    pub(crate) fn start(
        told: T,
        answers: impl Fn(&mut Vec<u8>, &T) -> Option<(Vec<u8>, bool)> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let told = Arc::new(Mutex::new(told));
        let shared = Arc::clone(&told);
        let answers: Arc<Answers> = Arc::new(move |came| answers(came, &shared.lock().unwrap()));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let answers = Arc::clone(&answers);
                thread::spawn(move || serve(stream, &answers));
            }
        });
        Self { port, told }
    }

    /// Says what the next answers are made of.
    pub(crate) fn tell(&self, told: T) {
        *self.told.lock().unwrap() = told;
    }
}

fn serve(mut stream: TcpStream, answers: &Arc<Answers>) {
    let (mut came, mut buffer) = (Vec::new(), vec![0; 64 * 1_024]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(length) => came.extend_from_slice(&buffer[..length]),
        }
        while let Some((said, goes_on)) = answers(&mut came) {
            if stream.write_all(&said).is_err() || !goes_on {
                return;
            }
        }
    }
}
