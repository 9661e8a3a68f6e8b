//! How long each target is fuzzed, and what every input must keep to.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

/// Time for a target unless `FUZZ_SECONDS` says otherwise: all of them end within two minutes on two cores.
const DEFAULT: Duration = Duration::from_secs(8);

/// The longest time that one input may take. A hundred times what the slowest of them takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most memory that the process may hold between two inputs.
const MOST_MEMORY: u64 = 1 << 30;

/// Inputs of one seed.
const BATCH: u32 = 64;

/// The longest text that is ever said of an input.
pub(crate) const LONGEST_TEXT: usize = 32 * 1_024;

/// Tries inputs of `strategy` until the time is over. `check` panics or fails where one is handled badly.
pub(crate) fn fuzz<S: Strategy>(
    target: &'static str,
    strategy: &S,
    check: impl Fn(S::Value) -> Result<(), TestCaseError>,
) where
    S::Value: fmt::Debug,
{
    let ends = Instant::now() + time();
    let first = std::env::var("FUZZ_SEED").ok().map_or_else(now, |seed| seed.parse().unwrap());
    let (mut seed, mut inputs) = (first, 0);
    let watchdog = Watchdog::of(target, first);
    while seed == first || Instant::now() < ends {
        watchdog.seed.store(seed, Ordering::Relaxed);
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let config =
            Config { cases: BATCH, failure_persistence: None, max_shrink_time: 60_000, ..Config::default() };
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let outcome = TestRunner::new_with_rng(config, rng).run(strategy, |input| {
            watchdog.begins();
            let answer = check(input);
            watchdog.ends();
            answer
        });
        if let Err(error) = outcome {
            panic!("{target}, FUZZ_SEED={seed}: {error}");
        }
        let memory = memory();
        assert!(memory < MOST_MEMORY, "{target}, FUZZ_SEED={seed}: {memory} bytes are held");
        seed = seed.wrapping_add(1);
        inputs += BATCH;
    }
    eprintln!("{target}: {inputs} inputs, FUZZ_SEED={first} and after");
}

/// Fails unless `text` is [short](is_short) and holds nothing that a terminal obeys.
pub(crate) fn is_plain(text: &str) -> Result<(), TestCaseError> {
    if let Some(control) = text.chars().find(|character| character.is_control() && *character != '\n') {
        return Err(TestCaseError::fail(format!(
            "a control character, {control:?}: {}",
            text.escape_debug()
        )));
    }
    is_short(text)
}

/// Fails unless `text` is of a length that a log, an event and a status can carry.
pub(crate) fn is_short(text: &str) -> Result<(), TestCaseError> {
    if text.len() <= LONGEST_TEXT {
        return Ok(());
    }
    let beginning: String = text.chars().take(200).collect();
    Err(TestCaseError::fail(format!("{} bytes of text: {beginning}…", text.len())))
}

fn time() -> Duration {
    let seconds = std::env::var("FUZZ_SECONDS").ok().map(|seconds| seconds.parse().unwrap());
    seconds.map_or(DEFAULT, Duration::from_secs)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Memory that the process holds; zero where nobody tells.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = status.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4_096
}

/// Ends the process when an input takes too long: a loop without an end cannot be stopped in any other way.
struct Watchdog {
    started: Instant,
    seed: AtomicU64,
    /// Milliseconds after the start at which the present input began; zero between two.
    began: AtomicU64,
}

impl Watchdog {
    fn of(target: &'static str, seed: u64) -> Arc<Self> {
        let dog =
            Arc::new(Self { started: Instant::now(), seed: AtomicU64::new(seed), began: AtomicU64::new(0) });
        let watched = Arc::downgrade(&dog);
        thread::spawn(move || Self::watch(target, &watched));
        dog
    }

    fn watch(target: &str, watched: &Weak<Self>) {
        while let Some(dog) = watched.upgrade() {
            let began = dog.began.load(Ordering::Relaxed);
            let patience = u64::try_from(PATIENCE.as_millis()).unwrap();
            if began > 0 && dog.elapsed() > began + patience {
                let seed = dog.seed.load(Ordering::Relaxed);
                eprintln!("{target}, FUZZ_SEED={seed}: an input takes longer than {PATIENCE:?}");
                std::process::abort();
            }
            drop(dog);
            thread::sleep(Duration::from_millis(500));
        }
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap()
    }

    fn begins(&self) {
        self.began.store(self.elapsed().max(1), Ordering::Relaxed);
    }

    fn ends(&self) {
        self.began.store(0, Ordering::Relaxed);
    }
}
