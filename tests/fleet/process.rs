//! Processes that end with their handles, and the programs of this project.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long a program may take to start, and to end once it was told to.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running program, which is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; what it prints is added to `log`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let program = command.get_program().to_owned();
        let child =
            command.spawn().unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        Self { child, log: log.to_owned() }
    }

    /// What it prints after `words`, up to a space, as soon as it has.
    pub(crate) async fn printed(&mut self, words: &str) -> String {
        let started = Instant::now();
        loop {
            let text = std::fs::read_to_string(&self.log).unwrap();
            // A line without an end may lack some of its words.
            let mut lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            if let Some((_, rest)) = lines.find_map(|line| line.split_once(words)) {
                return rest.split_whitespace().next().unwrap_or_default().to_owned();
            }
            let is_over = self.ended().is_some() || started.elapsed() > PATIENCE;
            assert!(!is_over, "no `{words}` in {}:\n{text}", self.log.display());
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Asks it to end, as Kubernetes does.
    pub(crate) fn terminate(&self) {
        // It may have ended by itself in this moment.
        drop(Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status());
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Builds every example from the present sources, into the directory that this test came from: neither
/// `cargo test --test fleet` nor `--all-targets` does.
pub(crate) fn build_examples() {
    let profile = profile();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--quiet", "--locked", "--examples"]);
    cargo.arg("--target-dir").arg(profile.parent().unwrap());
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    assert!(cargo.status().unwrap().success(), "the examples cannot be built");
}

/// Where the example `name` is.
pub(crate) fn example(name: &str) -> PathBuf {
    profile().join("examples").join(name)
}

/// A port of the loopback that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// `<target>/<profile>` of `<target>/<profile>/deps/fleet-…`.
fn profile() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.parent().and_then(Path::parent).unwrap().to_owned()
}
