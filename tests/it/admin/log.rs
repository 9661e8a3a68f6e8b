//! What is logged, and what is not.

use std::io;
use std::sync::{Arc, Mutex};

use crate::support::harness::{Harness, scripted, trigger};

/// KEDA puts the value of a variable behind every key that ends in `FromEnv`, and repeats a refused request
/// for ever.
#[tokio::test]
async fn a_refusal_is_logged_once_and_nothing_of_a_request_that_may_be_a_secret() {
    let log = Log::default();
    // This thread's subscriber: all tasks of this runtime run on it.
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter("agent_scaler=trace")
        .with_ansi(false)
        .with_writer(log.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    // Of a single subscriber, tracing lets any thread decide what it takes; of two, it asks both.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let harness = Harness::start().await;
    let wrong = scripted("wrong", &[("passwordFromEnv", "hunter2"), ("token", "hunter2")]);
    let address =
        trigger("wrong", &[("source", "redis"), ("connection", "redis://:hunter2@db"), ("listName", "l")]);
    for trigger in [&wrong, &address, &wrong, &address] {
        let status = harness.is_active(trigger).await.unwrap_err();
        assert!(!status.message().contains("hunter2"), "{status:?}");
    }

    let text = log.text();
    let count = |words: &str| text.matches(words).count();
    let counts = ["Trigger refused.", "passwordFromEnv", "metadata.connection", "hunter2"].map(count);
    assert_eq!(counts, [2, 1, 1, 0], "{text}");
}

/// Lines of a log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl tracing_subscriber::fmt::MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
