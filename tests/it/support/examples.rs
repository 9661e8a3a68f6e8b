//! The programs of `examples/`, started as processes and killed with their handle.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tempfile::TempDir;

use super::tree::root;

/// How long a program may take to say that it listens.
const PATIENCE: Duration = Duration::from_secs(20);

/// What it prints then, before its URL.
const LISTENS: &str = "listening on ";

/// A program that is about to be started.
pub(crate) struct Example {
    command: Command,
    log: Option<PathBuf>,
}

/// A program that runs. Ends with its handle, at once.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
    _directory: Option<TempDir>,
}

impl Example {
    /// The example `name`, built if need be.
    pub(crate) fn new(name: &str) -> Self {
        let mut command = Command::new(binary(name));
        command.stdin(Stdio::null());
        Self { command, log: None }
    }

    /// Adds arguments.
    pub(crate) fn arguments(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets variables of its environment.
    pub(crate) fn environment<N: AsRef<OsStr>, V: AsRef<OsStr>>(
        mut self,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        self.command.envs(variables);
        self
    }

    /// Writes all that it prints to this file, which outlives the process; otherwise it goes with the handle.
    pub(crate) fn log(mut self, path: impl Into<PathBuf>) -> Self {
        self.log = Some(path.into());
        self
    }

    /// Starts it, and does not wait.
    pub(crate) fn start(mut self) -> Process {
        let directory = self.log.is_none().then(|| tempfile::tempdir().unwrap());
        let log = self.log.unwrap_or_else(|| directory.as_ref().unwrap().path().join("log"));
        let output = File::create(&log).unwrap();
        self.command.stderr(output.try_clone().unwrap()).stdout(output);
        let child = self.command.spawn().unwrap();
        Process { child, log, _directory: directory }
    }

    /// Starts it, and waits until it prints `listening on http://…`: the URL.
    pub(crate) fn start_listening(self) -> (Process, String) {
        let mut process = self.start();
        let url = process.printed(LISTENS);
        (process, url)
    }
}

impl Process {
    /// Number of the process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything that it has printed.
    pub(crate) fn printed_so_far(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until it has printed a line with `words`: the rest of that line, up to a space.
    pub(crate) fn printed(&mut self, words: &str) -> String {
        for _ in 0..PATIENCE.as_millis() / 10 {
            let text = self.printed_so_far();
            // A line that has no end yet may lack some of its words.
            let mut lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            if let Some((_, rest)) = lines.find_map(|line| line.split_once(words)) {
                return rest.split_whitespace().next().unwrap_or_default().to_owned();
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("it ended with {status} and without `{words}`:\n{}", self.printed_so_far());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("no `{words}` within {PATIENCE:?}:\n{}", self.printed_so_far());
    }

    /// Sends a signal, e.g. `TERM`, `STOP` or `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.id().to_string()).status();
        assert!(sent.unwrap().success());
    }

    /// Ends it at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until it ends by itself.
    pub(crate) fn ended_within(&mut self, patience: Duration) -> ExitStatus {
        for _ in 0..patience.as_millis() / 10 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it still runs after {patience:?}:\n{}", self.printed_so_far());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Where the example `name` is, built from the present sources.
///
/// `cargo test --all-targets` builds the tests of examples and not the examples, `cargo test --test it` builds
/// neither: so it is built here, once, into the directory that this test came from.
fn binary(name: &str) -> PathBuf {
    static BUILT: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    // `<target>/<profile>/deps/it-…`
    let own = std::env::current_exe().unwrap();
    let profile = own.parent().and_then(Path::parent).unwrap();
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if built.insert(name.to_owned()) {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(root()).args(["build", "--quiet", "--locked", "--example", name]);
        cargo.arg("--target-dir").arg(profile.parent().unwrap());
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        // What cargo tells this test of its package would make build scripts that look at it run anew.
        let told = |name: &OsString| {
            let name = name.to_string_lossy();
            ["CARGO_PKG_", "CARGO_MANIFEST_", "OUT_DIR"].iter().any(|own| name.starts_with(own))
        };
        for (name, _) in std::env::vars_os().filter(|(name, _)| told(name)) {
            cargo.env_remove(name);
        }
        assert!(cargo.status().unwrap().success(), "cannot build the example {name}");
    }
    profile.join("examples").join(name)
}
