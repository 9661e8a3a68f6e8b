//! How a cluster lets us in, and why it does not.

use super::*;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::kafka::{ALLOW, Acl, DESCRIBE, GROUP, TOPIC};

/// Kafka's own kind of unsigned tokens: `{"alg":"none"}`, and claims.
fn unsigned_jwt(user: &str, begins: u64, ends: u64) -> String {
    format!(
        "{}.{}.",
        base64(r#"{"alg":"none"}"#),
        base64(&format!(r#"{{"sub":"{user}","iat":{begins},"exp":{ends}}}"#))
    )
}

fn base64(text: &str) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut encoded = String::new();
    for three in text.as_bytes().chunks(3) {
        let number = three.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte))
            << (8 * (3 - three.len()));
        for letter in 0..=three.len() {
            encoded.push(char::from(LETTERS[(number >> (18 - 6 * letter)) as usize & 63]));
        }
    }
    encoded
}

fn unix_seconds() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

/// A topic that `user` may read, on which one record of three is done.
async fn topic_for(kafka: &Kafka, user: &str, topic: &str) {
    kafka.create_topic(topic, 1, 1).await;
    kafka.send(topic, [0], 3);
    kafka.commit(topic, topic, [(0, 1)]);
    for resource in [TOPIC, GROUP] {
        kafka.allow(&Acl { user, resource, name: topic, operation: DESCRIBE, permission: ALLOW });
    }
}

fn encrypted(kafka: &Kafka, keys: &[(String, Value)]) -> Arc<dyn Endpoint> {
    let servers = kafka.bootstrap(Listener::SaslSsl);
    let base = [text("bootstrapServers", &servers), text("tls", "true"), path("ca", &kafka.file("ca.crt"))];
    endpoint(&[&base, keys].concat())
}

fn password(mechanism: &str, user: &str, word: &str) -> Vec<(String, Value)> {
    vec![text("mechanism", mechanism), text("username", user), secret("password", word)]
}

#[tokio::test]
async fn every_mechanism_opens_the_door() {
    let kafka = Kafka::shared();
    let token = kafka.file("fred.jwt");
    let now = unix_seconds();
    std::fs::write(&token, unsigned_jwt("fred", now - 1, now + 3600)).unwrap();
    for (user, keys) in [
        ("alice", password("SCRAM-SHA-256", "alice", "alice-secret")),
        ("anna", password("SCRAM-SHA-512", "anna", "anna-secret")),
        ("bob", password("PLAIN", "bob", "bob-secret")),
        ("fred", vec![text("mechanism", "OAUTHBEARER"), file("token", &token)]),
    ] {
        let topic = format!("door-{user}");
        topic_for(kafka, user, &topic).await;
        let mut client = connect(&*encrypted(kafka, &keys)).await.unwrap();
        // A right takes a moment to reach the broker.
        read_until(&mut client, &tasks(&topic), &Ok(seen(1, 1, 1, (3, 1))), |reading| reading).await;
    }
}

#[tokio::test]
async fn a_certificate_opens_the_door_too() {
    let kafka = Kafka::shared();
    let servers = kafka.bootstrap(Listener::MutualTls);
    topic_for(kafka, "CN=client", "door-certificate").await;
    let base = [text("bootstrapServers", &servers), text("tls", "true"), path("ca", &kafka.file("ca.crt"))];
    let with = [path("certificate", &kafka.file("client.crt")), path("key", &kafka.file("client.key"))];
    let mut client = connect(&*endpoint(&[&base[..], &with].concat())).await.unwrap();
    read_until(&mut client, &tasks("door-certificate"), &Ok(seen(1, 1, 1, (3, 1))), |reading| reading).await;

    let error = connect(&*endpoint(&base)).await.err().unwrap();
    assert_eq!(error.label(), "unreachable");
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
async fn a_refused_login_says_why_and_soon() {
    let kafka = Kafka::shared();
    for (keys, reason) in [
        (password("SCRAM-SHA-256", "alice", "hunter2"), "Authentication failed"),
        (password("SCRAM-SHA-512", "anna", "hunter2"), "Authentication failed"),
        (password("PLAIN", "bob", "hunter2"), "Authentication failed"),
        (password("SCRAM-SHA-512", "alice", "alice-secret"), "Authentication failed"),
    ] {
        let started = tokio::time::Instant::now();
        let error = connect(&*encrypted(kafka, &keys)).await.err().unwrap();
        assert_eq!(error.label(), "denied", "{error}");
        assert!(error.to_string().contains(reason), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
        // Long before the deadline of a read.
        assert!(started.elapsed() < Duration::from_secs(3), "{error}");
    }
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_not_trusted() {
    let kafka = Kafka::shared();
    let servers = kafka.bootstrap(Listener::SaslSsl);
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let ca = kafka.file("other.crt");
    std::fs::write(&ca, other.cert.pem()).unwrap();
    let keys = [text("bootstrapServers", &servers), text("tls", "true"), path("ca", &ca)];
    let keys = [&keys[..], &password("PLAIN", "bob", "bob-secret")].concat();
    let error = connect(&*endpoint(&keys)).await.err().unwrap();
    assert_eq!(error.label(), "unreachable", "{error}");
    assert!(error.to_string().contains("certificate verify failed"), "{error}");
    assert!(error.to_string().ends_with("; `ca` names the authority to trust"), "{error}");
}

#[tokio::test]
async fn a_file_that_holds_no_certificate_is_named() {
    let kafka = Kafka::shared();
    let empty = kafka.file("empty.crt");
    std::fs::write(&empty, "").unwrap();
    let servers = kafka.bootstrap(Listener::SaslSsl);
    for (file, message) in [
        (empty.clone(), format!("{} holds no certificates in PEM", empty.display())),
        (
            "/nowhere/ca.crt".into(),
            "cannot read /nowhere/ca.crt: No such file or directory (os error 2)".into(),
        ),
    ] {
        let keys = [text("bootstrapServers", &servers), text("tls", "true"), path("ca", &file)];
        let error = connect(&*endpoint(&keys)).await.err();
        let endpoint = format!("kafka://{servers}");
        assert_eq!(error, Some(ReadError::Unreachable { endpoint, message }));
    }
}

#[tokio::test]
async fn a_right_that_is_missing_is_named() {
    let kafka = Kafka::shared();
    kafka.create_topic("rights", 1, 1).await;
    kafka.send("rights", [0], 1);
    kafka.commit("rights", "rights", [(0, 0)]);
    let endpoint = encrypted(kafka, &password("PLAIN", "bob", "bob-secret"));
    let denied =
        |message: &str| Err(ReadError::Denied { endpoint: endpoint.address(), message: message.to_owned() });
    let topic = denied("topic `rights`: the user needs the ACL `Describe` on the topic");
    let group = denied("group `rights`: the user needs the ACL `Describe` on the group");
    let mut client = connect(&*endpoint).await.unwrap();
    assert_eq!(read_one(&mut client, &tasks("rights")).await, topic);
    let right =
        |resource| Acl { user: "bob", resource, name: "rights", operation: DESCRIBE, permission: ALLOW };
    kafka.allow(&right(TOPIC));
    read_until(&mut client, &tasks("rights"), &group, |reading| reading).await;
    kafka.allow(&right(GROUP));
    read_until(&mut client, &tasks("rights"), &Ok(seen(0, 1, 1, (1, 0))), |reading| reading).await;
}

/// A token endpoint that answers with tokens which last `seconds`, and counts them.
fn token_endpoint(seconds: u64, refusal: Option<&'static str>) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    let given = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&given);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::SeqCst);
            give_token(stream, seconds, refusal);
        }
    });
    (url, given)
}

fn give_token(mut stream: TcpStream, seconds: u64, refusal: Option<&str>) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    while !String::from_utf8_lossy(&request).contains("grant_type=client_credentials") {
        match stream.read(&mut buffer) {
            Ok(length @ 1..) => request.extend_from_slice(&buffer[..length]),
            Ok(_) | Err(_) => return,
        }
    }
    let now = unix_seconds();
    // Renewed early, and good for long: a slow machine must not make it late.
    let token = unsigned_jwt("gina", now - 1, now + 3600);
    let good = format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":{seconds}}}"#);
    let (status, body) = refusal.map_or(("200 OK", &*good), |refusal| ("401 Unauthorized", refusal));
    let length = body.len();
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    // The client may have gone.
    let _ = stream.write_all(answer.as_bytes());
}

fn with_tokens_of(url: &str) -> Vec<(String, Value)> {
    vec![
        text("mechanism", "OAUTHBEARER"),
        text("tokenEndpoint", url),
        text("clientId", "agent-scaler"),
        secret("clientSecret", "hunter2"),
        text("scope", "kafka"),
    ]
}

#[tokio::test]
async fn tokens_are_renewed_while_nobody_asks() {
    let kafka = Kafka::shared();
    topic_for(kafka, "gina", "tokens").await;
    let (url, given) = token_endpoint(3, None);
    let mut client = connect(&*encrypted(kafka, &with_tokens_of(&url))).await.unwrap();
    read_until(&mut client, &tasks("tokens"), &Ok(seen(1, 1, 1, (3, 1))), |reading| reading).await;
    let at_first = given.load(Ordering::SeqCst);
    // Nobody asks anything here.
    for _ in 0..300 {
        if given.load(Ordering::SeqCst) >= at_first + 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(given.load(Ordering::SeqCst) >= at_first + 2, "not renewed twice in 15 s");
    assert_eq!(read_one(&mut client, &tasks("tokens")).await, Ok(seen(1, 1, 1, (3, 1))));
}

#[tokio::test]
async fn a_token_that_is_not_had_is_an_error_that_says_why() {
    let kafka = Kafka::shared();
    let refused = r#"{"error":"invalid_client","error_description":"hunter2"}"#;
    let (url, _) = token_endpoint(60, Some(refused));
    let endpoint = encrypted(kafka, &with_tokens_of(&url));
    let error = connect(&*endpoint).await.err();
    let message = format!("{url} gives no token (401: invalid_client)");
    assert_eq!(error, Some(ReadError::Denied { endpoint: endpoint.address(), message }));

    let ended = kafka.file("ended.jwt");
    std::fs::write(&ended, unsigned_jwt("fred", 1, 2)).unwrap();
    let endpoint = encrypted(kafka, &[text("mechanism", "OAUTHBEARER"), file("token", &ended)]);
    let error = connect(&*endpoint).await.err();
    let message = format!("the token of file {} has ended", ended.display());
    assert_eq!(error, Some(ReadError::Denied { endpoint: endpoint.address(), message }));
}
