//! A broker that lies: each answer of one kind is malformed, and the others are as they should be.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a lie is about one answer, and all others are as they should be"
)]

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};

/// Kinds of requests, by their numbers in Kafka's protocol.
const METADATA: i16 = 3;
const API_VERSIONS: i16 = 18;

/// What is wrong with its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// The versions that it speaks are no list at all.
    NullVersions,
    /// There are fewer than none of them.
    NegativeVersions,
    /// There are two thousand millions of them.
    HugeVersions,
    /// The answer ends in the middle.
    CutVersions,
    /// The answer is to another question.
    AnotherNumber,
    /// Two gigabytes are announced, and sent as long as anybody reads.
    HugeAnswer,
    /// Fewer bytes than none are announced.
    NegativeAnswer,
    /// The cluster's brokers are no list at all.
    NullBrokers,
    /// There are two thousand millions of them.
    HugeBrokers,
    /// There are nine thousand of them, for each of which a client starts a thread.
    ManyBrokers,
    /// The cluster's topics are two thousand millions.
    HugeTopics,
    /// There are 115,000 topics, in an answer of 4 MB.
    ManyTopics,
}

impl Lie {
    pub(crate) const ALL: [Self; 12] = [
        Self::NullVersions,
        Self::NegativeVersions,
        Self::HugeVersions,
        Self::CutVersions,
        Self::AnotherNumber,
        Self::HugeAnswer,
        Self::NegativeAnswer,
        Self::NullBrokers,
        Self::HugeBrokers,
        Self::ManyBrokers,
        Self::HugeTopics,
        Self::ManyTopics,
    ];
}

/// A lying broker. It lies until the test's process ends.
pub(crate) struct Liar {
    port: u16,
}

impl Liar {
    pub(crate) fn start(lie: Lie) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A client that breaks is what it is there for.
                std::thread::spawn(move || drop(answer_all(client, lie, port)));
            }
        });
        Self { port }
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

fn answer_all(mut client: TcpStream, lie: Lie, port: u16) -> io::Result<()> {
    loop {
        let mut head = [0; 12];
        client.read_exact(&mut head)?;
        let [a, b, c, d, kind @ .., _, _, _, _, _, _] = head;
        let rest = u64::from(u32::from_be_bytes([a, b, c, d])) - 8;
        io::copy(&mut Read::by_ref(&mut client).take(rest), &mut io::sink())?;
        let number = i32::from_be_bytes([head[8], head[9], head[10], head[11]]);
        let body = match i16::from_be_bytes(kind) {
            API_VERSIONS => versions(lie),
            METADATA => metadata(lie, port),
            other => panic!("a request of kind {other}"),
        };
        let number = if lie == Lie::AnotherNumber { number + 77 } else { number };
        let length = match lie {
            Lie::HugeAnswer => i32::MAX,
            Lie::NegativeAnswer => -5,
            _ => i32::try_from(4 + body.len()).unwrap(),
        };
        client.write_all(&[&length.to_be_bytes()[..], &number.to_be_bytes(), &body].concat())?;
        if lie == Lie::HugeAnswer {
            io::copy(&mut io::repeat(0).take(2 << 30), &mut client)?;
        }
    }
}

/// No error, and which versions of two kinds of requests are spoken (ApiVersions 3: lists have their length and one as
/// a varint, and zero for none at all).
fn versions(lie: Lie) -> Vec<u8> {
    let kind = |kind: i16, most: i16| [&kind.to_be_bytes()[..], &[0, 0], &most.to_be_bytes(), &[0]].concat();
    let kinds = [kind(METADATA, 4), kind(API_VERSIONS, 3)].concat();
    let end = [0; 5];
    match lie {
        Lie::NullVersions => [&[0, 0, 0][..], &end].concat(),
        // An error, after which the list is that of the first version.
        Lie::NegativeVersions => [&[0, 35][..], &(-7_i32).to_be_bytes()].concat(),
        Lie::HugeVersions => [&[0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f][..], &end].concat(),
        Lie::CutVersions => vec![0, 0, 3, 0, 3],
        _ => [&[0, 0, 3][..], &kinds, &end].concat(),
    }
}

/// The cluster (Metadata 4).
fn metadata(lie: Lie, port: u16) -> Vec<u8> {
    let count = |count: i32| count.to_be_bytes();
    let text = |text: &str| [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat();
    let broker = |number: i32| {
        // An address of nobody's for all but the first.
        let host = if number == 0 { "127.0.0.1" } else { "127.0.0.2" };
        [&number.to_be_bytes()[..], &text(host), &i32::from(port).to_be_bytes(), &[0xff, 0xff]].concat()
    };
    let brokers = match lie {
        Lie::NullBrokers => count(-1).to_vec(),
        Lie::HugeBrokers => count(i32::MAX).to_vec(),
        Lie::ManyBrokers => {
            let brokers: Vec<u8> = (0..9_000).flat_map(broker).collect();
            [&count(9_000)[..], &brokers].concat()
        }
        _ => [&count(1)[..], &broker(0)].concat(),
    };
    let topics = match lie {
        Lie::HugeTopics => count(i32::MAX).to_vec(),
        Lie::ManyTopics => {
            let topic =
                |number: i32| [&[0, 0][..], &text(&format!("{number:025}")), &[0], &count(0)].concat();
            let topics: Vec<u8> = (0..115_000).flat_map(topic).collect();
            [&count(115_000)[..], &topics].concat()
        }
        _ => count(0).to_vec(),
    };
    let no_throttling = count(0);
    // A null name of the cluster, and no controller.
    [&no_throttling[..], &brokers, &[0xff, 0xff], &count(-1), &topics].concat()
}
