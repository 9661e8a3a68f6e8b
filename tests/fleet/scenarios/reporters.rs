//! Reporters in other languages appear beside the Rust worker.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use agent_scaler::clock::{Clock as _, SystemClock};
use agent_scaler::scaler::proto::ScaledObjectRef;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::deployment::Law;
use crate::figures::Figures;
use crate::plant::{LIMIT, Plant, Setup, trigger};
use crate::redis_server::Disk;
use crate::tasks::Kind;

/// The reporters know of no shorter one.
const MINUTE: Duration = Duration::from_secs(60);
const NAME: &str = "mixed";

/// Tasks that each worker runs; requests of each of the Rust worker's by then; requests that a driver reports.
const TASKS: usize = 2;
const REQUESTS: u64 = 7;

/// Part of a minute within which what was reported must show.
const SOON: f64 = 0.5;

pub(super) async fn play(folder: PathBuf) -> Figures {
    let mut figures = Figures::default();
    let mut plant = Plant::start(Setup {
        folder: &folder,
        minute: MINUTE,
        disk: Disk::Off,
        provider: &[],
        limit: Some("    requestsPerMinute: 600"),
    })
    .await;
    let flags = ["--slots", "2", "--limit", LIMIT, "--requests-per-minute", "600"];
    plant.deploy(NAME, Kind::List, Law::Fixed(1), 1, &flags).await;
    // One answer each, and then a tool that outlasts the test.
    plant.queues[0].put(TASKS, "steps=2 think=0.5 tool=120").await;
    let trigger = trigger(NAME, Kind::List, 2, &[("llmLimit", "fleet")]);
    let mut expected = Seen { running: TASKS as u64, requests: TASKS as u64, refused: 0, paced: true };
    check(&mut figures, &mut plant, &trigger, "the Rust worker alone", expected).await;

    for language in ["python", "typescript"] {
        let Some(command) = driver(language, &folder).await else {
            figures.note(format!("missing: what a reporter in {language} needs"));
            continue;
        };
        let mut foreign = Foreign::start(command, &plant, language);
        foreign.step("busy").await;
        expected.running += TASKS as u64;
        expected.requests += REQUESTS;
        expected.paced = false;
        check(&mut figures, &mut plant, &trigger, &format!("{language}: two tasks run"), expected).await;
        foreign.step("ended").await;
        foreign.step("draining").await;
        expected.running -= 1;
        expected.refused += 1;
        let what = format!("{language}: one has ended, and a call was refused");
        check(&mut figures, &mut plant, &trigger, &what, expected).await;
    }
    figures
}

/// What `/decisions` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    running: u64,
    requests: u64,
    refused: u64,
    paced: bool,
}

async fn check(
    figures: &mut Figures,
    plant: &mut Plant,
    trigger: &ScaledObjectRef,
    what: &str,
    expected: Seen,
) {
    plant.until(SOON, async |plant| seen(plant, trigger).await == Some(expected)).await;
    figures.equal(what, seen(plant, trigger).await, Some(expected));
}

async fn seen(plant: &mut Plant, trigger: &ScaledObjectRef) -> Option<Seen> {
    let shown = plant.scaler.as_mut()?.asked(trigger).await.shown?;
    let limit = shown.limit?;
    let running = shown.terms?.in_flight?;
    Some(Seen { running, requests: limit.requests, refused: limit.refused, paced: limit.paced })
}

/// A reporter in another language, that does one step for each line it is told.
struct Foreign {
    _process: Child,
    steps: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Foreign {
    fn start(mut command: Command, plant: &Plant, worker: &str) -> Self {
        let taken = SystemClock::start().now().as_millis();
        command.args([&plant.redis.url(), &plant.deployments[0].queue(), worker, &taken.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().unwrap();
        let (steps, answers) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Self { _process: process, steps, answers: BufReader::new(answers).lines() }
    }

    async fn step(&mut self, step: &str) {
        self.steps.write_all(format!("{step}\n").as_bytes()).await.unwrap();
        assert_eq!(self.answers.next_line().await.unwrap().as_deref(), Some("done"), "{step}");
    }
}

/// What runs the reporter of a language; `None` if its libraries cannot be had.
async fn driver(language: &str, folder: &Path) -> Option<Command> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut setup = Command::new("bash");
    let output = setup.arg(root.join("tests/reporters/setup.sh")).arg(language).output().await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    if !output.status.success() {
        assert!(said.starts_with("missing: "), "{said}{}", String::from_utf8_lossy(&output.stderr));
        return None;
    }
    let libraries = PathBuf::from(said.trim_end());
    if language == "python" {
        let mut python = Command::new(libraries.join("bin/python"));
        python.arg(root.join("tests/reporters/drive.py"));
        python.env("PYTHONPATH", root.join("examples/reporters/python")).env("PYTHONDONTWRITEBYTECODE", "1");
        return Some(python);
    }
    let mut node = Command::new("node");
    node.arg(compiled(root, &libraries, folder).await);
    Some(node)
}

/// The driver in TypeScript, compiled beside its libraries.
async fn compiled(root: &Path, libraries: &Path, folder: &Path) -> PathBuf {
    for file in [
        "tests/reporters/drive.ts",
        "tests/reporters/tsconfig.json",
        "tests/reporters/package.json",
        "examples/reporters/typescript/reporter.ts",
    ] {
        let path = root.join(file);
        std::fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
    }
    let modules = folder.join("node_modules");
    std::os::unix::fs::symlink(libraries.join("node_modules"), &modules).unwrap();
    let mut compiler = Command::new("node");
    compiler.arg(modules.join("typescript/bin/tsc")).arg("--project").arg(folder);
    let output = compiler.output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    folder.join("drive.js")
}
