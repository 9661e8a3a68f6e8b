//! moto: an SQS and an STS on a free port of the loopback.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::{BehaviorVersion, Config, Credentials, Region};
use aws_sdk_sqs::types::QueueAttributeName;
use rustix::process::{Pid, Signal, kill_process};

use super::tree::root;

/// The account that moto's queues are in.
pub(crate) const ACCOUNT: &str = "123456789012";

/// The region that its clients here name.
pub(crate) const REGION: &str = "eu-west-1";

/// A running moto. It ends with its handle, and with the process that started it.
pub(crate) struct Moto {
    port: u16,
    process: Child,
}

impl Moto {
    /// Starts one, installing it the first time.
    pub(crate) fn start() -> Self {
        let folder = installed("moto").unwrap_or_else(|missing| panic!("{missing}"));
        let mut process = Command::new(folder.join("bin/python"))
            .arg(root().join("tests/servers/serve_moto.py"))
            // It ends when this pipe does, which is when nobody holds the handle any more.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut port = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut port).unwrap();
        let port = port.trim().parse().unwrap_or_else(|_| panic!("moto does not start"));
        Self { port, process }
    }

    /// The one that tests share: each with queues of its own names.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: LazyLock<Moto> = LazyLock::new(Moto::start);
        &SHARED
    }

    /// The port that it listens on.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Where it listens: for `endpoint`, `AWS_ENDPOINT_URL_SQS` and `AWS_ENDPOINT_URL_STS`.
    pub(crate) fn url(&self) -> String {
        url(self.port)
    }

    /// A client, for tests to arrange things.
    pub(crate) fn client(&self) -> Client {
        client(&self.url())
    }

    /// Makes a queue, and says its URL. One whose name ends in `.fifo` is a FIFO queue.
    pub(crate) async fn create_queue(&self, name: &str) -> String {
        create_queue(&self.client(), name).await
    }

    /// Stops the process, which keeps its port and its queues and answers no request.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets the process go on.
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.process.id().cast_signed()).unwrap(), signal).unwrap();
    }

    /// Ends the process at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A client of the SQS at `url`.
pub(crate) fn client(url: &str) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(url)
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    Client::from_conf(config)
}

/// Makes a queue, and says its URL. One whose name ends in `.fifo` is a FIFO queue.
pub(crate) async fn create_queue(client: &Client, name: &str) -> String {
    let mut request = client.create_queue().queue_name(name);
    if name.ends_with(".fifo") {
        request = request.attributes(QueueAttributeName::FifoQueue, "true");
    }
    request.send().await.unwrap().queue_url.unwrap()
}

/// Where a stand-in for SQS is installed, or one line that says what is missing.
pub(crate) fn installed(name: &str) -> Result<PathBuf, String> {
    let output = Command::new("bash").arg(root().join("tests/servers/sqs.sh")).arg(name).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    if output.status.success() {
        return Ok(PathBuf::from(said.trim_end()));
    }
    assert!(said.starts_with("missing: "), "{said}{}", String::from_utf8_lossy(&output.stderr));
    Err(said.trim_end().to_owned())
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}
