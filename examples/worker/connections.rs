//! Connections to Redis that come back by themselves.

use std::time::Duration;

use agent_scaler::secret::Secret;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, IntoConnectionInfo, TlsCertificates};

use crate::queue::LOOK;
use crate::settings::RedisSettings;

/// Time for a connection, and for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Tries to connect again before a command fails, and the longest pause between two.
const RETRIES: usize = 3;
const PAUSE: Duration = Duration::from_millis(300);

/// The connections of one worker.
pub(crate) struct Connections {
    /// For the queue.
    pub(crate) queue: ConnectionManager,
    /// For looking for tasks, which waits on the server.
    pub(crate) looking: ConnectionManager,
    /// For the limiter: a large checkpoint on its way must not delay a request.
    pub(crate) limiter: ConnectionManager,
    /// For reports, which watch keys.
    pub(crate) reports: ConnectionManager,
}

/// Prepares the connections; each connects when it is first used.
///
/// # Errors
/// When a file cannot be read or the settings make no connection.
pub(crate) fn prepare(settings: &RedisSettings) -> Result<Connections, Box<dyn std::error::Error>> {
    let client = client(settings)?;
    let open = |patience: Duration| {
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(patience))
            .set_number_of_retries(RETRIES)
            .set_max_delay(PAUSE);
        ConnectionManager::new_lazy_with_config(client.clone(), config)
    };
    Ok(Connections {
        queue: open(PATIENCE)?,
        looking: open(LOOK + PATIENCE)?,
        limiter: open(PATIENCE)?,
        reports: open(PATIENCE)?,
    })
}

fn client(settings: &RedisSettings) -> Result<Client, Box<dyn std::error::Error>> {
    let RedisSettings { url, username, password, ca } = settings;
    let mut info = url.expose().into_connection_info()?;
    let mut login = info.redis_settings().clone();
    if let Some(username) = username {
        login = login.set_username(username);
    }
    if let Some(password) = password.as_ref().map(Secret::reveal).transpose()? {
        login = login.set_password(password.expose());
    }
    info = info.set_redis_settings(login);
    Ok(match ca {
        None => Client::open(info)?,
        Some(ca) => {
            let certificates = TlsCertificates { client_tls: None, root_cert: Some(std::fs::read(ca)?) };
            Client::build_with_tls(info, certificates)?
        }
    })
}
