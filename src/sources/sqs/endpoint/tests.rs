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
        ("eu-west-1", None, Some("https://sqs.eu-west-1.amazonaws.com")),
        ("cn-north-1", None, Some("https://sqs.cn-north-1.amazonaws.com.cn")),
        ("us-iso-east-1", None, None),
        (
            "eu-west-1",
            Some("https://vpce-1.sqs.eu-west-1.vpce.amazonaws.com"),
            Some("https://sqs.eu-west-1.amazonaws.com"),
        ),
        ("eu-west-1", Some("http://localhost:4566"), Some("http://localhost:4566")),
    ] {
        let url = url.map(str::to_owned);
        let access = Access { region: region.to_owned(), url, keys: None, role: None, accounts: Vec::new() };
        assert_eq!(access.origin().as_deref(), origin, "{region}");
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
