//! What `scale` stands on: the server as a process, a Redis behind a proxy that counts, KEDA, and a table.

pub(crate) mod keda;
pub(crate) mod queues;
pub(crate) mod server;
pub(crate) mod table;

mod proxy;
#[expect(dead_code, reason = "the tests need more of it")]
#[path = "../../tests/it/support/servers.rs"]
mod servers;
