//! What peers on the two ports can cost others: connections, memory, time and the way out.

mod connections;
mod requests;

use std::net::SocketAddr;
use std::time::Duration;

use agent_scaler::scaler::proto::external_scaler_client::ExternalScalerClient;
use bytes::Bytes;
use h2::SendStream;
use h2::client::{ResponseFuture, SendRequest};
use http::{Method, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tonic::transport::Endpoint;

use crate::support::harness::{PATIENCE, scripted};

/// The memory limit of the chart, which the process must keep whatever its peers do.
const MEMORY: u64 = 192 << 20;

/// Within it a neighbour is answered and a probe too: milliseconds, but for a machine that is busy with other tests.
const PROMPT: Duration = Duration::from_secs(2);

/// Within it the program ends after SIGTERM.
const END: Duration = Duration::from_secs(10);

/// Connects as KEDA does and gets one answer.
async fn keda_is_answered(grpc: SocketAddr) -> Duration {
    let asked = Instant::now();
    let work = async {
        let endpoint = Endpoint::from_shared(format!("http://{grpc}")).unwrap();
        let mut client = ExternalScalerClient::new(endpoint.connect().await.unwrap());
        client.get_metric_spec(scripted("jobs", &[])).await.unwrap();
    };
    timeout(PATIENCE, work).await.unwrap();
    asked.elapsed()
}

/// Reads a page on a connection of its own; gives the first line of the answer.
async fn page(admin: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut socket = TcpStream::connect(admin).await?;
    socket
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n").as_bytes())
        .await?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

/// Both probes answer 200 promptly.
async fn probes_answer(admin: SocketAddr) {
    for path in ["/livez", "/readyz"] {
        let answer = timeout(PROMPT, page(admin, path)).await;
        let answer = answer.unwrap_or_else(|_| panic!("{path} is not answered"));
        assert_eq!(answer.unwrap(), "HTTP/1.1 200 OK", "{path}");
    }
}

/// An HTTP/2 connection that does what a gRPC library would not.
struct Raw {
    send: SendRequest<Bytes>,
}

impl Raw {
    /// Connects; each stream of an answer may hold `window` bytes that are not read.
    async fn connect(grpc: SocketAddr, window: u32) -> Self {
        let socket = TcpStream::connect(grpc).await.unwrap();
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(window).initial_max_send_streams(100_000).max_send_buffer_size(1 << 20);
        let (send, connection) = builder.handshake(socket).await.unwrap();
        tokio::spawn(async move { drop(connection.await) });
        Self { send }
    }

    /// Begins a call, and leaves its request open.
    async fn begin(&mut self, method: &str) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://it/externalscaler.ExternalScaler/{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .unwrap();
        std::future::poll_fn(|cx| self.send.poll_ready(cx)).await?;
        self.send.send_request(request, false)
    }
}

/// A message of `length` bytes that gRPC announces, of which `sent` bytes come.
fn message(length: usize, sent: usize) -> Bytes {
    let mut bytes = vec![0_u8];
    bytes.extend(u32::try_from(length).unwrap().to_be_bytes());
    // An unknown field of the length that is left, so that a whole message would be a good one.
    bytes.extend([0xfa, 0x01]);
    let mut left = length.saturating_sub(5);
    for _ in 0..3 {
        let more = if bytes.len() < 9 { 0x80 } else { 0 };
        bytes.push(u8::try_from(left & 0x7f).unwrap() | more);
        left >>= 7;
    }
    bytes.resize(5 + sent, b'x');
    bytes.into()
}
