//! The other side of the process that holds Kafka's client library: starts it, asks it, and ends it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use std::os::unix::process::ExitStatusExt as _;

use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::fault::{Fault, shortened};
use super::wire::{self, Question};

/// How long an answer is waited for beyond the time that the process has for it: it is told to answer before.
const GRACE: Duration = Duration::from_millis(350);

/// How often the process is weighed while it works. An answer takes some milliseconds, so most are never interrupted.
const WEIGHED_EVERY: Duration = Duration::from_millis(20);

/// Most resident memory of the process, in bytes: a hundred groups and the longest answer take 70 MB, and half of the
/// container's memory is for all others.
const HEAVIEST: u64 = 96 << 20;

/// How long we wait to be told how a process ended that has closed its output.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// The argument with which a program of ours becomes such a process.
pub(crate) const COMMAND: &str = "kafka-reader";

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Names the program that is started for each Kafka connection, where this process runs another one than
/// `agent-scaler`. Only the first call counts.
pub fn set_program(path: &Path) {
    let _ = PROGRAM.set(path.to_owned());
}

/// A running process, which ends with its handle.
pub(super) struct Process {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    /// The last line that it has written to standard error.
    said: Arc<Mutex<String>>,
    /// Why it answers no more.
    over: Option<Fault>,
}

impl Process {
    /// Starts a process. It knows no cluster yet.
    ///
    /// # Errors
    /// When the system starts none.
    pub(super) fn start() -> Result<Self, Fault> {
        let not_started =
            |error: io::Error| Fault::Lost(format!("the Kafka client cannot be started: {error}"));
        let mut command = Command::new(program().map_err(not_started)?);
        // Out of our group: a signal that is meant for us should not end it before us.
        command.arg0("agent-scaler").arg(COMMAND).process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(not_started)?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(input), Some(output), Some(errors)) = pipes else {
            return Err(not_started(io::Error::other("it has no pipes")));
        };
        let said = Arc::default();
        tokio::spawn(forward(errors, Arc::clone(&said)));
        Ok(Self { child, input, output, said, over: None })
    }

    /// Asks `question`, which has an answer at `until` if the process is well. A process that is not is over. Dropped
    /// before it is ready, it leaves the process of no use.
    ///
    /// # Errors
    /// With what the process answers, or when it does not, or is over.
    pub(super) async fn ask<T: DeserializeOwned>(
        &mut self,
        question: &Question,
        until: Instant,
    ) -> Result<T, Fault> {
        if let Some(over) = &self.over {
            return Err(over.clone());
        }
        let fault = match self.exchange(question, until).await {
            Ok(answer) => return answer,
            Err(Broken::Refused(fault)) => return Err(fault),
            Err(Broken::Late) => Fault::Late,
            Err(Broken::Heavy) => Fault::Lost(format!(
                "the Kafka client took more than {} MiB of memory after an answer of a broker; it is started again",
                HEAVIEST >> 20
            )),
            Err(Broken::Pipe(error)) => self.ended(&error).await,
        };
        // It may have ended by itself. Whoever drops the handle has it reaped.
        let _ = self.child.start_kill();
        self.over = Some(fault.clone());
        Err(fault)
    }

    async fn exchange<T: DeserializeOwned>(
        &mut self,
        question: &Question,
        until: Instant,
    ) -> Result<Result<T, Fault>, Broken> {
        let message = wire::message(question).map_err(|error| {
            Broken::Refused(Fault::Unexpected(format!(
                "{error}: watch some topics through another connection"
            )))
        })?;
        let id = self.child.id();
        let (input, output) = (&mut self.input, &mut self.output);
        let answering = async {
            input.write_all(&message).await?;
            let mut prefix = [0; wire::PREFIX];
            output.read_exact(&mut prefix).await?;
            let length = wire::length(prefix)?;
            let mut answer = Vec::new();
            let read = output.take(length as u64).read_to_end(&mut answer).await?;
            if read < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            wire::content(&answer)
        };
        tokio::pin!(answering);
        let mut weighing = interval(WEIGHED_EVERY);
        weighing.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                answer = &mut answering => return answer.map_err(Broken::Pipe),
                () = sleep_until(until + GRACE) => return Err(Broken::Late),
                _ = weighing.tick() => if id.and_then(weight).is_some_and(|weight| HEAVIEST < weight) {
                    return Err(Broken::Heavy);
                },
            }
        }
    }

    /// How the process ended, after one of its pipes broke.
    async fn ended(&mut self, error: &io::Error) -> Fault {
        let how = match timeout(LAST_WORDS, self.child.wait()).await {
            Ok(Ok(status)) => plainly(status),
            Ok(Err(_)) | Err(_) => shortened(&error.to_string()),
        };
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner).clone();
        tracing::warn!(how, said, "The Kafka client ended.");
        Fault::Lost(format!("the Kafka client ended ({how}); it is started again"))
    }
}

/// Why there is no answer.
enum Broken {
    /// The question cannot be asked.
    Refused(Fault),
    /// The time is over.
    Late,
    /// The process has become too large.
    Heavy,
    /// The process has ended, or talks nonsense.
    Pipe(io::Error),
}

/// Signals by which a process ends itself: illegal instruction, abort, bus error, arithmetic, segmentation.
const FAULTS: [i32; 5] = [4, 6, 7, 8, 11];

fn plainly(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) if FAULTS.contains(&signal) => {
            format!("signal {signal} after an answer of a broker")
        }
        (Some(signal), _) => format!("signal {signal}"),
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => "for no known reason".to_owned(),
    }
}

/// The program that is started.
///
/// # Errors
/// When the system does not tell which one runs.
pub(crate) fn program() -> io::Result<PathBuf> {
    /// The program that runs, also after another version has taken its place on the disk.
    const RUNNING: &str = "/proc/self/exe";
    match PROGRAM.get() {
        Some(path) => Ok(path.clone()),
        None if Path::new(RUNNING).exists() => Ok(RUNNING.into()),
        None => std::env::current_exe(),
    }
}

/// Resident memory of a process in bytes, where the system tells.
fn weight(id: u32) -> Option<u64> {
    let pages = std::fs::read_to_string(format!("/proc/{id}/statm")).ok()?;
    let resident: u64 = pages.split(' ').nth(1)?.parse().ok()?;
    Some(resident * rustix::param::page_size() as u64)
}

/// Takes what the process says beside its answers into the log, one line at a time, and keeps the last one.
async fn forward(mut errors: ChildStderr, said: Arc<Mutex<String>>) {
    let mut buffer = [0; 4_096];
    let mut line = String::new();
    while let Ok(length @ 1..) = errors.read(&mut buffer).await {
        line.push_str(&String::from_utf8_lossy(&buffer[..length]));
        while let Some((first, rest)) = line.split_once('\n') {
            let first = shortened(first);
            tracing::debug!(line = first, "Kafka's client said something.");
            *said.lock().unwrap_or_else(PoisonError::into_inner) = first;
            line = rest.to_owned();
        }
        // A line without an end is cut, and not kept.
        line.truncate(line.floor_char_boundary(buffer.len()));
    }
}
