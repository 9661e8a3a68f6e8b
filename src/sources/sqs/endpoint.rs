//! A region of AWS, and who we are there.

use std::any::Any;
use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use url::Url;

use super::client::SqsClient;
use super::host::{Host, Partition};
use super::memory::{LONGEST_PAUSE, Memory};
use super::queue::{Queue, Queues, is_account};
use crate::fields::{Fields, Key, Names, Need, Span};
use crate::secret::Secret;
use crate::sources::{Client, Endpoint, Plan, ReadError};

/// The keys of a connection.
pub(super) const KEYS: &[Key] = &[
    REGION,
    ENDPOINT,
    ROLE_ARN,
    EXTERNAL_ID,
    ACCESS_KEY_ID,
    SECRET_ACCESS_KEY,
    SESSION_TOKEN,
    ACCOUNTS,
    WAKE_EVERY,
];

const REGION: Key = Key {
    name: "region",
    need: Need::Required,
    unit: "name",
    help: "region of the queues; that of the environment is not looked at",
    example: "eu-west-1",
};

const ENDPOINT: Key = Key {
    name: "endpoint",
    need: Need::Optional,
    unit: "URL",
    help: "address to ask instead of AWS's own, e.g. of a VPC endpoint",
    example: "https://vpce-1.sqs.eu-west-1.vpce.amazonaws.com",
};

const ROLE_ARN: Key = Key {
    name: "roleArn",
    need: Need::Optional,
    unit: "ARN",
    help: "role to take, e.g. of another account; triggers cannot name one",
    example: "arn:aws:iam::123456789012:role/queue-reader",
};

const EXTERNAL_ID: Key = Key {
    name: "externalId",
    need: Need::Optional,
    unit: "text",
    help: "external id that the role asks for; needs `roleArn`",
    example: "agent-scaler",
};

const ACCESS_KEY_ID: Key = Key {
    name: "accessKeyId",
    need: Need::Optional,
    unit: "secret",
    help: "reference to the id of a key; without it the environment, a profile, IRSA, Pod Identity or the instance",
    example: "{ file: /secrets/aws/id }",
};

const SECRET_ACCESS_KEY: Key = Key {
    name: "secretAccessKey",
    need: Need::Optional,
    unit: "secret",
    help: "reference to the key; files are read anew for each call; needs `accessKeyId`",
    example: "{ file: /secrets/aws/key }",
};

const SESSION_TOKEN: Key = Key {
    name: "sessionToken",
    need: Need::Optional,
    unit: "secret",
    help: "reference to the token of a temporary key; needs `accessKeyId`",
    example: "{ file: /secrets/aws/token }",
};

const ACCOUNTS: Key = Key {
    name: "accounts",
    need: Need::Optional,
    unit: "accounts",
    help: "accounts whose queues triggers may name by URL, separated by commas; without it that of the credentials",
    example: "123456789012",
};

const WAKE_EVERY: Key = Key {
    name: "wakeEvery",
    need: Need::Default("1s"),
    unit: "duration",
    help: "pause between reads that wait for a first task (external-push), 200ms to 30s: each is a paid call",
    example: "1s",
};

/// A connection: whom it asks, how fast, and what it remembers.
#[derive(Debug)]
struct SqsEndpoint {
    access: Arc<Access>,
    wake_every: Duration,
    /// Outlives a client, because a zero after an outage is as young as one before it.
    memory: Arc<Mutex<Memory>>,
}

/// One region, as one identity.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) region: String,
    /// `None` is AWS's own.
    pub(super) url: Option<String>,
    /// `None` is what the environment offers.
    pub(super) keys: Option<Keys>,
    pub(super) role: Option<Role>,
    /// Accounts whose queues may be named by URL; empty is the account of the credentials.
    pub(super) accounts: Vec<String>,
}

/// A key of a user, or a temporary one with a token.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    pub(super) id: Secret,
    pub(super) secret: Secret,
    pub(super) token: Option<Secret>,
}

/// A role to take.
#[derive(Clone, Debug)]
pub(super) struct Role {
    pub(super) arn: String,
    pub(super) external_id: Option<String>,
}

/// Parses the keys of a connection.
pub(super) fn parse(fields: &mut Fields<'_>) -> Option<Arc<dyn Endpoint>> {
    let region: Option<RegionName> = fields.read(&REGION);
    let url = parse_url(fields).filter(|url| is_of(region.as_ref(), url.as_deref(), fields));
    let role = parse_role(fields);
    let keys = parse_keys(fields);
    let accounts: Option<Option<Accounts>> = fields.optional(&ACCOUNTS);
    let wake_every: Option<WakeEvery> = fields.read(&WAKE_EVERY);
    let access = Access {
        region: region?.0,
        url: url?,
        keys: keys?,
        role: role?,
        accounts: accounts?.map(|Accounts(accounts)| accounts).unwrap_or_default(),
    };
    let WakeEvery(wake_every) = wake_every?;
    Some(Arc::new(SqsEndpoint { access: Arc::new(access), wake_every, memory: Arc::default() }))
}

/// The address to ask instead of AWS's own. The text may hold a password, so no problem repeats it.
fn parse_url(fields: &mut Fields<'_>) -> Option<Option<String>> {
    let text: Option<Option<String>> = fields.optional(&ENDPOINT);
    let Some(text) = text? else { return Some(None) };
    let url = Url::parse(&text).ok().filter(|url| {
        matches!(url.scheme(), "https" | "http")
            && url.host_str().is_some()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    });
    if url.is_none() {
        fields.problem(&ENDPOINT, "must be `https://` or `http://`, a host and nothing that is secret");
    }
    Some(Some(url?.as_str().trim_end_matches('/').to_owned()))
}

/// Refuses an address of another region than `region`, because AWS would reject the signature of each call.
fn is_of(region: Option<&RegionName>, url: Option<&str>, fields: &mut Fields<'_>) -> bool {
    let Some(RegionName(region)) = region else { return true };
    let host = url.map_or(Host::Other, host_of);
    let Some(other) = host.region().filter(|other| other != region) else { return true };
    fields.problem(&ENDPOINT, format!("is of the region {other}, and `region` is {region}"));
    false
}

/// The kind of a URL's host.
fn host_of(url: &str) -> Host {
    let url = Url::parse(url).ok();
    url.as_ref().and_then(Url::host_str).map_or(Host::Other, Host::of)
}

fn parse_role(fields: &mut Fields<'_>) -> Option<Option<Role>> {
    let arn: Option<Option<RoleArn>> = fields.optional(&ROLE_ARN);
    let external_id: Option<Option<String>> = fields.optional(&EXTERNAL_ID);
    match (arn?, external_id?) {
        (Some(RoleArn(arn)), external_id) => Some(Some(Role { arn, external_id })),
        (None, None) => Some(None),
        (None, Some(_)) => {
            fields.problem(&EXTERNAL_ID, "needs `roleArn`");
            None
        }
    }
}

fn parse_keys(fields: &mut Fields<'_>) -> Option<Option<Keys>> {
    let id = fields.secret(&ACCESS_KEY_ID);
    let secret = fields.secret(&SECRET_ACCESS_KEY);
    let token = fields.secret(&SESSION_TOKEN);
    let given = [(&ACCESS_KEY_ID, &id), (&SECRET_ACCESS_KEY, &secret), (&SESSION_TOKEN, &token)];
    if given.iter().any(|(key, secret)| secret.is_none() && fields.has(key)) {
        return None;
    }
    match (id, secret, token) {
        (Some(id), Some(secret), token) => Some(Some(Keys { id, secret, token })),
        (None, None, None) => Some(None),
        (Some(_), None, _) => {
            fields.problem(&ACCESS_KEY_ID, "needs `secretAccessKey`");
            None
        }
        (None, Some(_), _) => {
            fields.problem(&SECRET_ACCESS_KEY, "needs `accessKeyId`");
            None
        }
        (None, None, Some(_)) => {
            fields.problem(&SESSION_TOKEN, "needs `accessKeyId`");
            None
        }
    }
}

/// A region; it becomes part of a host's name.
struct RegionName(String);

impl FromStr for RegionName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_region = (1..=63).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        is_region.then(|| Self(text.to_owned())).ok_or("not the name of a region")
    }
}

struct RoleArn(String);

impl FromStr for RoleArn {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let is_role = matches!(parts[..], ["arn", _, "iam", "", account, role]
            if is_account(account) && role.strip_prefix("role/").is_some_and(|name| !name.is_empty()));
        is_role.then(|| Self(text.to_owned())).ok_or("not the ARN of a role")
    }
}

struct Accounts(Vec<String>);

impl FromStr for Accounts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Names(accounts) = text.parse()?;
        if accounts.iter().all(|account| is_account(account)) {
            Ok(Self(accounts))
        } else {
            Err("an account has 12 digits".to_owned())
        }
    }
}

struct WakeEvery(Duration);

impl FromStr for WakeEvery {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Span(pause) = text.parse()?;
        let range = Duration::from_millis(200)..=LONGEST_PAUSE;
        if range.contains(&pause) { Ok(Self(pause)) } else { Err("must be within 200ms to 30s".to_owned()) }
    }
}

impl Access {
    /// Who is asked, without credentials.
    pub(super) fn address(&self) -> String {
        let Self { region, url, .. } = self;
        url.clone().unwrap_or_else(|| format!("SQS in {region}"))
    }

    /// Whether the address is one of AWS's hosts.
    fn asks_aws(&self) -> bool {
        self.url.as_deref().is_none_or(|url| host_of(url).is_aws())
    }

    /// How the URLs of its queues begin: an address of AWS that is not the usual one serves the same queues.
    pub(super) fn origin(&self) -> String {
        let Self { region, url, .. } = self;
        match url {
            Some(url) if !self.asks_aws() => url.clone(),
            Some(_) | None => format!("https://sqs.{region}.{}", Partition::of(region).domain),
        }
    }

    /// The reason to refuse a queue of any account: its URL is of another region, or of another server than the
    /// one that is asked. The call would reach another queue of the same name.
    pub(super) fn refuses(&self, queue: &Queue) -> Option<String> {
        let place = queue.place.as_ref()?;
        let (name, host, own) = (&queue.name, &place.host, &self.region);
        if let Some(region) = place.region.as_ref().filter(|region| *region != own) {
            return Some(format!(
                "the URL of `{name}` is of the region {region}, and the connection is of {own}: name a connection \
                 to {region}"
            ));
        }
        if place.kind.is_aws() || !self.asks_aws() {
            return None;
        }
        let asked = self.origin();
        Some(format!(
            "the URL of `{name}` has the host {host}, which is not one of AWS's for SQS, and the connection asks {asked}: \
             name the queue without its URL, or a connection whose `endpoint` that host is"
        ))
    }
}

#[async_trait]
impl Endpoint for SqsEndpoint {
    fn address(&self) -> String {
        self.access.address()
    }

    async fn connect(&self) -> Result<Box<dyn Client>, ReadError> {
        let client = SqsClient::open(Arc::clone(&self.access), Arc::clone(&self.memory)).await;
        Ok(Box::new(client.map_err(|fault| fault.at(&self.address()))?))
    }

    fn refuses(&self, plan: &dyn Plan) -> Option<String> {
        let queues: &Queues = (plan as &dyn Any).downcast_ref()?;
        let regions = queues.queues.iter().filter_map(|queue| queue.place.as_ref()?.region.as_deref());
        let regions: BTreeSet<&str> = regions.collect();
        if regions.len() > 1 {
            let regions = Vec::from_iter(regions).join(", ");
            return Some(format!(
                "the URLs are of several regions ({regions}), and a connection is of one: give each region an object \
                 and a connection of its own"
            ));
        }
        queues.queues.iter().find_map(|queue| self.access.refuses(queue))
    }

    fn longest_pause(&self) -> Duration {
        LONGEST_PAUSE
    }

    fn wake_every(&self) -> Option<Duration> {
        Some(self.wake_every)
    }
}

#[cfg(test)]
mod tests;
