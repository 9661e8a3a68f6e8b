//! `agent-scaler kafka-reader`: the process that holds Kafka's client library. Only `agent-scaler` starts it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use rustix::process::{Resource, Rlimit, setrlimit};

use super::remark;
use crate::sources::kafka;

/// Reads one Kafka cluster for the process that started it.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Whether the process has its limits and its environment.
    #[arg(long)]
    is_limited: bool,
}

/// Stack of the library's threads, in bytes: it starts one for each broker of each client. As much as the library is
/// run with where the system gives little (128 KiB), with room for OpenSSL and names that are looked up.
const STACK: u64 = 512 << 10;

/// What the process may know of our environment, which may hold other backends' passwords: the way to a token
/// endpoint, and where the system's libraries find what they need.
const KEPT: &[&str] = &[
    "ALL_PROXY",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "LD_LIBRARY_PATH",
    "LOCALDOMAIN",
    "NO_PROXY",
    "OPENSSL_CONF",
    "OPENSSL_MODULES",
    "RES_OPTIONS",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TZ",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// How its allocators keep to little: the C library's with two arenas for all threads, ours without a gigabyte that
/// would count at once.
const ALLOCATORS: [(&str, &str); 2] = [("MALLOC_ARENA_MAX", "2"), ("MIMALLOC_ARENA_EAGER_COMMIT", "0")];

/// Reads until the process that started this one closes the pipe, or ends.
pub(super) fn run(Arguments { is_limited }: &Arguments) -> ExitCode {
    if *is_limited {
        super::install_crypto();
        kafka::run_reader();
    }
    remark(&format!("error: the Kafka client cannot be started: {}", limited()));
    ExitCode::FAILURE
}

/// Starts this program anew in its own place, because the C library reads the size of stacks and the settings of its
/// allocator only when it starts.
fn limited() -> std::io::Error {
    let program = match kafka::program() {
        Ok(program) => program,
        Err(error) => return error,
    };
    for (resource, most) in [(Resource::Stack, STACK), (Resource::Core, 0)] {
        // A limit that cannot be set costs memory, and nothing else.
        let _ = setrlimit(resource, Rlimit { current: Some(most), maximum: None });
    }
    let kept = KEPT.iter().filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)));
    let mut command = Command::new(program);
    command.arg0("agent-scaler").args([kafka::COMMAND, "--is-limited"]);
    command.env_clear().envs(kept).envs(ALLOCATORS).exec()
}
