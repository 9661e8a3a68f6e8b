//! `agent-scaler serve`: the server that KEDA calls.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use super::{install_crypto, load_server};
use crate::clock::SystemClock;
use crate::config::server::{Limit, Server, local_names};
use crate::scaler::Scaler;

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
    let runtime = tokio::runtime::Runtime::new()?;
    let served = runtime.block_on(serve(server));
    // A lookup that hangs, or a page that is still read, keeps nobody waiting.
    runtime.shutdown_background();
    served.map(|()| ExitCode::SUCCESS)
}

async fn serve(server: Server) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    for limit in server.limits.values().filter(|limit| limit.policy.amounts.is_empty()) {
        tracing::warn!(limit = %limit.name, "{}", Limit::NO_AMOUNT);
    }
    for connection in server.connections.values() {
        if let Some(caution) = connection.endpoint.caution() {
            tracing::warn!(connection = %connection.name, "{caution}");
        }
    }
    let scaler = Scaler::start(server, Arc::new(SystemClock::start())).await?;
    tracing::info!(grpc = %scaler.grpc, admin = %scaler.admin, "Serving.");
    let has_failed = tokio::select! {
        _ = terminate.recv() => false,
        _ = interrupt.recv() => false,
        () = scaler.failed() => true,
    };
    tracing::info!("Shutting down.");
    scaler.stop().await;
    anyhow::ensure!(!has_failed, "the server has failed; the log says why");
    Ok(())
}
