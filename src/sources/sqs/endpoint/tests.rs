//! What a connection takes for right.

use std::collections::BTreeMap;

use super::*;
use crate::fields::Value;

#[test]
fn an_address_is_the_region_or_what_is_asked_instead_and_holds_no_credentials() {
    assert_eq!(parsed(&[]).unwrap().address(), "SQS in eu-west-1");
    assert_eq!(
        parsed(&[("endpoint", text("http://localhost:4566/"))]).unwrap().address(),
        "http://localhost:4566"
    );
}

#[test]
fn the_pace_is_the_connections_own() {
    let paces = |values: &[(&'static str, Value)]| {
        let endpoint = parsed(values).unwrap();
        (endpoint.wake_every(), endpoint.longest_pause())
    };
    let second = Duration::from_secs(1);
    assert_eq!(paces(&[]), (Some(second), 30 * second));
    assert_eq!(paces(&[("wakeEvery", text("10s"))]), (Some(10 * second), 30 * second));
}

#[test]
fn the_urls_of_queues_begin_as_the_region_or_the_address_has_it() {
    for (region, url, origin) in [
        ("eu-west-1", None, "https://sqs.eu-west-1.amazonaws.com"),
        ("cn-north-1", None, "https://sqs.cn-north-1.amazonaws.com.cn"),
        ("us-iso-east-1", None, "https://sqs.us-iso-east-1.c2s.ic.gov"),
        (
            "us-gov-west-1",
            Some("https://sqs-fips.us-gov-west-1.amazonaws.com"),
            "https://sqs.us-gov-west-1.amazonaws.com",
        ),
        (
            "eu-west-1",
            Some("https://vpce-1.sqs.eu-west-1.vpce.amazonaws.com"),
            "https://sqs.eu-west-1.amazonaws.com",
        ),
        ("eu-west-1", Some("http://localhost:4566"), "http://localhost:4566"),
    ] {
        let url = url.map(str::to_owned);
        let access = Access { region: region.to_owned(), url, keys: None, role: None, accounts: Vec::new() };
        assert_eq!(access.origin(), origin, "{region}");
    }
}

#[test]
fn queues_of_several_regions_are_not_sent_from_one_connection_to_the_other() {
    let endpoint = parsed(&[("region", text("eu-west-1"))]).unwrap();
    let plan = |urls: &str| {
        let values = [("queueURL".to_owned(), Value::Text(urls.to_owned()))].into();
        crate::sources::sqs::queue::parse(&mut Fields::new("metadata", &values)).unwrap()
    };
    let url = |region: &str| format!("https://sqs.{region}.amazonaws.com/123456789012/acme");
    let both = plan(&format!("{}-a,{}-b", url("eu-west-1"), url("us-east-1")));
    let words = "the URLs are of several regions (eu-west-1, us-east-1), and a connection is of one: give each region \
                 an object and a connection of its own";
    assert_eq!(endpoint.refuses(both.as_ref()).as_deref(), Some(words));
    assert_eq!(endpoint.refuses(plan(&url("eu-west-1")).as_ref()), None);
}

/// Each form of URL beside what the connection asks, which is in eu-west-1.
#[test]
fn a_queue_of_another_region_or_host_is_refused_whatever_the_connection_asks() {
    let vpce = "https://vpce-1.sqs.eu-west-1.vpce.amazonaws.com";
    let (aws, emulator) = ([None, Some(vpce)], [Some("http://localhost:4566"), Some("https://sqs.internal")]);
    let all = || aws.into_iter().chain(emulator);
    let refusal = |origin: &str, url: Option<&str>| {
        let access = Access {
            region: "eu-west-1".to_owned(),
            url: url.map(str::to_owned),
            keys: None,
            role: None,
            accounts: Vec::new(),
        };
        access.refuses(&format!("{origin}/123456789012/acme-tasks").parse().unwrap())
    };
    for origin in [
        "https://sqs-fips.us-east-1.amazonaws.com",
        "https://queue.amazonaws.com",
        "https://us-east-1.queue.amazonaws.com",
        "https://sqs.us-east-1.api.aws",
        "https://vpce-1.sqs.us-east-1.vpce.amazonaws.com",
        "http://sqs.us-east-1.localhost.localstack.cloud:4566",
        "http://us-east-1.queue.localhost.localstack.cloud:4566",
        "http://localhost:4566/queue/us-east-1",
    ] {
        let refused = "the URL of `acme-tasks` is of the region us-east-1, and the connection is of eu-west-1: name \
                       a connection to us-east-1";
        all().for_each(|url| assert_eq!(refusal(origin, url).as_deref(), Some(refused), "{origin} {url:?}"));
    }
    for origin in ["https://sqs.eu-west-1.amazonaws.com", "https://eu-west-1.queue.amazonaws.com", vpce] {
        all().for_each(|url| assert_eq!(refusal(origin, url), None, "{origin} {url:?}"));
    }
    for host in ["localhost", "sqs.eu-west-1.amazonaws.com.evil.example", "sqs.amazonaws.com"] {
        let origin = format!("http://{host}:4566");
        let refused = format!(
            "the URL of `acme-tasks` has the host {host}, which is not one of AWS's for SQS, and the connection asks \
             https://sqs.eu-west-1.amazonaws.com: name the queue without its URL, or a connection whose `endpoint` \
             that host is"
        );
        aws.into_iter()
            .for_each(|url| assert_eq!(refusal(&origin, url).as_deref(), Some(&*refused), "{url:?}"));
        emulator.into_iter().for_each(|url| assert_eq!(refusal(&origin, url), None, "{origin} {url:?}"));
    }
}

#[test]
fn wrong_keys_are_refused_and_nothing_that_may_be_secret_is_repeated() {
    let file = || Value::Secret(Secret::File("/secrets/key".into()));
    let role = text("arn:aws:iam::123456789012:role/reader");
    for (values, problems) in [
        (vec![("region", text("EU West"))], vec!["region: `EU West`: not the name of a region"]),
        (vec![("roleArn", role.clone()), ("externalId", text("acme"))], vec![]),
        (vec![("externalId", text("acme"))], vec!["externalId: needs `roleArn`"]),
        (
            vec![("roleArn", text("arn:aws:iam::123456789012:user/x"))],
            vec!["roleArn: `arn:aws:iam::123456789012:user/x`: not the ARN of a role"],
        ),
        (vec![("accessKeyId", file())], vec!["accessKeyId: needs `secretAccessKey`"]),
        (vec![("secretAccessKey", file())], vec!["secretAccessKey: needs `accessKeyId`"]),
        (vec![("sessionToken", file())], vec!["sessionToken: needs `accessKeyId`"]),
        (
            vec![("accessKeyId", file()), ("secretAccessKey", text("hunter2"))],
            vec!["secretAccessKey: must be a reference: the configuration is no place for a secret"],
        ),
        (vec![("endpoint", text("localhost:4566"))], vec![BAD_ENDPOINT]),
        (vec![("endpoint", text("https://u:hunter2@h"))], vec![BAD_ENDPOINT]),
        (vec![("endpoint", text("https://h?x=hunter2"))], vec![BAD_ENDPOINT]),
        (
            vec![("endpoint", text("https://sqs-fips.us-east-1.amazonaws.com"))],
            vec!["endpoint: is of the region us-east-1, and `region` is eu-west-1"],
        ),
        (vec![("endpoint", text("https://sqs.eu-west-1.api.aws/"))], vec![]),
        (vec![("accounts", text("123"))], vec!["accounts: `123`: an account has 12 digits"]),
        (
            vec![("wakeEvery", text("100ms")), ("accounts", text("123456789012,"))],
            vec![
                "accounts: `123456789012,`: an empty name",
                "wakeEvery: `100ms`: must be within 200ms to 30s",
            ],
        ),
    ] {
        assert_eq!(parsed(&values).err().unwrap_or_default(), problems, "{values:?}");
    }
}

const BAD_ENDPOINT: &str = "endpoint: must be `https://` or `http://`, a host and nothing that is secret";

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// The endpoint, or every problem without its hint.
fn parsed(values: &[(&'static str, Value)]) -> Result<Arc<dyn Endpoint>, Vec<String>> {
    let region = [("region", text("eu-west-1"))];
    let values: BTreeMap<String, Value> =
        region.iter().chain(values).map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let mut fields = Fields::new("x", &values);
    let endpoint = parse(&mut fields);
    let problems = fields.finish();
    let texts: Vec<String> =
        problems.iter().map(|problem| format!("{}: {}", &problem.path[2..], problem.message)).collect();
    assert!(texts.iter().all(|text| !text.contains("hunter2")), "{texts:?}");
    assert_eq!(endpoint.is_some(), texts.is_empty());
    endpoint.ok_or(texts)
}
