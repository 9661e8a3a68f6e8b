//! A network namespace with nothing but a loopback, so that no port clashes and nothing leaves the machine.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// Set for the process inside.
const MARK: &str = "AGENT_SCALER_TEST_ISOLATED";

/// Whether this process is the one inside.
#[expect(clippy::disallowed_methods, reason = "the mark is a message from our own former self")]
pub(crate) fn is_inside() -> bool {
    std::env::var(MARK).is_ok()
}

/// Becomes the same program inside the namespace. Returns only if that is not possible.
///
/// The namespace of processes makes an end of everything that was started, however this program ends. That
/// of mounts gives the scenarios host names: KEDA looks up addresses as it would those of a headless Service.
pub(crate) fn enter(hosts: &[(String, Ipv4Addr)]) -> ExitCode {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hosts");
    std::fs::write(&path, file_of_hosts(hosts)).unwrap();
    let script = "ip link set lo up && mount --bind \"$0\" /etc/hosts && rm -r \"${0%/*}\" && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child"]);
    if !is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--", "sh", "-c", script]).arg(directory.keep().join("hosts"));
    command.arg(std::env::current_exe().unwrap()).args(std::env::args_os().skip(1)).env(MARK, "1");
    let error = command.exec();
    eprintln!("cannot run unshare ({error}): install util-linux and iproute2");
    ExitCode::FAILURE
}

fn file_of_hosts(hosts: &[(String, Ipv4Addr)]) -> String {
    let mut text = "127.0.0.1 localhost\n".to_owned();
    for (name, address) in hosts {
        writeln!(text, "{address} {name}").unwrap();
    }
    text
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().expect("`id` is on every machine");
    output.stdout == b"0\n"
}
