//! What goes wrong, in words that name the remedy and never a credential.

use super::host::Partition;
use super::queue::is_account;
use crate::sources::ReadError;

/// A [`ReadError`] that does not know its endpoint yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// No answer in time.
    Late,
    /// No connection, or it broke.
    Lost(String),
    /// We are nobody to AWS: no credentials, or they do not count.
    Nobody(String),
    /// AWS knows us and says no.
    Denied(String),
    /// AWS wants fewer calls.
    Throttled(String),
    /// An answer that makes no sense for this queue.
    Unexpected(String),
}

/// A queue, as an error names it.
pub(super) struct Place<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// The region that is asked.
    pub(super) region: &'a str,
    /// Its account, if that is known.
    pub(super) account: Option<&'a str>,
}

/// What AWS said, in its own words.
pub(super) struct Said<'a> {
    /// The status of the answer.
    pub(super) status: u16,
    /// The code of the error, if the answer has one.
    pub(super) code: Option<&'a str>,
    /// The text that comes with it.
    pub(super) message: Option<&'a str>,
}

impl Fault {
    /// The error, with the address at which it happened.
    pub(super) fn at(self, endpoint: &str) -> ReadError {
        let endpoint = endpoint.to_owned();
        match self {
            Self::Late => ReadError::Deadline { endpoint },
            Self::Lost(message) => ReadError::Unreachable { endpoint, message },
            Self::Nobody(message) | Self::Denied(message) => ReadError::Denied { endpoint, message },
            Self::Throttled(message) | Self::Unexpected(message) => {
                ReadError::Unexpected { endpoint, message }
            }
        }
    }

    /// The cause, without the address.
    pub(super) fn message(&self) -> &str {
        match self {
            Self::Late => "no answer in time",
            Self::Lost(message)
            | Self::Nobody(message)
            | Self::Denied(message)
            | Self::Throttled(message)
            | Self::Unexpected(message) => message,
        }
    }

    /// Whether fewer calls would help.
    pub(super) const fn is_throttle(&self) -> bool {
        matches!(self, Self::Throttled(_))
    }

    /// Whether other credentials would help.
    pub(super) const fn is_refusal(&self) -> bool {
        matches!(self, Self::Nobody(_))
    }

    /// The answer about the queue `name` has no count in `attribute`.
    pub(super) fn nonsense(name: &str, attribute: &str) -> Self {
        Self::Unexpected(format!("the answer about `{name}` has no number in {attribute}"))
    }

    /// What AWS said instead of counting.
    ///
    /// Its words are not repeated: those about a wrong signature quote what was signed, and a session token is
    /// part of that.
    pub(super) fn said(said: &Said<'_>, place: &Place<'_>) -> Self {
        let Said { status, code, message } = said;
        let name = place.name;
        // `com.amazonaws.sqs#QueueDoesNotExist`, `AWS.SimpleQueueService.NonExistentQueue`.
        let code = code.unwrap_or_default();
        let word = code.rsplit(['#', '.']).next().unwrap_or_default();
        match word {
            "QueueDoesNotExist" | "NonExistentQueue" => Self::Unexpected(format!(
                "there is no queue `{name}` in this region and account, or the identity may not know of it"
            )),
            _ if code.starts_with("KMS.") || word.starts_with("Kms") => Self::Denied(format!(
                "the key that encrypts `{name}` cannot be used ({word}): the identity needs `kms:Decrypt` on it, and \
                 the key must be enabled"
            )),
            "AccessDenied" | "AccessDeniedException" => Self::Denied(denied(*message, place)),
            "RequestThrottled" | "Throttling" | "ThrottlingException" | "ThrottledException"
            | "TooManyRequestsException" | "RequestLimitExceeded" | "SlowDown" => {
                Self::Throttled(format!("it throttles the calls about `{name}`: they are made less often for a while"))
            }
            "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" => Self::Nobody(
                "the credentials have expired: they are looked for anew, and must be renewed where they come from"
                    .to_owned(),
            ),
            "InvalidSecurity" | "InvalidClientTokenId" | "UnrecognizedClientException"
            | "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidSignatureException"
            | "IncompleteSignature" | "IncompleteSignatureException" | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException" | "AuthFailure" | "OptInRequired" => Self::Nobody(format!(
                "it does not take the credentials ({word}): the key may be deleted, of another partition, or its \
                 secret wrong; or this clock is"
            )),
            "InvalidAddress" => Self::Unexpected(format!(
                "it does not take the URL of `{name}`: the queue is of another region or endpoint than the connection"
            )),
            _ if *status == 403 => Self::Denied(format!(
                "it says 403{}; the identity needs `sqs:GetQueueAttributes` on `{}`",
                in_brackets(word),
                place.arn()
            )),
            _ => Self::Unexpected(format!("it says {status}{} about `{name}`", in_brackets(word))),
        }
    }
}

/// Who was denied what. AWS says `User: ARN is not authorized to perform …`, and sometimes why.
fn denied(message: Option<&str>, place: &Place<'_>) -> String {
    let message = message.unwrap_or_default();
    let user = message.strip_prefix("User: ").and_then(|rest| rest.split_whitespace().next());
    let who = match user.filter(|user| is_identity(user)) {
        Some(user) => format!("`{user}`"),
        None => "the identity".to_owned(),
    };
    let explicit = if message.contains("explicit deny") { ", and no policy that denies it" } else { "" };
    format!("{who} needs `sqs:GetQueueAttributes` on `{}`{explicit}", place.arn())
}

/// Whether a text is the ARN of a user or a role, as AWS writes it: no other word of an answer is repeated.
fn is_identity(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let is_name = |name: &str| {
        (1..=200).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/+=,.@_-".contains(&byte))
    };
    let is_partition = |name: &str| Partition::ALL.iter().any(|partition| partition.name == name);
    matches!(parts[..], ["arn", partition, "iam" | "sts", "", account, name]
        if is_partition(partition) && is_account(account) && is_name(name))
}

impl Place<'_> {
    /// The queue as a policy names it.
    fn arn(&self) -> String {
        let Self { name, region, account } = self;
        let partition = Partition::of(region).name;
        format!("arn:{partition}:sqs:{region}:{}:{name}", account.unwrap_or("*"))
    }
}

/// A code that is one word: anything else is not repeated.
fn in_brackets(word: &str) -> String {
    let is_word = (1..=64).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_word { format!(" ({word})") } else { String::new() }
}

/// At most 300 characters: the longest name of a user, and too little to flood a log.
pub(super) fn shortened(text: &str) -> String {
    const LONGEST: usize = 300;
    text.trim_end().trim_end_matches('.').chars().filter(|char| !char.is_control()).take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'_> = Place { name: "acme-tasks", region: "eu-west-1", account: Some("123456789012") };

    #[test]
    fn a_missing_queue_is_known_by_every_code_that_says_so() {
        let missing =
            "there is no queue `acme-tasks` in this region and account, or the identity may not know of it";
        for code in [
            "QueueDoesNotExist",
            "com.amazonaws.sqs#QueueDoesNotExist",
            "AWS.SimpleQueueService.NonExistentQueue",
        ] {
            assert_eq!(said(400, code), Fault::Unexpected(missing.to_owned()), "{code}");
        }
    }

    #[test]
    fn a_denied_call_names_the_permission_that_is_missing() {
        let needed = "needs `sqs:GetQueueAttributes` on `arn:aws:sqs:eu-west-1:123456789012:acme-tasks`";
        let user = "arn:aws:sts::123456789012:assumed-role/scaler/x";
        for (words, text) in [
            (format!("User: {user} is not authorized to perform: sqs:x"), format!("`{user}` {needed}")),
            (
                format!("User: {user} is not authorized with an explicit deny in a policy"),
                format!("`{user}` {needed}, and no policy that denies it"),
            ),
            ("User: hunter2 is not".to_owned(), format!("the identity {needed}")),
            ("User: arn:aws:iam::hunter2:user/x is not".to_owned(), format!("the identity {needed}")),
            ("User: arn:aws:iam::123456789012:hunter2<> is not".to_owned(), format!("the identity {needed}")),
        ] {
            let said = Said { status: 403, code: Some("AccessDenied"), message: Some(&words) };
            assert_eq!(Fault::said(&said, &PLACE), Fault::Denied(text));
        }
        let needed = format!("the identity {needed}");
        let Fault::Denied(message) = said(403, "") else { panic!("it is denied") };
        assert_eq!(message, format!("it says 403; {needed}"));
        let Fault::Denied(message) = said(400, "KMS.DisabledException") else { panic!("it is denied") };
        assert!(message.contains("the identity needs `kms:Decrypt` on it"), "{message}");
    }

    #[test]
    fn the_name_for_policies_knows_partitions_and_an_account_that_nobody_knows() {
        let arn = |region, account| Place { name: "q", region, account }.arn();
        assert_eq!(arn("cn-north-1", Some("123456789012")), "arn:aws-cn:sqs:cn-north-1:123456789012:q");
        assert_eq!(arn("us-gov-east-1", None), "arn:aws-us-gov:sqs:us-gov-east-1:*:q");
        assert_eq!(arn("us-isob-east-1", None), "arn:aws-iso-b:sqs:us-isob-east-1:*:q");
        assert_eq!(arn("eusc-de-east-1", None), "arn:aws-eusc:sqs:eusc-de-east-1:*:q");
    }

    #[test]
    fn credentials_that_do_not_count_are_looked_for_anew_and_no_words_about_them_are_repeated() {
        for code in ["ExpiredToken", "InvalidClientTokenId", "SignatureDoesNotMatch", "InvalidSecurity"] {
            let Fault::Nobody(message) = said(403, code) else { panic!("{code}") };
            assert!(!message.contains("some words"), "{message}");
        }
    }

    #[test]
    fn a_throttle_is_one_by_each_of_its_names() {
        for code in ["RequestThrottled", "ThrottlingException", "com.amazonaws.sqs#RequestThrottled"] {
            assert!(said(403, code).is_throttle(), "{code}");
        }
        assert!(!said(403, "AccessDenied").is_throttle());
    }

    #[test]
    fn what_is_not_known_is_named_by_its_code_alone_and_only_if_that_is_a_word() {
        assert_eq!(said(500, "InternalError"), unexpected("it says 500 (InternalError) about `acme-tasks`"));
        assert_eq!(said(503, "hunter2 hunter2"), unexpected("it says 503 about `acme-tasks`"));
    }

    fn unexpected(message: &str) -> Fault {
        Fault::Unexpected(message.to_owned())
    }

    fn said(status: u16, code: &str) -> Fault {
        let said = Said { status, code: Some(code), message: Some("some words.") };
        Fault::said(&said, &PLACE)
    }
}
