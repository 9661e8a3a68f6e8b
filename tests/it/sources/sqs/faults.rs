//! What goes wrong: refusals, silence, nonsense. Said by a stand-in, because no emulator refuses anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use agent_scaler::engine::signals::{Cause, InFlight};
use agent_scaler::fields::Value;
use agent_scaler::secret::Secret;
use agent_scaler::sources::ReadError;

use super::{
    ACCOUNT, PATIENCE, SECRET, TOKEN, client, connect, counted, endpoint, later, queue, read, read_one,
    refused, seen, text,
};
use crate::support::answerer::{Answer, Answerer};
use crate::support::moto::Moto;
use crate::support::proxy::{Mode, Proxy};

#[tokio::test]
async fn a_denied_call_names_the_permission_and_the_queue_and_costs_no_other_queue_its_reading() {
    let server = Answerer::start(|asked| {
        if asked.body.contains("secret-queue") {
            return error(403, "AccessDenied", "User: arn:aws:iam::123456789012:user/x is not authorized");
        }
        Answer::Say(200, counted(4, 1, 0))
    })
    .await;
    let mut client = client(&server.url()).await;
    let readings = read(&mut client, &[queue("secret-queue"), queue("open")]).await;
    let denied = ReadError::Denied {
        endpoint: server.url(),
        message: "`arn:aws:iam::123456789012:user/x` needs `sqs:GetQueueAttributes` on \
                  `arn:aws:sqs:eu-west-1:123456789012:secret-queue`"
            .to_owned(),
    };
    assert_eq!(readings, [Err(denied), Ok(seen(4, 1))]);
}

#[tokio::test]
async fn a_throttled_queue_is_left_alone_for_longer_each_time_and_the_others_are_read() {
    let server = Answerer::start(|asked| {
        if asked.body.contains("busy") {
            return error(403, "RequestThrottled", "slower");
        }
        Answer::Say(200, counted(1, 0, 0))
    })
    .await;
    let mut client = client(&server.url()).await;
    let mut calls = Vec::new();
    for tick in 0..24 {
        let readings = read(&mut client, &[queue("busy"), queue("calm")]).await;
        let throttled = ReadError::Unexpected {
            endpoint: server.url(),
            message: "it throttles the calls about `busy`: they are made less often for a while".to_owned(),
        };
        assert_eq!(readings, [Err(throttled), Ok(seen(1, 0))]);
        if server.asked().iter().any(|asked| asked.body.contains("busy")) {
            calls.push(tick * 5);
        }
        later(Duration::from_secs(5)).await;
    }
    assert_eq!(calls, [0, 10, 30, 65]);
}

#[tokio::test]
async fn a_key_that_has_expired_is_read_anew_from_its_files_and_is_never_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let write =
        |name: &str, content: &str| std::fs::write(folder.path().join(name), format!("{content}\n")).unwrap();
    let file =
        |key: &str, name: &str| (key.to_owned(), Value::Secret(Secret::File(folder.path().join(name))));
    write("id", "AKIAOLD");
    write("key", SECRET);
    write("token", TOKEN);
    let server = Answerer::start(|asked| {
        if asked.header("authorization").contains("Credential=AKIANEW/") {
            return Answer::Say(200, counted(1, 0, 0));
        }
        // As AWS does, it quotes what was signed.
        let words =
            format!("expired: {} {}", asked.header("authorization"), asked.header("x-amz-security-token"));
        error(403, "ExpiredToken", &words)
    })
    .await;
    let keys = [file("accessKeyId", "id"), file("secretAccessKey", "key"), file("sessionToken", "token")];
    let mut client = connect(&*endpoint(&server.url(), &keys)).await.unwrap();
    let expired = format!(
        "{} refuses: the credentials have expired: they are looked for anew, and must be renewed where they come from",
        server.url()
    );
    assert_eq!(refused(&mut client, &queue("q")).await, expired);
    assert_eq!(server.asked()[0].header("x-amz-security-token"), TOKEN, "it was sent all the same");
    write("id", "AKIANEW");
    // Not at the pace of reads that wake.
    assert_eq!(refused(&mut client, &queue("q")).await, expired);
    assert_eq!(server.asked().len(), 0);
    later(Duration::from_secs(5)).await;
    assert_eq!(read_one(&mut client, &queue("q")).await, Ok(seen(1, 0)));

    std::fs::remove_file(folder.path().join("key")).unwrap();
    let text = refused(&mut client, &queue("q")).await;
    let named = folder.path().join("key").display().to_string();
    assert!(text.contains(&format!("cannot read the credential file {named}")), "{text}");
}

#[tokio::test]
async fn nothing_of_a_credential_is_in_any_text_whatever_a_server_says() {
    const CODES: [&str; 9] = [
        "SignatureDoesNotMatch",
        "InvalidClientTokenId",
        "InvalidSecurity",
        "ExpiredToken",
        "KMS.AccessDeniedException",
        "InvalidAddress",
        "QueueDoesNotExist",
        "Odd",
        "",
    ];
    for status in [400, 403, 500, 200] {
        let turn = AtomicU16::new(0);
        let server = Answerer::start(move |asked| {
            let code = CODES[usize::from(turn.fetch_add(1, Ordering::Relaxed)) % CODES.len()];
            let words = format!(
                "{} {SECRET} {}",
                asked.header("x-amz-security-token"),
                asked.header("authorization")
            );
            error(status, code, &words)
        })
        .await;
        let mut client = client(&server.url()).await;
        for code in CODES {
            // `refused` looks for them.
            let text = refused(&mut client, &queue("q")).await;
            assert!(!text.contains("AKIATEST"), "{status} {code}: {text}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_is_not_a_number() {
    let whole = counted(1, 2, 3);
    for (answer, message) in [
        ("", "the answer about `q` has no number in ApproximateNumberOfMessages"),
        ("{}", "the answer about `q` has no number in ApproximateNumberOfMessages"),
        ("<html>", "the answer about `q` makes no sense"),
        ("{\"Attributes\":[]}", "the answer about `q` makes no sense"),
        ("{\"Attributes\":{\"ApproximateNumberOfMessages\":7}}", "the answer about `q` makes no sense"),
        (
            &whole.replace("\"1\"", "\"-1\""),
            "the answer about `q` has no number in ApproximateNumberOfMessages",
        ),
    ] {
        let body = answer.to_owned();
        let server = Answerer::start(move |_| Answer::Say(200, body.clone())).await;
        let mut client = client(&server.url()).await;
        let error = ReadError::Unexpected { endpoint: server.url(), message: message.to_owned() };
        assert_eq!(read_one(&mut client, &queue("q")).await, Err(error), "{answer}");
    }
}

/// An emulator that has not all of AWS's attributes, say.
#[tokio::test]
async fn a_missing_count_other_than_that_of_waiting_messages_costs_only_itself() {
    let whole = counted(1, 2, 3);
    let not_visible = "the number of running tasks is not known: the answer about `q` has no number in \
                       ApproximateNumberOfMessagesNotVisible";
    let delayed = "the number of tasks due soon is not known: the answer about `q` has no number in \
                   ApproximateNumberOfMessagesDelayed";
    for (answer, in_flight, soon, unknown) in [
        (whole.replace("\"2\"", "\"\""), None, Some(3), not_visible),
        (whole.replace("NumberOfMessagesNotVisible", "Other"), None, Some(3), not_visible),
        (whole.replace("\"3\"", "\"x\""), Some(InFlight::Known(2)), None, delayed),
    ] {
        let server = Answerer::start(move |_| Answer::Say(200, answer.clone())).await;
        let mut client = client(&server.url()).await;
        let plan = super::plan(&[("queueURL", "q"), ("scaleOnDelayed", "true")]);
        let reading = read_one(&mut client, &plan).await.unwrap();
        assert_eq!((reading.ready, reading.in_flight, reading.soon), (Some(1), in_flight, soon));
        assert_eq!(reading.unknown, [Cause::new(unknown)]);
    }
}

#[tokio::test]
async fn an_answer_that_grows_too_long_is_cut_off_and_not_gathered() {
    let server = Answerer::start(|asked| {
        let counts = counted(1, 0, 0);
        if asked.body.contains("long") {
            return Answer::Say(200, format!("{counts}{}", " ".repeat(64 << 10)));
        }
        Answer::Say(200, counts)
    })
    .await;
    let mut client = client(&server.url()).await;
    let long = ReadError::Unexpected {
        endpoint: server.url(),
        message: "the answer about `long` is too long, and was not read".to_owned(),
    };
    let readings = read(&mut client, &[queue("long"), queue("short")]).await;
    assert_eq!(readings, [Err(long), Ok(seen(1, 0))]);
}

#[tokio::test]
async fn what_is_not_answered_by_the_deadline_costs_no_other_its_reading() {
    let server = Answerer::start(|asked| {
        if asked.body.contains("slow") { Answer::Hang } else { Answer::Say(200, counted(1, 0, 0)) }
    })
    .await;
    let mut client = client(&server.url()).await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(1);
    client.answer_by(deadline);
    let readings = read(&mut client, &[queue("slow"), queue("fast")]).await;
    assert!(tokio::time::Instant::now() < deadline);
    assert!(matches!(readings[..], [Err(ReadError::Unexpected { .. }), Ok(_)]), "{readings:?}");
}

#[tokio::test]
async fn what_is_no_http_and_what_ends_in_the_middle_is_an_error() {
    let moto = Moto::shared();
    moto.create_queue("cut").await;
    let proxy = Proxy::start(moto.port()).await;
    let mut client = client(&format!("http://127.0.0.1:{}", proxy.port())).await;
    assert_eq!(read_one(&mut client, &queue("cut")).await, Ok(seen(0, 0)));
    for mode in
        [Mode::Say(b"+PONG\r\n"), Mode::Cut, Mode::CutAfter(0), Mode::CutAfter(20), Mode::CutAfter(180)]
    {
        proxy.switch(mode);
        let error = read_one(&mut client, &queue("cut")).await.unwrap_err();
        assert!(
            matches!(error, ReadError::Unreachable { .. } | ReadError::Unexpected { .. }),
            "{mode:?}: {error:?}"
        );
    }
    proxy.switch(Mode::Pass);
    assert_eq!(read_one(&mut client, &queue("cut")).await, Ok(seen(0, 0)));
}

#[tokio::test]
async fn a_queue_that_never_answers_costs_its_own_reading_and_not_those_of_others() {
    let server = Arc::new(
        Answerer::start(|asked| {
            if asked.body.contains("slow") { Answer::Hang } else { Answer::Say(200, counted(1, 0, 0)) }
        })
        .await,
    );
    let mut client = client(&server.url()).await;
    let mut plans: Vec<_> = (0..40).map(|number| queue(&format!("fast-{number}"))).collect();
    plans.push(queue("slow"));
    // No timer of the call may end before all others have been answered.
    let answered = Arc::clone(&server);
    let clock = tokio::spawn(async move { skip_when(&answered, 41).await });
    let mut readings = read(&mut client, &plans).await;
    clock.await.unwrap();
    tokio::time::resume();
    let late = ReadError::Unexpected {
        endpoint: server.url(),
        message: "there was no answer in time about `slow`".to_owned(),
    };
    assert_eq!(readings.pop(), Some(Err(late.clone())));
    assert_eq!(readings, vec![Ok(seen(1, 0)); 40]);
    assert!(!late.loses_connection());
}

#[tokio::test]
async fn no_more_than_thirty_two_calls_are_under_way_at_a_time() {
    let server = Arc::new(Answerer::start(|_| Answer::Hang).await);
    let mut client = client(&server.url()).await;
    let plans: Vec<_> = (0..50).map(|number| queue(&format!("slow-{number}"))).collect();
    let asked = Arc::clone(&server);
    let clock = tokio::spawn(async move {
        skip_when(&asked, 32).await;
        asked.count()
    });
    let readings = read(&mut client, &plans).await;
    assert_eq!(clock.await.unwrap(), 32);
    tokio::time::resume();
    assert_eq!(readings, vec![Err(ReadError::Deadline { endpoint: server.url() }); 50]);
}

#[tokio::test]
async fn a_server_that_never_answers_is_late_and_loses_its_connection() {
    let server = Arc::new(Answerer::start(|_| Answer::Hang).await);
    let mut client = client(&server.url()).await;
    let asked = Arc::clone(&server);
    let clock = tokio::spawn(async move { skip_when(&asked, 1).await });
    let error = read_one(&mut client, &queue("slow")).await.unwrap_err();
    clock.await.unwrap();
    tokio::time::resume();
    assert_eq!(error, ReadError::Deadline { endpoint: server.url() });
    assert!(error.loses_connection());
}

#[tokio::test]
async fn a_queue_of_another_region_is_told_from_its_url() {
    let mut client = connect(&*super::endpoint_of_aws(&[])).await.unwrap();
    let url = format!("https://sqs.us-east-1.amazonaws.com/{ACCOUNT}/acme-tasks");
    assert_eq!(
        refused(&mut client, &queue(&url)).await,
        "SQS in eu-west-1: the URL of `acme-tasks` is of the region us-east-1, and the connection is of eu-west-1: name \
         a connection to us-east-1"
    );
}

#[tokio::test]
async fn without_known_accounts_a_key_opens_no_queue_by_its_url() {
    let mut client = connect(&*super::endpoint_of_aws(&[])).await.unwrap();
    let url = format!("https://sqs.eu-west-1.amazonaws.com/{ACCOUNT}/acme-tasks");
    assert_eq!(
        refused(&mut client, &queue(&url)).await,
        "SQS in eu-west-1 refuses: the URL of `acme-tasks` is of the account 123456789012, and the credentials do \
         not tell which account is theirs: name the queue without its URL, or add the account to the connection's \
         `accounts`"
    );
    let other = text("accounts", "999999999999,888888888888");
    let mut client = connect(&*super::endpoint_of_aws(&[other])).await.unwrap();
    let text = refused(&mut client, &queue(&url)).await;
    assert!(text.contains("and the connection is for 999999999999, 888888888888:"), "{text}");
}

/// Lets the clock jump from timer to timer as soon as so many questions are there.
async fn skip_when(server: &Answerer, questions: usize) {
    let all_there = async {
        while server.count() < questions {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // The last answers are on their way to who asked.
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    tokio::time::timeout(PATIENCE, all_there).await.unwrap();
    tokio::time::pause();
}

/// An error as AWS's JSON protocol has it.
fn error(status: u16, code: &str, message: &str) -> Answer {
    Answer::Say(status, serde_json::json!({ "__type": code, "message": message }).to_string())
}
