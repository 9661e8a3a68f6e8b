//! The process that holds Kafka's client library: answers the questions that come on its standard input.
//!
//! The library is written in C and ends its process when a broker says what it does not expect. So it has a process
//! of its own, one for each connection, which knows nothing but the way to its cluster, and which
//! [the other side](super::process) replaces when it ends. Every call of the library blocks, so questions are asked on
//! threads that may ([`handle`]).

mod cluster;
mod handle;
mod heard;
mod memory;
mod offsets;
mod token;
mod topics;

use std::io::{self, Read, Write};
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::Level;

use self::cluster::Cluster;
use super::fault::Fault;
use super::wire::{self, Question};

/// Stack of a thread on which questions are asked, in bytes: each of a hundred groups may have one.
const STACK: usize = 512 << 10;

/// Answers questions until the other side closes our input, or ends. Never returns.
pub(crate) fn run() -> ! {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().thread_stack_size(STACK).build();
    if let Ok(runtime) = runtime {
        // The other side is gone, and nobody is left to be told.
        let _: io::Result<()> = runtime.block_on(answer_all());
    }
    end()
}

/// Ends the process at once. Exit handlers of the C libraries would run beside their threads.
fn end() -> ! {
    let _ = kill_process(getpid(), Signal::KILL);
    std::process::abort()
}

async fn answer_all() -> io::Result<()> {
    let (sender, mut questions) = mpsc::channel(1);
    std::thread::Builder::new().name("questions".to_owned()).spawn(move || {
        let mut input = io::stdin().lock();
        // Also while a question is asked: the end of our input is the end of the other side.
        while let Ok(question) = receive(&mut input) {
            if sender.blocking_send(question).is_err() {
                break;
            }
        }
        end()
    })?;
    let mut cluster = None;
    while let Some(question) = questions.recv().await {
        answer(question, &mut cluster).await?;
    }
    Ok(())
}

async fn answer(question: Question, cluster: &mut Option<Cluster>) -> io::Result<()> {
    match (question, cluster) {
        (Question::Open { opening, within }, cluster) => {
            if opening.is_logged {
                log();
            }
            let opened = Cluster::open(opening, at(within)).await;
            send(&opened.map(|opened| drop(cluster.replace(opened))))
        }
        (_, None) => Err(io::Error::other("nothing is open")),
        (Question::Topics { names, everything, within }, Some(cluster)) => {
            send(&cluster.topics(names, everything, at(within)).await)
        }
        (Question::Committed { groups, closed, within }, Some(cluster)) => {
            send(&Ok::<_, Fault>(cluster.committed(groups, &closed, at(within)).await))
        }
        (Question::Ends { isolation, places, end, within }, Some(cluster)) => {
            send(&cluster.ends(isolation, places, end, at(within)).await)
        }
    }
}

fn at(within: Duration) -> Instant {
    Instant::now() + within
}

fn receive(input: &mut impl Read) -> io::Result<Question> {
    let mut prefix = [0; wire::PREFIX];
    input.read_exact(&mut prefix)?;
    let mut message = vec![0; wire::length(prefix)?];
    input.read_exact(&mut message)?;
    wire::content(&message)
}

fn send<T: Serialize>(answer: &Result<T, Fault>) -> io::Result<()> {
    let message = wire::message(answer).or_else(|_| {
        let fault = Fault::Unexpected("the answer is too long: watch fewer topics".to_owned());
        wire::message(&Err::<(), _>(fault))
    })?;
    let mut output = io::stdout().lock();
    output.write_all(&message)?;
    output.flush()
}

/// Writes what the library says to standard error, from where the other side takes it into its own log.
fn log() {
    let lines = tracing_subscriber::fmt().with_max_level(Level::DEBUG).with_writer(io::stderr);
    // Only the first of them counts.
    let _ = lines.without_time().with_level(false).with_target(false).with_ansi(false).try_init();
}
