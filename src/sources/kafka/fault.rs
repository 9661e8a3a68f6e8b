//! What goes wrong between us and a cluster, in words that name the remedy and never a credential.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use serde::{Deserialize, Serialize};

use crate::sources::ReadError;

/// A [`ReadError`] that does not know its endpoint yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub(super) enum Fault {
    /// No answer in time.
    #[error("no answer in time")]
    Late,
    /// No connection, or it broke.
    #[error("{0}")]
    Lost(String),
    /// The cluster does not take us for who we say we are.
    #[error("{0}")]
    NotLetIn(String),
    /// The cluster knows us and says no.
    #[error("{0}")]
    Denied(String),
    /// An answer that makes no sense for what was asked.
    #[error("{0}")]
    Unexpected(String),
}

impl Fault {
    /// The error, with the address at which it happened.
    pub(super) fn at(self, endpoint: &str) -> ReadError {
        let endpoint = endpoint.to_owned();
        match self {
            Self::Late => ReadError::Deadline { endpoint },
            Self::Lost(message) => ReadError::Unreachable { endpoint, message },
            Self::NotLetIn(message) | Self::Denied(message) => ReadError::Denied { endpoint, message },
            Self::Unexpected(message) => ReadError::Unexpected { endpoint, message },
        }
    }

    /// The error of a connection that was good and is not taken any more: the next one is opened with what the
    /// files hold by then.
    pub(super) fn after_login(self) -> Self {
        match self {
            Self::NotLetIn(message) => Self::Lost(message),
            Self::Late | Self::Lost(_) | Self::Denied(_) | Self::Unexpected(_) => self,
        }
    }

    /// What the library said instead of an answer about the cluster.
    pub(super) fn of(error: &KafkaError) -> Self {
        let Some(code) = error.rdkafka_error_code() else {
            return Self::Unexpected(shortened(&error.to_string()));
        };
        match Self::of_cluster(code) {
            Some(fault) => fault,
            None => Self::Unexpected(shortened(&code.to_string())),
        }
    }

    /// What a code says that is about no topic and no group.
    fn of_cluster(code: RDKafkaErrorCode) -> Option<Self> {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "the library has some 150 codes, and adds to them"
        )]
        match code {
            RDKafkaErrorCode::OperationTimedOut | RDKafkaErrorCode::RequestTimedOut => Some(Self::Late),
            RDKafkaErrorCode::BrokerTransportFailure => Some(Self::Lost("the connection broke".to_owned())),
            RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::Resolve => {
                Some(Self::Lost("no broker can be reached".to_owned()))
            }
            RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => {
                Some(Self::NotLetIn("it does not take our credentials".to_owned()))
            }
            RDKafkaErrorCode::TopicAuthorizationFailed => {
                Some(Self::Denied("the user needs the ACL `Describe` on every topic".to_owned()))
            }
            RDKafkaErrorCode::ClusterAuthorizationFailed => {
                Some(Self::Denied("the user may not ask this cluster".to_owned()))
            }
            _ => None,
        }
    }

    /// Why there is nothing to say of a topic.
    pub(super) fn of_topic(topic: &str, code: RDKafkaErrorCode) -> Self {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "the library has some 150 codes, and adds to them"
        )]
        match code {
            RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownPartition => Self::Unexpected(format!(
                "there is no topic `{topic}`, or the user may not know of it: create it, or allow `Describe` on it"
            )),
            RDKafkaErrorCode::TopicAuthorizationFailed => {
                Self::Denied(format!("topic `{topic}`: the user needs the ACL `Describe` on the topic"))
            }
            RDKafkaErrorCode::InvalidTopic => {
                Self::Unexpected(format!("`{topic}` cannot be the name of a topic"))
            }
            code => Self::of_cluster(code).unwrap_or_else(|| {
                Self::Unexpected(format!("topic `{topic}`: {}", shortened(&code.to_string())))
            }),
        }
    }

    /// Why there is nothing to say of a group.
    pub(super) fn of_group(group: &str, code: RDKafkaErrorCode) -> Self {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "the library has some 150 codes, and adds to them"
        )]
        match code {
            RDKafkaErrorCode::GroupAuthorizationFailed => {
                Self::Denied(format!("group `{group}`: the user needs the ACL `Describe` on the group"))
            }
            RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::RequestTimedOut
            | RDKafkaErrorCode::WaitingForCoordinator
            | RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::CoordinatorNotAvailable
            | RDKafkaErrorCode::NotCoordinator
            | RDKafkaErrorCode::CoordinatorLoadInProgress => Self::Unexpected(format!(
                "group `{group}`: the broker that keeps its offsets does not answer"
            )),
            code => Self::of_cluster(code).unwrap_or_else(|| {
                Self::Unexpected(format!("group `{group}`: {}", shortened(&code.to_string())))
            }),
        }
    }
}

/// At most 200 characters of what somebody said: enough to search for, too little to flood a log.
pub(super) fn shortened(text: &str) -> String {
    const LONGEST: usize = 200;
    text.trim_end().chars().take(LONGEST).collect()
}
