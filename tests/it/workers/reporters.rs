//! The reporters in other languages: run as they stand in the examples, beside the reference worker.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use agent_scaler::engine::minutes::{Histogram, Minute, Used};
use agent_scaler::engine::signals::{Worker, WorkerState, Workers};
use agent_scaler::timestamp::Timestamp;
use agent_scaler::workers::keys;
use agent_scaler::workers::writer::{Reporter, Tally};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::{PATIENCE, SCOPE, Stage, beat, integer, now, rights};
use crate::support::servers::Redis;
use crate::support::tree::root;

/// What a worker goes through: it runs two tasks, one ends, it drains, and leaves.
const STEPS: [&str; 4] = ["busy", "ended", "draining", "left"];

/// How long an installation and a compiler may take.
const SETUP: Duration = Duration::from_secs(300);

#[tokio::test]
async fn a_reporter_in_python_reads_like_the_reference_worker() {
    let Some(folder) = installed("python").await else { return };
    let driver = root().join("tests/reporters/drive.py");
    let mut command = Command::new(folder.join("bin/python"));
    command.arg(driver).env("PYTHONPATH", root().join("examples/reporters/python"));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    reads_like_the_reference_worker(command).await;
}

#[tokio::test]
async fn a_reporter_in_typescript_reads_like_the_reference_worker() {
    let Some(folder) = installed("typescript").await else { return };
    let compiled = compiled(&folder).await;
    let mut command = Command::new("node");
    command.arg(compiled.path().join("drive.js"));
    reads_like_the_reference_worker(command).await;
}

#[test]
fn the_document_shows_the_reporters_as_they_are() {
    let document = fs::read_to_string(root().join("docs/worker-protocol.md")).unwrap();
    for (language, path) in [("python", "python/reporter.py"), ("typescript", "typescript/reporter.ts")] {
        let shown = document.split(&format!("```{language}\n")).nth(1).unwrap().split("```").next().unwrap();
        let file = fs::read_to_string(root().join("examples/reporters").join(path)).unwrap();
        assert!(shown == file, "the document shows another {path}");
    }
}

async fn reads_like_the_reference_worker(command: Command) {
    let there = Stage { redis: Redis::plain(), minute: Duration::from_secs(60) };
    let here = Stage { redis: Redis::plain(), minute: Duration::from_secs(60) };
    rights::let_in(&there, "reporter");
    for stage in [&there, &here] {
        stage.command(&["HSET", &keys::workers(SCOPE), "killed long ago", r#"{"seen":1700000000000}"#]);
    }
    let taken = now(&there) - Duration::from_secs(90);
    let mut foreign = Foreign::start(command, &there, taken);
    let mut reporter = here.reporter("worker-1").await;
    let (mut of_foreign, mut of_reference) = (there.scaler().await, here.scaler().await);
    for step in STEPS {
        foreign.step(step).await;
        reference_step(&mut reporter, step, taken, now(&here)).await;
        let (foreign, reference) = (of_foreign.workers().await, of_reference.workers().await);
        assert_eq!(of_one_minute(&foreign), of_one_minute(&reference), "{step}");
        assert!(reference.leases > 0 || step == "left", "{step}");
    }
    for stage in [&there, &here] {
        assert_eq!(integer(stage.command(&["EXISTS", &keys::workers(SCOPE), &keys::leases(SCOPE)])), 0);
    }
    assert!(tokio::time::timeout(PATIENCE, foreign.end()).await.unwrap());
}

/// What the drivers of the foreign reporters do, in our words.
async fn reference_step(reporter: &mut Reporter, step: &str, taken: Timestamp, now: Timestamp) {
    let counted = |millis: u64, times: u64| {
        let mut histogram = Histogram::default();
        histogram.add(Histogram::bucket(Duration::from_millis(millis)), times);
        histogram
    };
    let busy = Worker {
        state: WorkerState::Busy,
        slots: 4,
        running: 2,
        oldest: Some(taken),
        progress: None,
        paces: false,
        poison: 0,
    };
    match step {
        "busy" => {
            let tally = Tally {
                waits: counted(250, 2),
                busy: Duration::from_secs(20),
                calling: Duration::from_secs(15),
                used: Used { requests: 7, input_tokens: 9_000, output_tokens: 800 },
                ..Tally::default()
            };
            beat(reporter, busy, &["task-1", "task-2"], &tally, now).await;
        }
        "ended" => reporter.release("task-1").await.unwrap(),
        "draining" => {
            let oldest = Some(taken + Duration::from_secs(5));
            let draining = Worker { state: WorkerState::Draining, running: 1, oldest, ..busy };
            let tally = Tally { durations: counted(90_000, 1), done: 1, refused: 1, ..Tally::default() };
            beat(reporter, draining, &["task-2"], &tally, now).await;
        }
        "left" => {
            let tally = Tally { durations: counted(0, 1), failed: 1, ..Tally::default() };
            reporter.leave(&tally, now).await.unwrap();
        }
        _ => panic!("no step {step}"),
    }
}

/// What was seen, as if it had all happened in one minute: one may end in the middle of the test.
fn of_one_minute(workers: &Workers) -> (u64, &[Worker], Minute) {
    let mut sum = Minute::default();
    for minute in &workers.minutes {
        sum.durations.merge(&minute.durations);
        sum.waits.merge(&minute.waits);
        sum.done += minute.done;
        sum.failed += minute.failed;
        sum.busy += minute.busy;
        sum.throttled = sum.throttled.max(minute.throttled);
        sum.calling += minute.calling;
        sum.used.add(minute.used);
        sum.refused += minute.refused;
    }
    (workers.leases, &workers.alive, sum)
}

/// A reporter in another language, that does one step for each line it is told.
struct Foreign {
    process: Child,
    steps: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Foreign {
    fn start(mut command: Command, stage: &Stage, taken: Timestamp) -> Self {
        command.args([&stage.url_of("reporter:hunter2@"), SCOPE, "worker-1", &taken.as_millis().to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().unwrap();
        let (steps, answers) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Self { process, steps, answers: BufReader::new(answers).lines() }
    }

    async fn step(&mut self, step: &str) {
        self.steps.write_all(format!("{step}\n").as_bytes()).await.unwrap();
        let answer = tokio::time::timeout(SETUP, self.answers.next_line()).await.unwrap();
        assert_eq!(answer.unwrap().as_deref(), Some("done"), "{step}");
    }

    /// Whether it ends well when there is nothing more to do.
    async fn end(self) -> bool {
        let Self { mut process, steps, answers: _answers } = self;
        drop(steps);
        process.wait().await.unwrap().success()
    }
}

/// Where the libraries of a language are; says what is missing if they cannot be had.
async fn installed(language: &str) -> Option<PathBuf> {
    let mut setup = Command::new("bash");
    setup.arg(root().join("tests/reporters/setup.sh")).arg(language).kill_on_drop(true);
    let output = tokio::time::timeout(SETUP, setup.output()).await.unwrap().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    if output.status.success() {
        return Some(PathBuf::from(said.trim_end()));
    }
    assert!(said.starts_with("missing: "), "{said}{}", String::from_utf8_lossy(&output.stderr));
    // Past the capture of tests that pass: that this one proved nothing must be seen.
    std::io::stderr().write_all(said.as_bytes()).unwrap();
    None
}

/// The driver and the reporter, compiled with every check of types, beside their libraries.
async fn compiled(libraries: &Path) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in [
        "tests/reporters/drive.ts",
        "tests/reporters/tsconfig.json",
        "tests/reporters/package.json",
        "examples/reporters/typescript/reporter.ts",
    ] {
        let path = root().join(file);
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let modules = folder.path().join("node_modules");
    std::os::unix::fs::symlink(libraries.join("node_modules"), &modules).unwrap();
    let mut compiler = Command::new("node");
    compiler.arg(modules.join("typescript/bin/tsc")).arg("--project").arg(folder.path()).kill_on_drop(true);
    let output = tokio::time::timeout(SETUP, compiler.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    folder
}
