//! ElasticMQ, a second implementation of SQS, where Java is.

use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use agent_scaler::sources::ReadError;
use tempfile::TempDir;

use super::{connect, endpoint, queue, read, read_one, seen, text};
use crate::support::moto::{self, create_queue};

/// The account that its queues are in.
const ACCOUNT: &str = "000000000000";

#[tokio::test]
async fn elasticmq_is_read_like_moto() {
    let Some(mut server) = ElasticMq::start() else { return };
    let url = server.url();
    let sqs = moto::client(&url);
    let tasks = create_queue(&sqs, "tasks").await;
    assert!(tasks.ends_with(&format!("/{ACCOUNT}/tasks")), "{tasks}");
    let account = text("accounts", ACCOUNT);
    let mut client = connect(&*endpoint(&url, &[account])).await.unwrap();
    assert_eq!(read_one(&mut client, &queue("tasks")).await, Ok(seen(0, 0)), "empty");
    for _ in 0..3 {
        sqs.send_message().queue_url(&tasks).message_body("{}").send().await.unwrap();
    }
    sqs.send_message().queue_url(&tasks).message_body("{}").delay_seconds(900).send().await.unwrap();
    sqs.receive_message().queue_url(&tasks).send().await.unwrap();

    // Its code for a missing queue is another than moto's and AWS's.
    let gone = ReadError::Unexpected {
        endpoint: url.clone(),
        message: "there is no queue `gone` in this region and account, or the identity may not know of it"
            .into(),
    };
    let readings = read(&mut client, &[queue("tasks"), queue("gone")]).await;
    assert_eq!(readings, [Ok(seen(2, 1)), Err(gone)]);
    assert_eq!(read_one(&mut client, &queue(&tasks)).await, Ok(seen(2, 1)), "by its URL");

    server.kill();
    // Its connection was kept open, and is noticed to be gone by the first call or before it.
    let error = read_one(&mut client, &queue("tasks")).await.unwrap_err();
    assert!(matches!(error, ReadError::Unreachable { .. }), "{error:?}");
}

/// A running ElasticMQ. Ends with its handle.
struct ElasticMq {
    port: u16,
    process: Child,
    _directory: TempDir,
}

impl ElasticMq {
    /// Starts one, installing it the first time; says what is missing if it cannot be had.
    fn start() -> Option<Self> {
        let jars = match moto::installed("elasticmq") {
            Ok(folder) => folder,
            Err(missing) => {
                // Past the capture of tests that pass: that this one proved nothing must be seen.
                std::io::stderr().write_all(format!("{missing}\n").as_bytes()).unwrap();
                return None;
            }
        };
        // Another process may take a free port before the server does.
        for _ in 0..3 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut server = Self::spawn(&jars, port);
            if server.answers() {
                return Some(server);
            }
        }
        panic!("ElasticMQ does not start on any of three ports");
    }

    fn spawn(jars: &Path, port: u16) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("elasticmq.conf");
        let settings = format!(
            "include classpath(\"application.conf\")\n\
             node-address {{ protocol = http, host = \"127.0.0.1\", port = {port}, context-path = \"\" }}\n\
             rest-sqs {{ enabled = true, bind-port = {port}, bind-hostname = \"127.0.0.1\", sqs-limits = strict }}\n\
             rest-stats {{ enabled = false }}\n\
             aws {{ region = {}, accountId = {ACCOUNT} }}\n",
            moto::REGION
        );
        std::fs::write(&file, settings).unwrap();
        let process = Command::new("java")
            .args(["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .arg(format!("-Dconfig.file={}", file.display()))
            .arg("-cp")
            .arg(jars.join("*"))
            .arg("org.elasticmq.server.Main")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { port, process, _directory: directory }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Whether it comes up, within a minute: a Java machine takes its time on a busy one.
    fn answers(&mut self) -> bool {
        for _ in 0..1_200 {
            if self.process.try_wait().unwrap().is_some() {
                return false;
            }
            if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }

    fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for ElasticMq {
    fn drop(&mut self) {
        self.kill();
    }
}
