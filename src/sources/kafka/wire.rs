//! What we and the process that holds Kafka's client library say to each other: JSON with its length in front.
//!
//! There is one question at a time, and one answer: a `Result` of what the question asks for, or a [`Fault`].

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use url::Url;

use super::fault::Fault;
use super::login::{Login, TokenEndpoint};
use super::queue::Isolation;
use crate::secret::{Revealed, Secret};

/// Longest message, in bytes: the ends of 200,000 partitions take 4 MB.
pub(super) const LONGEST_MESSAGE: usize = 8 << 20;

/// Bytes of the length in front of a message.
pub(super) const PREFIX: usize = 4;

/// A partition of a topic.
pub(super) type Place = (Arc<str>, i32);

/// What was answered about each partition.
pub(super) type Answers<T> = HashMap<Place, Result<T, Fault>>;

/// What was answered about each partition of a question, in its order.
pub(super) type InOrder<T> = Vec<Result<T, Fault>>;

/// What each group of a question has committed, in its order.
pub(super) type OfGroups = Vec<Result<InOrder<Option<u64>>, Fault>>;

/// Topics, each with some of its partitions.
pub(super) type Places = Vec<(String, Vec<i32>)>;

/// Every topic that was found, and the number of each of its partitions with whether a broker answers for it.
pub(super) type Found = Vec<(String, Result<Vec<(i32, bool)>, Fault>)>;

/// What the process is asked.
///
/// It has no `Debug`, because the first one holds credentials.
#[derive(Serialize, Deserialize)]
pub(super) enum Question {
    /// To open a client, and to wait until a broker has let it in: `()`. The first question, and no other.
    Open { opening: Opening, within: Duration },
    /// Which partitions topics have: [`Found`]. All topics of the cluster if `everything`, else those of `names`.
    Topics { names: Vec<String>, everything: bool, within: Duration },
    /// What groups have committed: [`OfGroups`]. Clients of the groups
    /// in `closed` are closed before.
    Committed { groups: Vec<(String, Places)>, closed: Vec<String>, within: Duration },
    /// One end of partitions: `InOrder<u64>`.
    Ends { isolation: Isolation, places: Places, end: End, within: Duration },
}

/// One end of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum End {
    /// The offset of its first record.
    Start,
    /// The offset that its next record will have.
    End,
}

/// What clients of one connection are opened with: what its files held when it was.
#[derive(Serialize, Deserialize)]
pub(super) struct Opening {
    /// Settings of the library. One may be a password.
    pub(super) settings: BTreeMap<String, String>,
    /// Where tokens are had, if the login takes them.
    pub(super) tokens: Option<Tokens>,
    /// Whether what the library says is logged.
    pub(super) is_logged: bool,
}

/// Where tokens are had.
#[derive(Serialize, Deserialize)]
pub(super) enum Tokens {
    /// Somebody keeps one fresh there.
    Kept(Credential),
    /// The endpoint gives them.
    Given { url: String, client_id: String, client_secret: Credential, scope: Option<String> },
}

/// A credential on its way.
#[derive(Serialize, Deserialize)]
pub(super) enum Credential {
    /// The value of an environment variable.
    Variable { name: String, value: String },
    /// Where it can be read, anew each time.
    File(PathBuf),
}

impl Tokens {
    /// Where the tokens of `login` are had; `None` if it needs none.
    pub(super) fn of(login: &Login) -> Option<Self> {
        match login {
            Login::Password { .. } => None,
            Login::Token(secret) => Some(Self::Kept(Credential::of(secret))),
            Login::Tokens(TokenEndpoint { url, client_id, client_secret, scope }) => Some(Self::Given {
                url: url.to_string(),
                client_id: client_id.clone(),
                client_secret: Credential::of(client_secret),
                scope: scope.clone(),
            }),
        }
    }

    /// The login that takes them.
    ///
    /// # Errors
    /// When the endpoint is no URL.
    pub(super) fn login(self) -> Result<Login, Fault> {
        Ok(match self {
            Self::Kept(credential) => Login::Token(credential.into()),
            Self::Given { url, client_id, client_secret, scope } => Login::Tokens(TokenEndpoint {
                url: Url::parse(&url).map_err(|_| Fault::Lost("the token endpoint is no URL".to_owned()))?,
                client_id,
                client_secret: client_secret.into(),
                scope,
            }),
        })
    }
}

impl Credential {
    fn of(secret: &Secret) -> Self {
        match secret {
            Secret::Variable { name, value } => {
                Self::Variable { name: name.clone(), value: value.expose().to_owned() }
            }
            Secret::File(path) => Self::File(path.clone()),
        }
    }
}

impl From<Credential> for Secret {
    fn from(credential: Credential) -> Self {
        match credential {
            Credential::Variable { name, value } => Self::Variable { name, value: Revealed::new(value) },
            Credential::File(path) => Self::File(path),
        }
    }
}

/// Puts the partitions of each topic together. Their order is kept where topics are not mixed.
pub(super) fn by_topic<'a>(places: impl IntoIterator<Item = &'a Place>) -> Places {
    let mut grouped = Places::new();
    for (topic, partition) in places {
        match grouped.last_mut() {
            Some((last, partitions)) if **last == **topic => partitions.push(*partition),
            Some(_) | None => grouped.push((topic.to_string(), vec![*partition])),
        }
    }
    grouped
}

/// A message with its length.
///
/// # Errors
/// When it is too long.
pub(super) fn message(content: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut message = vec![0; PREFIX];
    serde_json::to_writer(&mut message, content)?;
    let length = u32::try_from(message.len() - PREFIX).ok().filter(|_| message.len() <= LONGEST_MESSAGE);
    let length =
        length.ok_or_else(|| io::Error::new(io::ErrorKind::FileTooLarge, "the message is too long"))?;
    message[..PREFIX].copy_from_slice(&length.to_be_bytes());
    Ok(message)
}

/// The length that is in front of a message.
///
/// # Errors
/// When no message may be that long.
pub(super) fn length(prefix: [u8; PREFIX]) -> io::Result<usize> {
    let length = usize::try_from(u32::from_be_bytes(prefix)).ok().filter(|length| *length <= LONGEST_MESSAGE);
    length
        .ok_or_else(|| io::Error::new(io::ErrorKind::FileTooLarge, "a message that is too long is announced"))
}

/// What a message of the right length says.
///
/// # Errors
/// When it makes no sense.
pub(super) fn content<T: DeserializeOwned>(message: &[u8]) -> io::Result<T> {
    // What does not fit is not quoted: it may hold a credential.
    serde_json::from_slice(message)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a message of another kind"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_bounded_on_both_sides() {
        let longest = "x".repeat(LONGEST_MESSAGE - PREFIX - 2);
        let sent = message(&longest).unwrap();
        let read = length([sent[0], sent[1], sent[2], sent[3]]).unwrap();
        assert_eq!(read, sent.len() - PREFIX);
        assert_eq!(content::<String>(&sent[PREFIX..]).unwrap(), longest);
        assert!(message(&"x".repeat(LONGEST_MESSAGE)).is_err());
        assert!(length([0x7f, 0xff, 0xff, 0xff]).is_err());
    }

    #[test]
    fn what_makes_no_sense_is_not_quoted() {
        let error = content::<u64>(br#""hunter2""#).unwrap_err();
        assert_eq!(error.to_string(), "a message of another kind");
    }

    #[test]
    fn partitions_are_asked_for_by_topic() {
        let place = |topic: &str, partition| (Arc::from(topic), partition);
        let places = [place("a", 1), place("a", 3), place("b", 0)];
        assert_eq!(by_topic(&places), [("a".to_owned(), vec![1, 3]), ("b".to_owned(), vec![0])]);
    }
}
