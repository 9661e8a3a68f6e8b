//! Brokers that are not there, say nothing, talk nonsense, or go away.

use super::*;

use std::net::TcpListener;

use crate::support::kafka::Manner;

#[test]
fn a_connection_in_plaintext_is_warned_of() {
    let servers = text("bootstrapServers", "kafka:9092");
    let password = [text("mechanism", "PLAIN"), text("username", "a"), secret("password", "b")];
    let plain = endpoint(std::slice::from_ref(&servers)).caution().unwrap();
    assert!(plain.ends_with("can answer for them (hint: `tls: true`)"), "{plain}");
    let login = endpoint(&[&[servers.clone()][..], &password].concat()).caution().unwrap();
    assert!(login.ends_with("and see how we log in (hint: `tls: true`)"), "{login}");
    assert_eq!(endpoint(&[servers, text("tls", "true")]).caution(), None);
}

#[tokio::test]
async fn a_port_without_a_broker_is_unreachable_and_soon_known() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let started = tokio::time::Instant::now();
    let error = connect(&*endpoint(&[text("bootstrapServers", &address)])).await.err();
    assert_eq!(
        error,
        Some(ReadError::Unreachable {
            endpoint: format!("kafka://{address}"),
            message: format!("{address}: Connect to ipv4#{address} failed: Connection refused"),
        })
    );
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_name_that_nobody_has_is_unreachable() {
    let error = connect(&*endpoint(&[text("bootstrapServers", "kafka.invalid:9092")])).await.err().unwrap();
    assert_eq!(error.label(), "unreachable", "{error}");
    assert!(error.to_string().contains("kafka.invalid:9092"), "{error}");
}

#[tokio::test]
async fn a_broker_that_does_not_answer_costs_the_deadline_and_no_more() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let started = tokio::time::Instant::now();
    let error = connect(&*endpoint(&[text("bootstrapServers", &address)])).await.err().unwrap();
    assert!(["deadline", "unreachable"].contains(&error.label()), "{error}");
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
}

#[tokio::test]
async fn something_else_than_a_broker_is_no_broker() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // The client may have gone.
            let _ = std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let error = connect(&*endpoint(&[text("bootstrapServers", &address)])).await.err().unwrap();
    assert_eq!(error.label(), "unreachable", "{error}");
}

#[tokio::test]
async fn a_read_that_is_stalled_or_answered_with_nonsense_is_an_error_and_the_next_one_reads() {
    let kafka = Kafka::shared();
    kafka.create_topic("faults", 2, 1).await;
    kafka.send("faults", [0], 5);
    kafka.commit("faults", "faults", [(0, 1)]);
    let good = Ok(seen(3, 1, 2, (5, 1)));
    let watched = kafka.watched().await;
    let mut client = client_of(kafka, Listener::Watched).await;
    assert_eq!(read_one(&mut client, &tasks("faults")).await, good);
    for manner in [Manner::Stall, Manner::Nonsense] {
        watched[0].switch(manner);
        let started = tokio::time::Instant::now();
        let error = read_one(&mut client, &tasks("faults")).await.unwrap_err();
        assert!(["unexpected", "unreachable", "deadline"].contains(&error.label()), "{manner:?}: {error}");
        assert!(started.elapsed() < Duration::from_secs(6), "{manner:?}: {:?}", started.elapsed());
        watched[0].switch(Manner::Pass);
        watched[0].cut();
        client = client_of(kafka, Listener::Watched).await;
        read_until(&mut client, &tasks("faults"), &good, |reading| reading).await;
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_in_the_middle_of_a_read_is_opened_again() {
    let kafka = Kafka::shared();
    kafka.create_topic("cut", 2, 1).await;
    kafka.send("cut", [0], 5);
    kafka.commit("cut", "cut", [(0, 1)]);
    let watched = kafka.watched().await;
    let mut client = client_of(kafka, Listener::Watched).await;
    let good = Ok(seen(3, 1, 2, (5, 1)));
    assert_eq!(read_one(&mut client, &tasks("cut")).await, good);
    watched[0].switch(Manner::Stall);
    let plans = [tasks("cut")];
    let (results, ()) = tokio::join!(read(&mut client, &plans), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        watched[0].cut();
        tokio::time::sleep(Duration::from_millis(100)).await;
        watched[0].switch(Manner::Pass);
    });
    // Either the library has asked again in time, or the read failed; it is never a zero.
    assert!(results[0].is_err() || results[0] == good, "{results:?}");
    let mut client = client_of(kafka, Listener::Watched).await;
    read_until(&mut client, &tasks("cut"), &good, |reading| reading).await;
}
