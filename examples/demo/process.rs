//! The programs of the demo, started as processes that end with their handle.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::Failure;

/// How long a program may take until it listens.
const PATIENCE: Duration = Duration::from_secs(20);

/// What our programs print when they do, before their URL.
const LISTENS: &str = "listening on ";

/// How much of a log is shown when its program fails.
const LAST_LINES: usize = 5;

/// Where the programs are.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) redis: PathBuf,
    pub(crate) stub: PathBuf,
    pub(crate) agent: PathBuf,
    pub(crate) worker: PathBuf,
}

impl Programs {
    /// Finds our programs beside this one, where `cargo build --examples` puts them.
    ///
    /// # Errors
    /// When one is missing, with the command that builds it.
    pub(crate) fn find() -> Result<Self, Failure> {
        let own = std::env::current_exe()?;
        let beside = |name: &str| {
            let path = own.with_file_name(name);
            let missing = || format!("{} is missing: run `cargo build --examples`", path.display());
            if path.is_file() { Ok(path) } else { Err(missing()) }
        };
        Ok(Self {
            redis: "redis-server".into(),
            stub: beside("llm-stub")?,
            agent: beside("agent")?,
            worker: beside("worker")?,
        })
    }
}

/// Where logs and the key are.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    /// Removes a temporary one.
    _temporary: Option<TempDir>,
}

impl Folder {
    /// The folder at `path`, which stays; or a temporary one.
    pub(crate) fn new(path: Option<&Path>) -> std::io::Result<Self> {
        let temporary = if path.is_none() { Some(tempfile::tempdir()?) } else { None };
        let path = path.or(temporary.as_ref().map(TempDir::path)).unwrap_or(Path::new(".")).to_owned();
        std::fs::create_dir_all(&path)?;
        Ok(Self { path, _temporary: temporary })
    }
}

/// A program that runs. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program`, and calls it `name`.
    pub(crate) fn start<A: AsRef<OsStr>>(
        program: &Path,
        name: &str,
        arguments: impl IntoIterator<Item = A>,
        folder: &Folder,
    ) -> Result<Self, Failure> {
        let log = folder.path.join(format!("{name}.log"));
        let output = File::create(&log)?;
        let child = Command::new(program)
            .args(arguments)
            // Every flag is a variable too: what somebody has set for another purpose must not be taken for one.
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| name == "PATH"))
            .stdin(Stdio::null())
            .stderr(output.try_clone()?)
            .stdout(output)
            // Ctrl-C is for us alone: we end them.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Waits until it prints where it listens: the URL.
    pub(crate) async fn listens(&mut self) -> Result<String, Failure> {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            let text = std::fs::read_to_string(&self.log)?;
            // A line that has no end yet may lack some of its words.
            let mut lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            if let Some(url) = lines.find_map(|line| line.strip_prefix(LISTENS)) {
                return Ok(url.trim().to_owned());
            }
            if self.ended()?.is_some() {
                return Err(self.fault("ended before it listened"));
            }
            sleep(Duration::from_millis(20)).await;
        }
        Err(self.fault("does not listen"))
    }

    /// Asks it to end, as the kubelet does.
    pub(crate) async fn terminate(&self) -> Result<(), Failure> {
        if let Some(id) = self.child.id() {
            // A shell has `kill` built in; a machine need not have it as a program. It fails if the process has
            // ended in the meantime.
            let arguments = ["-c", "kill -TERM \"$0\"", &id.to_string()];
            Command::new("sh").args(arguments).stderr(Stdio::null()).status().await?;
        }
        Ok(())
    }

    /// Ends it at once.
    pub(crate) async fn kill(&mut self) -> std::io::Result<()> {
        self.child.kill().await
    }

    /// Finds fault with one that has ended by itself.
    pub(crate) fn still_runs(&mut self) -> Result<(), Failure> {
        match self.ended()? {
            Some(status) => Err(self.fault(&format!("ended by itself ({status})"))),
            None => Ok(()),
        }
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> std::io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// What is wrong with it, with the end of its log.
    pub(crate) fn fault(&self, what: &str) -> Failure {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines.get(lines.len().saturating_sub(LAST_LINES)..).unwrap_or_default().join("\n  ");
        format!("{} {what}; it said last:\n  {last}", self.name).into()
    }
}
