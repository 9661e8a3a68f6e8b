//! What goes wrong on a connection, in words that name the remedy and never a credential.

use redis::{ErrorKind, RedisError, ServerError};

use super::wrong_type::{self, Purpose};
use crate::sources::ReadError;
use crate::workers::reader::Unreadable;

/// The least rights with which a user can read every kind of queue, as `ACL SETUSER` takes them. The keys
/// come on top: `~acme:*`.
pub(super) const RIGHTS: &str = "-@all +select +time +llen +xlen +xinfo|groups +xrange";

/// The same for sorted sets, with the lists and sets of what runs beside them.
pub(super) const RIGHTS_FOR_SORTED_SETS: &str = "-@all +select +time +llen +zcard +zcount +zrange";

/// What comes on top of these for a user that reads what workers report: `~agent-scaler:*`.
pub(super) const RIGHTS_FOR_REPORTS: &str = "+zcount +hscan";

/// What comes on top of these for a user that tells workers what they may use: `~agent-scaler:share:*`.
pub(super) const RIGHTS_FOR_SHARES: &str = "+multi +exec +del +hset +expire";

/// What comes on top of these for a user that is told when keys change.
pub(super) const RIGHTS_FOR_PUSH: &str = "+client|tracking";

/// What comes on top of these on the nodes of a cluster.
pub(super) const RIGHTS_FOR_CLUSTERS: &str = "+cluster|slots +asking";

/// What comes on top of these on servers that sentinels watch.
pub(super) const RIGHTS_WITH_SENTINELS: &str = "+role";

/// What a user of the sentinels themselves needs.
pub(super) const RIGHTS_ON_SENTINELS: &str = "-@all +sentinel|master";

/// The code of the error in place of an answer that a node did not give.
pub(super) const LOST: &str = "LOST";

/// How Redis begins to say that it takes no more connections.
const TOO_MANY_CLIENTS: &str = "max number of clients";

/// A [`ReadError`] that does not know its endpoint yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// No answer in time.
    Late,
    /// No connection, or it broke.
    Lost(String),
    /// Redis knows us and says no, or does not know us.
    Denied(String),
    /// An answer that makes no sense for what was asked.
    Unexpected(String),
}

impl Fault {
    /// The error, with the address at which it happened.
    pub(super) fn at(self, endpoint: &str) -> ReadError {
        let endpoint = endpoint.to_owned();
        match self {
            Self::Late => ReadError::Deadline { endpoint },
            Self::Lost(message) => ReadError::Unreachable { endpoint, message },
            Self::Denied(message) => ReadError::Denied { endpoint, message },
            Self::Unexpected(message) => ReadError::Unexpected { endpoint, message },
        }
    }

    /// The cause, without the address.
    pub(super) fn message(self) -> String {
        match self {
            Self::Late => "no answer in time".to_owned(),
            Self::Lost(message) | Self::Denied(message) | Self::Unexpected(message) => message,
        }
    }

    /// The server sends more than it was asked for.
    pub(super) fn too_long() -> Self {
        Self::Lost("it sends more than it was asked for".to_owned())
    }

    /// The answer about one queue is longer than may be read.
    pub(super) fn oversized(most: usize) -> Self {
        let most = most >> 10;
        Self::Unexpected(format!(
            "the answer takes more than {most} KiB and is not read: something in these keys is longer than it ever is"
        ))
    }

    /// A server names a host to which the password is not sent.
    pub(super) fn out_of_reach() -> Self {
        Self::Denied(
            "it was named by another server, and lies where that one does not: name it in `urls`".to_owned(),
        )
    }

    /// The answer to `command` has a shape that it never has.
    pub(super) fn nonsense(command: &str) -> Self {
        Self::Unexpected(format!("the answer to {command} makes no sense"))
    }

    /// What Redis said instead of answering a command about `key`, which should hold a `kind`.
    pub(super) fn about(key: &str, kind: &str, purpose: Purpose, error: &ServerError) -> Self {
        Self::refused(key, kind, purpose, RIGHTS, error)
    }

    /// The same where reading takes other `rights`.
    pub(super) fn refused(
        key: &str,
        kind: &str,
        purpose: Purpose,
        rights: &str,
        error: &ServerError,
    ) -> Self {
        match error.code() {
            wrong_type::CODE => Self::Unexpected(wrong_type::message(key, kind, purpose, error)),
            LOST => Self::Lost(error.details().unwrap_or_default().to_owned()),
            "NOPERM" => Self::Denied(format!(
                "reading `{key}`: {}; the user needs `{rights} ~{key}`",
                shortened(error.details())
            )),
            _ => match Self::said(error) {
                Self::Unexpected(message) => Self::Unexpected(format!("reading `{key}`: {message}")),
                other @ (Self::Late | Self::Lost(_) | Self::Denied(_)) => other,
            },
        }
    }

    /// What Redis said instead of following the names in `key`.
    pub(super) fn unfollowed(key: &str, error: &ServerError) -> Self {
        Self::Denied(format!(
            "following the names in `{key}`: {}; that needs Redis 7, `+sort_ro %R~*`, and no cluster; do without by `busy: \"false\"`",
            shortened(error.details())
        ))
    }

    /// What Redis said instead of taking what workers may use.
    pub(super) fn of_share(error: &ServerError) -> Self {
        if error.code() == "NOPERM" {
            return Self::Denied(format!(
                "publishing shares: {}; the user needs `{RIGHTS_FOR_SHARES} ~agent-scaler:share:*` on top",
                shortened(error.details())
            ));
        }
        match Self::said(error) {
            Self::Unexpected(message) => Self::Unexpected(format!("publishing shares: {message}")),
            other @ (Self::Late | Self::Lost(_) | Self::Denied(_)) => other,
        }
    }

    /// What Redis said instead of answering a command that is about no key.
    pub(super) fn said(error: &ServerError) -> Self {
        let details = shortened(error.details());
        let state = match error.code() {
            "NOAUTH" => {
                return Self::Denied("it wants a password: give the connection `password`".to_owned());
            }
            "WRONGPASS" => {
                return Self::Denied("wrong username or password, or the user is off".to_owned());
            }
            "NOPERM" => return Self::Denied(format!("{details}; the user needs `{RIGHTS}`")),
            "ERR" if details.starts_with(TOO_MANY_CLIENTS) => {
                return Self::Lost("it has as many clients as its `maxclients` allows".to_owned());
            }
            "LOADING" => "it is loading its data after a start",
            "BUSY" => "it is busy with a script",
            "MASTERDOWN" => "it is a replica that has lost its master",
            "READONLY" => "it is a replica, which does not take this command",
            "MOVED" | "ASK" | "TRYAGAIN" | "CROSSSLOT" => {
                "it is a node of a cluster: the connection must be of `type: redis-cluster`"
            }
            "CLUSTERDOWN" => "the cluster is down, or nobody serves this key's slot yet",
            code => {
                let words = format!("{code} {details}");
                return Self::Unexpected(format!("it said {}", shortened(Some(&words))));
            }
        };
        Self::Unexpected(state.to_owned())
    }

    /// What a node said instead of telling who serves which slot.
    pub(super) fn of_cluster(error: &ServerError) -> Self {
        match error.code() {
            "NOPERM" => Self::Denied(format!(
                "{}; the user needs `{RIGHTS_FOR_CLUSTERS}` on top",
                shortened(error.details())
            )),
            "ERR" if error.details().is_some_and(|details| details.contains("cluster support disabled")) => {
                Self::Unexpected(
                    "it is no node of a cluster: the connection must be of `type: redis`".to_owned(),
                )
            }
            _ => Self::said(error),
        }
    }

    /// What a server said instead of telling its role.
    pub(super) fn of_role(error: &ServerError) -> Self {
        match error.code() {
            "NOPERM" => Self::Denied(format!(
                "{}; the user needs `{RIGHTS_WITH_SENTINELS}` on top",
                shortened(error.details())
            )),
            _ => Self::said(error),
        }
    }

    /// What a sentinel said instead of naming the master `name`.
    pub(super) fn of_sentinel(name: &str, error: &ServerError) -> Self {
        let details = error.details().unwrap_or_default();
        match error.code() {
            "NOAUTH" => {
                Self::Denied("it wants a password: give the connection `sentinelPassword`".to_owned())
            }
            "NOPERM" => {
                Self::Denied(format!("{}; the user needs `{RIGHTS_ON_SENTINELS}`", shortened(Some(details))))
            }
            "ERR" if details.starts_with("No such master") => {
                Self::Unexpected(format!("it knows no master named `{name}`"))
            }
            "ERR" if details.starts_with("unknown command") => {
                Self::Unexpected("it is no sentinel: `urls` are the addresses of sentinels".to_owned())
            }
            _ => Self::said(error),
        }
    }

    /// What a server said instead of telling us from now on when keys change.
    pub(super) fn of_tracking(error: &ServerError) -> Self {
        match error.code() {
            "NOPERM" => Self::Denied(format!(
                "{}; the user needs `{RIGHTS_FOR_PUSH}` on top",
                shortened(error.details())
            )),
            _ => Self::Denied(format!("it does not tell when keys change: {}", shortened(error.details()))),
        }
    }

    /// Why we may not be told when keys change, by events or otherwise.
    pub(super) fn of_subscription(error: &RedisError) -> Self {
        match error.code() {
            Some("NOPERM") => Self::Denied(format!(
                "{}; the user needs `{RIGHTS_FOR_PUSH}` on top",
                shortened(error.detail())
            )),
            _ => Self::of_connection(error),
        }
    }

    /// The cluster has nobody for the slot of a key.
    pub(super) fn unserved() -> Self {
        Self::Unexpected("the cluster has nobody who serves this key's slot at the moment".to_owned())
    }

    /// The same, said by one of several servers.
    pub(super) fn said_by(self, who: &str) -> Self {
        match self {
            Self::Late => Self::Lost(format!("{who}: no answer in time")),
            Self::Lost(message) => Self::Lost(format!("{who}: {message}")),
            Self::Denied(message) => Self::Denied(format!("{who}: {message}")),
            Self::Unexpected(message) => Self::Unexpected(format!("{who}: {message}")),
        }
    }

    /// What Redis said to `AUTH`. Its own words are not repeated: a server that does not know the command
    /// quotes the arguments, and the argument is the password.
    pub(super) fn said_to_password(error: &ServerError) -> Self {
        let details = error.details().unwrap_or_default();
        match error.code() {
            "WRONGPASS" | "LOADING" | "BUSY" => Self::said(error),
            "ERR" if details.starts_with(TOO_MANY_CLIENTS) => Self::said(error),
            "ERR" if details.starts_with("AUTH <password> called without any password configured") => {
                Self::Denied("its default user has no password: leave `password` out".to_owned())
            }
            _ => Self::Denied("it does not take the password".to_owned()),
        }
    }

    /// Why there is no connection, or no longer one.
    pub(super) fn of_connection(error: &RedisError) -> Self {
        if error.is_connection_refusal() {
            return Self::Lost("connection refused".to_owned());
        }
        if error.kind() == ErrorKind::Parse {
            return Self::Lost("it does not speak Redis's protocol".to_owned());
        }
        if error.is_connection_dropped() {
            return Self::Lost("the connection broke".to_owned());
        }
        let message = shortened(Some(&error.to_string()));
        let untrusted = message.starts_with("invalid peer certificate");
        let hint = if untrusted { "; `ca` names the authority to trust" } else { "" };
        Self::Lost(format!("{message}{hint}"))
    }
}

impl From<Unreadable> for Fault {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::Refused { key, kind, error } => match error.code() {
                wrong_type::CODE => Self::Unexpected(format!(
                    "`{key}` holds another type than a {kind}, where workers should report: something else writes to \
                     it, so have workers report under another name (`workerScope`, `llmLimit`)"
                )),
                "NOPERM" => Self::Denied(format!(
                    "reading `{key}`: {}; the user needs `{RIGHTS_FOR_REPORTS} ~agent-scaler:*` on top",
                    shortened(error.details())
                )),
                _ => Self::about(&key, kind, Purpose::Framework, &error),
            },
            Unreadable::Nonsense { key } => Self::nonsense(&format!("a question about `{key}`")),
            Unreadable::TooMany { key, most } => Self::Unexpected(format!(
                "`{key}` has more than {most} fields: give each workload a name of its own to report under"
            )),
            Unreadable::ClockWentBack => {
                Self::Unexpected("its clock went back: what is live is not known in this read".to_owned())
            }
        }
    }
}

/// At most 200 characters of what a server said: enough to search for, too little to flood a log. None of them
/// moves a cursor.
fn shortened(text: Option<&str>) -> String {
    const LONGEST: usize = 200;
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.unwrap_or_default().trim_end().chars().take(LONGEST).map(plain).collect()
}

#[cfg(test)]
mod tests;
