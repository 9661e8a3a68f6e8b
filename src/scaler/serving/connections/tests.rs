//! The choice of a connection that goes, and what each may hold.

use std::net::Ipv4Addr;

use prometheus_client::registry::Registry;

use super::*;

fn port(most: usize, most_calls: usize) -> Arc<Connections> {
    Connections::new("grpc", (most, most_calls), Metrics::register(&mut Registry::default()))
}

fn peer(number: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, number).into()
}

fn is_closed(place: &Place) -> bool {
    place.connection.closed.is_cancelled()
}

#[tokio::test]
async fn the_oldest_silent_connection_goes_before_any_that_is_used() {
    let port = port(4, 100);
    let used = port.admit(peer(1));
    used.connection.open_call().unwrap();
    let silent: Vec<Place> = (0..5).map(|_| port.admit(peer(1))).collect();
    let closed: Vec<bool> = silent.iter().map(is_closed).collect();
    assert_eq!((is_closed(&used), closed), (false, vec![true, true, false, false, false]));
}

#[tokio::test]
async fn a_peer_with_many_connections_pays_before_one_with_few() {
    let port = port(20, 100);
    let quiet: Vec<Place> = (0..4).map(|_| port.admit(peer(1))).collect();
    let greedy: Vec<Place> = (0..40).map(|_| port.admit(peer(2))).collect();
    greedy.iter().for_each(|place| place.connection.open_call().unwrap());
    let newest = port.admit(peer(3));
    assert!(quiet.iter().chain([&newest]).all(|place| !is_closed(place)));
    assert_eq!(greedy.iter().filter(|place| is_closed(place)).count(), 25);
}

#[tokio::test(start_paused = true)]
async fn of_used_connections_the_one_whose_last_call_is_longest_ago_goes() {
    let port = port(2, 100);
    let (old, recent) = (port.admit(peer(1)), port.admit(peer(1)));
    old.connection.open_call().unwrap();
    recent.connection.open_call().unwrap();
    tokio::time::advance(Duration::from_secs(1)).await;
    old.connection.open_call().unwrap();
    let _newest = port.admit(peer(1));
    assert_eq!((is_closed(&old), is_closed(&recent)), (false, true));
}

#[tokio::test]
async fn a_place_that_is_given_back_is_free() {
    let port = port(1, 100);
    drop(port.admit(peer(1)));
    let first = port.admit(peer(1));
    assert!(!is_closed(&first));
    let _second = port.admit(peer(1));
    assert!(is_closed(&first));
}

#[tokio::test]
async fn the_connection_that_holds_most_pays_for_what_another_needs() {
    let port = port(10, 100);
    let (greedy, modest) = (port.admit(peer(1)), port.admit(peer(2)));
    while greedy.connection.hold(60_000).is_ok() {}
    assert!(!is_closed(&greedy), "its own request is refused, and that is all");
    assert!(port.held.load(Ordering::Relaxed) <= MOST_HELD);
    modest.connection.hold(ALWAYS_HELD).unwrap();
    assert!(!is_closed(&greedy), "so much everybody has");
    modest.connection.hold(1).unwrap();
    assert_eq!((is_closed(&greedy), is_closed(&modest)), (true, false));
    let held = greedy.connection.held();
    greedy.connection.release(held);
    drop(greedy);
    assert_eq!(port.open().closing, 0);
}

/// A peer cannot hide what it holds behind the number of its connections.
#[tokio::test]
async fn many_connections_of_a_peer_pay_as_one() {
    let port = port(1_000, 100);
    let greedy: Vec<Place> = (0..400).map(|_| port.admit(peer(1))).collect();
    greedy.iter().for_each(|place| place.connection.hold(ALWAYS_HELD).unwrap());
    let modest = port.admit(peer(2));
    modest.connection.hold(2 * ALWAYS_HELD).unwrap_err();
    assert_eq!(greedy.iter().filter(|place| is_closed(place)).count(), 1);
    assert!(!is_closed(&modest));
}

/// Behind a proxy all peers have one address.
#[tokio::test]
async fn of_one_peer_the_connection_with_much_more_pays() {
    let port = port(10, 100);
    let (greedy, modest) = (port.admit(peer(1)), port.admit(peer(1)));
    while greedy.connection.hold(60_000).is_ok() {}
    modest.connection.hold(2 * ALWAYS_HELD).unwrap();
    assert_eq!((is_closed(&greedy), is_closed(&modest)), (true, false));
}

#[tokio::test]
async fn calls_are_bounded_over_all_connections_and_each_has_some() {
    let port = port(10, 1_000);
    let (greedy, modest) = (port.admit(peer(1)), port.admit(peer(2)));
    let opened = (0..2_000).filter(|_| greedy.connection.open_call().is_ok()).count();
    assert_eq!(opened, 1_000);
    let opened = (0..2_000).filter(|_| modest.connection.open_call().is_ok()).count();
    assert_eq!(opened, ALWAYS_OPEN);
    (0..1_000).for_each(|_| greedy.connection.end_call());
    assert_eq!(modest.connection.open_call(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn the_oldest_answer_that_is_not_taken_says_how_long() {
    let port = port(10, 100);
    let connection = port.admit(peer(1)).connection.clone();
    let first = connection.answer_waits();
    tokio::time::advance(Duration::from_secs(2)).await;
    let second = connection.answer_waits();
    let untaken = || connection.untaken_for(Instant::now());
    assert_eq!(untaken(), Some(Duration::from_secs(2)));
    connection.answer_taken(first);
    assert_eq!(untaken(), Some(Duration::ZERO));
    connection.answer_taken(second);
    assert_eq!(untaken(), None);
}
