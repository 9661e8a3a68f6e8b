//! Sentinels, and the master that they name.

use std::time::Duration;

use futures_util::future::join_all;
use redis::{Value, cmd};
use tokio::time::timeout;

use super::access::{Access, Login};
use super::address::Node;
use super::answer;
use super::fault::Fault;
use super::opening;
use super::reach::Reach;

/// How long one sentinel is waited for, while others may have answered: well within a tick.
const PATIENCE: Duration = Duration::from_secs(1);

/// A master, as one sentinel knows it.
#[derive(Debug, PartialEq, Eq)]
struct Known {
    node: Node,
    /// Grows with every failover: of two sentinels the one with the higher number knows the newer master.
    epoch: u64,
}

/// The master named `name`, and how far its address is believed. All sentinels are asked, because one that was cut off may name a former master.
///
/// # Errors
/// When no sentinel can say.
pub(super) async fn master(
    name: &str,
    sentinels: &[Node],
    login: Option<&Login>,
    access: &Access,
) -> Result<(Node, Reach), Fault> {
    let access = Access { login: login.cloned(), tls: access.tls.clone() };
    let access = &access;
    let answers = join_all(sentinels.iter().map(|sentinel| async move {
        let asked = timeout(PATIENCE, ask(name, sentinel, access)).await;
        let late = || Err(Fault::Lost("no answer in time".to_owned()));
        asked.unwrap_or_else(|_| late()).map_err(|fault| (sentinel, fault))
    }));
    let (mut newest, mut why): (Option<(Known, Reach)>, _) = (None, None);
    for answer in answers.await {
        match answer {
            Ok((known, reach)) if newest.as_ref().is_none_or(|(newest, _)| newest.epoch < known.epoch) => {
                newest = Some((known, reach));
            }
            Ok(_) => {}
            Err(fault) => why = why.or(Some(fault)),
        }
    }
    newest.map(|(known, reach)| (known.node, reach)).ok_or_else(|| match why {
        Some((sentinel, fault)) => fault.said_by(&format!("sentinel {sentinel}")),
        None => Fault::Lost("there is no sentinel".to_owned()),
    })
}

async fn ask(name: &str, sentinel: &Node, access: &Access) -> Result<(Known, Reach), Fault> {
    let mut connection = opening::log_in(sentinel, Reach::Anywhere, access).await?;
    let reach = Reach::From { peer: connection.peer(), encrypted: access.tls.is_some() };
    let answer = opening::ask(cmd("SENTINEL").arg("MASTER").arg(name), &mut connection).await?;
    if let Value::ServerError(error) = &answer {
        return Err(Fault::of_sentinel(name, error));
    }
    let known = read(&answer).ok_or_else(|| Fault::nonsense("SENTINEL MASTER"))?;
    Ok((known, reach))
}

fn read(answer: &Value) -> Option<Known> {
    let fields = answer::array(answer)?;
    let text = |name| str::from_utf8(answer::field(fields, name).and_then(answer::bytes)?).ok();
    let host = text("ip")?.to_owned();
    let (port, epoch) = (text("port")?.parse().ok()?, text("config-epoch")?.parse().ok()?);
    Some(Known { node: Node { host, port }, epoch })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_has_an_address_and_an_epoch() {
        let good = ["name", "main", "ip", "10.0.0.1", "port", "7000", "config-epoch", "3"];
        let known = Known { node: Node { host: "10.0.0.1".to_owned(), port: 7000 }, epoch: 3 };
        assert_eq!(read(&fields(&good)), Some(known));
        for bad in [&good[..6], &["ip", "10.0.0.1", "port", "70000", "config-epoch", "3"], &[]] {
            assert_eq!(read(&fields(bad)), None, "{bad:?}");
        }
        assert_eq!(read(&Value::Nil), None);
    }

    fn fields(texts: &[&str]) -> Value {
        Value::Array(texts.iter().map(|text| Value::BulkString((*text).into())).collect())
    }
}
