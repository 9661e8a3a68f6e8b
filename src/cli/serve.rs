//! `agent-scaler serve`: the server that KEDA calls.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{self, Handle, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use super::{install_crypto, load_server};
use crate::clock::SystemClock;
use crate::config::server::{Limit, Server, local_names};
use crate::scaler::Scaler;

/// How long the server may take to stop: longer than it gives its calls, and within the ten seconds that a pod has.
const LONGEST_STOP: Duration = Duration::from_secs(9);

/// Serves KEDA's external-scaler protocol.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The server's file (YAML); `agent-scaler keys --server` lists its keys.
    #[arg(long, default_value = "/etc/agent-scaler/agent-scaler.yaml", env = "AGENT_SCALER_CONFIG")]
    config: PathBuf,
    /// Lets triggers give addresses of their own, e.g. `connection: redis://127.0.0.1:6379`. For development:
    /// whoever can write a trigger can make the server connect anywhere.
    #[arg(long)]
    allow_inline_connections: bool,
}

pub(super) fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { config, allow_inline_connections } = arguments;
    let mut server = Server { allow_inline_connections, ..load_server(&config)? };
    server.admin_hosts.extend(local_names());
    install_crypto();
    for limit in server.limits.values().filter(|limit| limit.policy.amounts.is_empty()) {
        tracing::warn!(limit = %limit.name, "{}", Limit::NO_AMOUNT);
    }
    for connection in server.connections.values() {
        if let Some(caution) = connection.endpoint.caution() {
            tracing::warn!(connection = %connection.name, "{caution}");
        }
    }
    // Signals have a thread of their own, this one: the others may all be busy, and the process must end all the same.
    let signals = runtime::Builder::new_current_thread().enable_all().build()?;
    let work = Runtime::new()?;
    let served = signals.block_on(serve(server, work.handle()));
    // What still runs is not waited for: the process ends with this thread.
    work.shutdown_background();
    served?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(server: Server, work: &Handle) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let clock = Arc::new(SystemClock::start());
    let scaler = work.spawn(Scaler::start(server, clock)).await??;
    tracing::info!(grpc = %scaler.grpc, admin = %scaler.admin, "Serving.");
    let has_failed = tokio::select! {
        _ = terminate.recv() => false,
        _ = interrupt.recv() => false,
        () = scaler.failed() => true,
    };
    tracing::info!("Shutting down.");
    stop(scaler.stop(), work).await;
    anyhow::ensure!(!has_failed, "the server has failed; the log says why");
    Ok(())
}

/// Waits until the server has stopped, but not for ever.
async fn stop(stopping: impl Future<Output = ()> + Send + 'static, work: &Handle) {
    if timeout(LONGEST_STOP, work.spawn(stopping)).await.is_err() {
        tracing::error!("The server does not stop; the process ends without it.");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn the_process_ends_although_no_thread_of_the_server_ever_rests() {
        let signals = runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let work = runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let (burning, burns) = mpsc::channel();
        let (end, ends) = mpsc::channel::<()>();
        work.spawn(async move {
            burning.send(()).unwrap();
            ends.recv().unwrap_err();
        });
        burns.recv().unwrap();
        signals.block_on(stop(std::future::pending(), work.handle()));
        work.shutdown_background();
        drop(end);
    }
}
