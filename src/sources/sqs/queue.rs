//! Queues by name or URL.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;

use url::Url;

use super::counts::ATTRIBUTES;
use super::host::{Host, is_region};
use crate::fields::{Fields, Key, Names, Need, Positive};
use crate::sources::{Plan, Price};

/// The trigger keys of a queue.
pub(super) const KEYS: &[Key] = &[QUEUE_URL, SCALE_ON_DELAYED, MAX_GROUPS];

/// Keys of KEDA's `aws-sqs-queue` scaler.
pub(super) const MOVED: &[(&str, &str)] = &[
    ("queueLength", "`tasksPerReplica`: tasks that one replica runs at a time"),
    ("activationQueueLength", "`activationBacklog`"),
    ("scaleOnInFlight", "leave it out: messages in flight always count, as running tasks"),
];

const QUEUE_URL: Key = Key {
    name: "queueURL",
    need: Need::Required,
    unit: "URLs or names",
    help: "queues, by URL or by name, separated by commas; they are summed",
    example: "https://sqs.eu-west-1.amazonaws.com/123456789012/acme-tasks",
};

const SCALE_ON_DELAYED: Key = Key {
    name: "scaleOnDelayed",
    need: Need::Default("false"),
    unit: "true | false",
    help: "whether delayed messages count as due soon: SQS does not say when they are; for delays up to the start-up time",
    example: "true",
};

const MAX_GROUPS: Key = Key {
    name: "maxGroups",
    need: Need::Optional,
    unit: "groups",
    help: "FIFO queues: most message groups that have work at a time; more running tasks than that there cannot be",
    example: "20",
};

/// US dollars for a million calls in the first tier, as of 2026.
const STANDARD: f64 = 0.40;
const FIFO: f64 = 0.50;

/// The queues of one trigger.
#[derive(Debug)]
pub(super) struct Queues {
    pub(super) queues: Vec<Queue>,
    /// Whether delayed messages count.
    pub(super) scale_on_delayed: bool,
    pub(super) max_groups: Option<NonZeroU32>,
}

/// One queue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Queue {
    pub(super) name: String,
    /// What the URL says beside the name; `None` is the account of whoever asks.
    pub(super) place: Option<Place>,
}

/// Where a queue's URL says that it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    /// The URL up to the account: `https://sqs.eu-west-1.amazonaws.com`.
    origin: String,
    /// Its host, without a port.
    pub(super) host: String,
    /// The kind of the host.
    pub(super) kind: Host,
    /// Twelve digits.
    pub(super) account: String,
    /// The region, where the host or the path names one.
    pub(super) region: Option<String>,
}

/// Parses the trigger keys of a queue.
pub(super) fn parse(fields: &mut Fields<'_>) -> Option<Arc<dyn Plan>> {
    let names: Option<Names> = fields.read(&QUEUE_URL);
    let scale_on_delayed: Option<bool> = fields.read(&SCALE_ON_DELAYED);
    let groups: Option<Positive> = fields.read(&MAX_GROUPS);
    let groups_are_bad = groups.is_none() && fields.has(&MAX_GROUPS);
    let queues = names.and_then(|Names(names)| parse_queues(&names, fields));
    let max_groups = groups.map(|Positive(groups)| groups);
    if let (Some(queues), Some(_)) = (&queues, max_groups)
        && !queues.iter().all(Queue::is_fifo)
    {
        fields.problem(&MAX_GROUPS, "is for FIFO queues, whose names end in `.fifo`");
        return None;
    }
    let (queues, scale_on_delayed) = (queues?, scale_on_delayed?);
    (!groups_are_bad).then(|| Arc::new(Queues { queues, scale_on_delayed, max_groups }) as Arc<dyn Plan>)
}

/// Most queues of one trigger: each is a paid call.
const MOST_QUEUES: usize = 100;

fn parse_queues(names: &[String], fields: &mut Fields<'_>) -> Option<Vec<Queue>> {
    if names.len() > MOST_QUEUES {
        fields.problem(&QUEUE_URL, format!("names {} queues, of at most {MOST_QUEUES}", names.len()));
        return None;
    }
    let mut queues: Vec<Queue> = Vec::new();
    let mut is_bad = false;
    for name in names {
        match name.parse::<Queue>() {
            // A queue named twice would count its tasks twice.
            Ok(queue) if queues.iter().any(|other| other.may_be(&queue)) => {
                is_bad = true;
                fields.problem(&QUEUE_URL, format!("`{}` is named twice", queue.name));
            }
            Ok(queue) => queues.push(queue),
            Err(problem) => {
                is_bad = true;
                fields.problem(&QUEUE_URL, problem);
            }
        }
    }
    (!is_bad).then_some(queues)
}

impl FromStr for Queue {
    type Err = &'static str;

    /// Takes a URL apart: what is sent is put together anew, so that nobody can read another queue in it than
    /// the one whose name was looked at. The text may hold credentials, so no problem repeats it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.contains('/') {
            return is_name(text).then(|| Self { name: text.to_owned(), place: None }).ok_or(BAD_NAME);
        }
        let url = Url::parse(text).map_err(|_| "neither a name nor a URL")?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err("a URL must begin with `https://` or `http://`");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a URL with credentials: they belong in the server's file");
        }
        let host = url.host_str().ok_or("a URL without a host")?;
        let (host, path) = (host.strip_suffix('.').unwrap_or(host), url.path());
        let kind = Host::of(host);
        let parts: Vec<&str> = path.strip_suffix('/').unwrap_or(path).split('/').collect();
        let (prefix, region, account, name) = match parts[..] {
            ["", account, name] => (String::new(), kind.region(), account, name),
            // One host for all regions, as LocalStack has it.
            ["", "queue", region, account, name] if !kind.is_aws() && is_region(region) => {
                (format!("/queue/{region}"), Some(region), account, name)
            }
            _ => return Err(BAD_ENDING),
        };
        if !is_account(account) || url.query().is_some() || url.fragment().is_some() {
            return Err(BAD_ENDING);
        }
        if !is_name(name) {
            return Err(BAD_NAME);
        }
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let origin = format!("{}://{host}{port}{prefix}", url.scheme());
        let (host, region) = (host.to_owned(), region.map(str::to_owned));
        let place = Place { origin, host, kind, account: account.to_owned(), region };
        Ok(Self { name: name.to_owned(), place: Some(place) })
    }
}

const BAD_ENDING: &str = "a URL must end in the account and the name of the queue";

const BAD_NAME: &str = "a queue's name has up to 80 letters, digits, `-` and `_`, and may end in `.fifo`";

/// The names that SQS gives queues.
fn is_name(text: &str) -> bool {
    let stem = text.strip_suffix(FIFO_SUFFIX).unwrap_or(text);
    (1..=80).contains(&text.len())
        && !stem.is_empty()
        && stem.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

const FIFO_SUFFIX: &str = ".fifo";

/// The numbers that AWS gives accounts.
pub(super) fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl Queue {
    /// As the trigger names it, with nothing that it may have said besides.
    pub(super) fn url(&self) -> String {
        match &self.place {
            Some(Place { origin, account, .. }) => format!("{origin}/{account}/{}", self.name),
            None => self.name.clone(),
        }
    }

    pub(super) fn is_fifo(&self) -> bool {
        self.name.ends_with(FIFO_SUFFIX)
    }

    /// Whether both may name one queue: nobody here knows the account of a bare name.
    fn may_be(&self, other: &Self) -> bool {
        let accounts = self.place.as_ref().zip(other.place.as_ref());
        self.name == other.name && accounts.is_none_or(|(one, other)| one.account == other.account)
    }
}

impl Plan for Queues {
    fn queue(&self) -> String {
        self.to_string()
    }

    fn name(&self) -> String {
        self.names().join(",")
    }

    fn names(&self) -> Vec<&str> {
        self.queues.iter().map(|queue| queue.name.as_str()).collect()
    }

    fn shows_running(&self) -> bool {
        true
    }

    fn cost(&self) -> usize {
        self.queues.len()
    }

    fn commands(&self) -> Vec<String> {
        let attributes = ATTRIBUTES.each_ref().map(|name| name.as_str()).join(" ");
        self.queues.iter().map(|queue| format!("GetQueueAttributes {} {attributes}", queue.url())).collect()
    }

    fn price(&self) -> Option<Price> {
        let dollars = self.queues.iter().map(|queue| if queue.is_fifo() { FIFO } else { STANDARD });
        let calls = u32::try_from(self.queues.len()).unwrap_or(u32::MAX);
        Some(Price { calls, dollars_per_million: dollars.sum(), as_of: 2026 })
    }
}

impl fmt::Display for Queues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { queues, scale_on_delayed, max_groups } = self;
        let urls: Vec<String> = queues.iter().map(Queue::url).collect();
        write!(f, "queue {}", urls.join(","))?;
        if *scale_on_delayed {
            write!(f, " with delayed ones")?;
        }
        max_groups.iter().try_for_each(|groups| write!(f, " in at most {groups} groups"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::fields::Value;

    const URL: &str = "https://sqs.eu-west-1.amazonaws.com/123456789012/acme-tasks";

    #[test]
    fn the_text_names_every_queue_and_all_that_makes_a_reading_another() {
        let plan = parsed(&[("queueURL", &format!("{URL}, acme-low"))]).unwrap();
        assert_eq!(plan.queue(), format!("queue {URL},acme-low"));
        assert_eq!(plan.names(), ["acme-tasks", "acme-low"]);
        assert_eq!(plan.name(), "acme-tasks,acme-low");
        let keys = [("queueURL", "a.fifo"), ("scaleOnDelayed", "true"), ("maxGroups", "5")];
        assert_eq!(parsed(&keys).unwrap().queue(), "queue a.fifo with delayed ones in at most 5 groups");
    }

    #[test]
    fn what_is_sent_holds_nothing_but_the_place_and_the_name() {
        let explicit = "https://sqs.eu-west-1.amazonaws.com:443/123456789012/acme-tasks";
        for (text, sent) in [
            (URL, URL),
            (explicit, URL),
            ("acme-tasks", "acme-tasks"),
            ("http://localhost:4566/000000000000/q.fifo", "http://localhost:4566/000000000000/q.fifo"),
        ] {
            assert_eq!(text.parse::<Queue>().unwrap().url(), sent, "{text}");
        }
    }

    #[test]
    fn every_spelling_of_a_url_is_understood() {
        let local = "http://localhost:4566/queue/eu-west-1/000000000000/q";
        for (text, sent, region) in [
            ("HTTPS://SQS.EU-WEST-1.AMAZONAWS.COM/123456789012/acme-tasks", URL, "eu-west-1"),
            ("https://sqs.eu-west-1.amazonaws.com./123456789012/acme-tasks/", URL, "eu-west-1"),
            (
                "http://queue.amazonaws.com:8080/123456789012/q.fifo",
                "http://queue.amazonaws.com:8080/123456789012/q.fifo",
                "us-east-1",
            ),
            (local, local, "eu-west-1"),
            (
                "http://sqs.eu-west-1.localhost.localstack.cloud:4566/000000000000/q/",
                "http://sqs.eu-west-1.localhost.localstack.cloud:4566/000000000000/q",
                "eu-west-1",
            ),
        ] {
            let queue = text.parse::<Queue>().unwrap();
            let place = queue.place.as_ref().unwrap();
            assert_eq!((&*queue.url(), place.region.as_deref()), (sent, Some(region)), "{text}");
        }
        let aws = "https://sqs.eu-west-1.amazonaws.com/queue/eu-west-1/123456789012/q";
        assert_eq!(aws.parse::<Queue>(), Err(BAD_ENDING), "AWS has no such path");
    }

    #[test]
    fn wrong_keys_are_refused_without_repeating_what_may_be_a_secret() {
        let twice = format!("{URL},acme-tasks");
        let many = vec!["q"; 101].join(",");
        for (texts, problems) in [
            (vec![], vec!["queueURL: is required"]),
            (vec![("queueURL", "a,,b")], vec!["queueURL: `a,,b`: an empty name"]),
            (vec![("queueURL", "a b")], vec![bad_name()]),
            (vec![("queueURL", ".fifo")], vec![bad_name()]),
            (vec![("queueURL", "a.b")], vec![bad_name()]),
            (vec![("queueURL", "https://h/123456789012/a%2fb")], vec![bad_name()]),
            (vec![("queueURL", "https://h/123456789012/a?x=/1/b")], vec![ending()]),
            (vec![("queueURL", "https://h/123456789012/a#b")], vec![ending()]),
            (vec![("queueURL", "https://h/123456789012/a//")], vec![ending()]),
            (vec![("queueURL", "https://h/queue/nowhere/123456789012/a")], vec![ending()]),
            (vec![("queueURL", "https://h/12345/a")], vec![ending()]),
            (vec![("queueURL", "https://h/a")], vec![ending()]),
            (
                vec![("queueURL", "ftp://h/123456789012/a")],
                vec!["queueURL: a URL must begin with `https://` or `http://`"],
            ),
            (
                vec![("queueURL", "https://u:hunter2@h/123456789012/a")],
                vec!["queueURL: a URL with credentials: they belong in the server's file"],
            ),
            (vec![("queueURL", "h/123456789012/a")], vec!["queueURL: neither a name nor a URL"]),
            (vec![("queueURL", &twice)], vec!["queueURL: `acme-tasks` is named twice"]),
            (vec![("queueURL", &many)], vec!["queueURL: names 101 queues, of at most 100"]),
            (
                vec![("queueURL", "a"), ("maxGroups", "5")],
                vec!["maxGroups: is for FIFO queues, whose names end in `.fifo`"],
            ),
            (
                vec![("scaleOnDelayed", "yes"), ("maxGroups", "0")],
                vec![
                    "queueURL: is required",
                    "scaleOnDelayed: `yes`: provided string was not `true` or `false`",
                    "maxGroups: `0`: must be at least 1",
                ],
            ),
        ] {
            assert_eq!(parsed(&texts).unwrap_err(), problems, "{texts:?}");
        }
    }

    #[test]
    fn queues_of_one_name_in_two_accounts_are_two() {
        let other = "https://sqs.eu-west-1.amazonaws.com/999999999999/acme-tasks";
        assert!(parsed(&[("queueURL", &format!("{URL},{other}"))]).is_ok());
    }

    #[test]
    fn a_read_costs_a_call_for_each_queue() {
        let plan = parsed(&[("queueURL", "a,b.fifo")]).unwrap();
        let price = Price { calls: 2, dollars_per_million: 0.90, as_of: 2026 };
        assert_eq!((plan.price(), plan.cost()), (Some(price), 2));
    }

    fn bad_name() -> &'static str {
        "queueURL: a queue's name has up to 80 letters, digits, `-` and `_`, and may end in `.fifo`"
    }

    fn ending() -> &'static str {
        "queueURL: a URL must end in the account and the name of the queue"
    }

    /// The plan, or every problem without its hint.
    fn parsed(texts: &[(&str, &str)]) -> Result<Arc<dyn Plan>, Vec<String>> {
        let values: BTreeMap<String, Value> =
            texts.iter().map(|(name, text)| ((*name).to_owned(), Value::Text((*text).to_owned()))).collect();
        let mut fields = Fields::new("metadata", &values);
        let plan = parse(&mut fields);
        let problems: Vec<String> = fields
            .finish()
            .iter()
            .map(|problem| format!("{}: {}", problem.path.trim_start_matches("metadata."), problem.message))
            .collect();
        assert!(problems.iter().all(|problem| !problem.contains("hunter2")), "{problems:?}");
        assert_eq!(plan.is_some(), problems.is_empty(), "{texts:?}");
        plan.ok_or(problems)
    }
}
