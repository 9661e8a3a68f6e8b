//! A client that behaves as KEDA 2.21 does (`pkg/scalers/external_scaler.go`): one connection to each address,
//! round robin, no deadlines, and its own way to read values and to return to a stream that ended.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_scaler::scaler::proto::external_scaler_client::ExternalScalerClient;
use agent_scaler::scaler::proto::{
    GetMetricSpecResponse, IsActiveResponse, MetricSpec, MetricValue, ScaledObjectRef,
};
use hyper_util::rt::TokioIo;
use tokio::io::{DuplexStream, copy_bidirectional, duplex};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, ConnectError, Response, Status, Streaming};

use super::harness::metrics_request;

/// KEDA's first wait before it opens a stream again, and its longest.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

type Client = ExternalScalerClient<Channel>;

/// The connection that all ScaledObjects with one `scalerAddress` share, to the addresses it resolves to.
#[derive(Clone)]
pub(crate) struct Keda(Arc<Connection>);

struct Connection {
    servers: Vec<Server>,
    turn: AtomicUsize,
}

/// One address: a subchannel, in gRPC's words.
struct Server {
    address: SocketAddr,
    channel: Mutex<Option<Channel>>,
    sockets: Arc<Sockets>,
    answered: AtomicUsize,
}

#[derive(Default)]
struct Sockets {
    open: AtomicUsize,
    opened: AtomicUsize,
}

/// What KEDA made of one poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Polled {
    /// The sum of the values, in thousandths.
    pub(crate) value_milli: i64,
    /// The target, in thousandths.
    pub(crate) target_milli: i64,
    /// Whether the trigger is active.
    pub(crate) active: bool,
}

impl Polled {
    /// What our server answers for `replicas`: the target is one, and zero is inactive.
    pub(crate) fn replicas(replicas: i64) -> Self {
        Self { value_milli: replicas * 1_000, target_milli: 1_000, active: replicas > 0 }
    }
}

impl Keda {
    /// Connects to every address.
    pub(crate) async fn dial(addresses: &[SocketAddr]) -> Self {
        let server = |address: &SocketAddr| Server {
            address: *address,
            channel: Mutex::default(),
            sockets: Arc::default(),
            answered: AtomicUsize::default(),
        };
        let servers = addresses.iter().map(server).collect();
        let keda = Self(Arc::new(Connection { servers, turn: AtomicUsize::default() }));
        keda.reconnect().await;
        keda
    }

    /// Connects to the addresses that are down, as gRPC does after a back-off of its own.
    pub(crate) async fn reconnect(&self) {
        for server in self.0.servers.iter().filter(|server| server.ready().is_none()) {
            server.connect().await;
        }
    }

    /// How many calls each address has answered, streams included.
    pub(crate) fn answered(&self) -> Vec<usize> {
        self.0.servers.iter().map(|server| server.answered.load(Ordering::Relaxed)).collect()
    }

    /// How many TCP connections were opened to each address.
    pub(crate) fn opened(&self) -> Vec<usize> {
        self.0.servers.iter().map(|server| server.sockets.opened.load(Ordering::Relaxed)).collect()
    }

    /// One poll: the spec, then for its metric the value and the activity, and that pair once more after an
    /// error.
    pub(crate) async fn poll(&self, object: &ScaledObjectRef) -> Result<Polled, Status> {
        let spec = match self.metric_spec(object).await {
            Ok(spec) => spec,
            Err(_) => self.metric_spec(object).await?,
        };
        match self.metrics_and_activity(object, &spec).await {
            Ok(polled) => Ok(polled),
            Err(_) => self.metrics_and_activity(object, &spec).await,
        }
    }

    /// `GetMetricSpecForScaling`: an empty list is an error.
    async fn metric_spec(&self, object: &ScaledObjectRef) -> Result<MetricSpec, Status> {
        let GetMetricSpecResponse { mut metric_specs } =
            self.call(|mut client| async move { client.get_metric_spec(object.clone()).await }).await?;
        assert!(metric_specs.len() <= 1, "several metrics of one trigger break scalingModifiers and jobs");
        metric_specs.pop().ok_or_else(|| Status::unknown("got empty metric spec"))
    }

    /// `GetMetricsAndActivity`: an error of either discards both.
    async fn metrics_and_activity(
        &self,
        object: &ScaledObjectRef,
        spec: &MetricSpec,
    ) -> Result<Polled, Status> {
        let request = metrics_request(object, &spec.metric_name);
        let values = self
            .call(|mut client| {
                let request = request.clone();
                async move { client.get_metrics(request).await }
            })
            .await?
            .metric_values;
        let IsActiveResponse { result: active } =
            self.call(|mut client| async move { client.is_active(object.clone()).await }).await?;
        // An empty list is no error of the scaler, but the HPA finds no metric in it.
        assert!(!values.is_empty(), "no matching metrics found");
        let value_milli = values.iter().map(value_milli).sum();
        Ok(Polled { value_milli, target_milli: target_milli(spec), active })
    }

    /// Opens `StreamMetricSpec` on the address whose turn it is.
    pub(crate) async fn stream_metric_spec(
        &self,
        object: &ScaledObjectRef,
    ) -> Result<Streaming<GetMetricSpecResponse>, Status> {
        self.call(|mut client| async move { client.stream_metric_spec(object.clone()).await }).await
    }

    async fn stream_is_active(
        &self,
        object: &ScaledObjectRef,
    ) -> Result<Streaming<IsActiveResponse>, Status> {
        self.call(|mut client| async move { client.stream_is_active(object.clone()).await }).await
    }

    /// Runs `StreamIsActive` for as long as the handle lives.
    pub(crate) fn push(&self, object: &ScaledObjectRef) -> Push {
        let (events, told) = mpsc::unbounded_channel();
        let (pauses, paused) = mpsc::unbounded_channel();
        let (goes_on, go_on) = mpsc::unbounded_channel();
        let mut task = JoinSet::new();
        task.spawn(run(self.clone(), object.clone(), events, pauses, go_on));
        Push { events: told, pauses: paused, goes_on, _task: task }
    }

    /// One call on the next address that is connected; it fails at once where none is. What was never sent
    /// goes to the next one, as gRPC sees to by itself.
    async fn call<T, F>(&self, ask: impl Fn(Client) -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        loop {
            let (server, channel) =
                self.next().ok_or_else(|| Status::unavailable("no address is connected"))?;
            match ask(ExternalScalerClient::new(channel)).await {
                Ok(response) => {
                    server.answered.fetch_add(1, Ordering::Relaxed);
                    return Ok(response.into_inner());
                }
                Err(status) if was_never_sent(&status) => server.forget(),
                Err(status) => return Err(status),
            }
        }
    }

    fn next(&self) -> Option<(&Server, Channel)> {
        let servers = &self.0.servers;
        (0..servers.len()).find_map(|_| {
            let turn = self.0.turn.fetch_add(1, Ordering::Relaxed);
            let server = &servers[turn % servers.len()];
            Some((server, server.ready()?))
        })
    }
}

impl Server {
    fn ready(&self) -> Option<Channel> {
        let is_open = self.sockets.open.load(Ordering::Relaxed) > 0;
        self.channel.lock().unwrap().clone().filter(|_| is_open)
    }

    fn forget(&self) {
        self.channel.lock().unwrap().take();
    }

    async fn connect(&self) {
        let (address, sockets) = (self.address, Arc::clone(&self.sockets));
        let connector = tower::service_fn(move |_: Uri| open(address, Arc::clone(&sockets)));
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let channel = endpoint.connect_with_connector(connector).await.ok();
        *self.channel.lock().unwrap() = channel;
    }
}

/// Opens a socket whose end is noticed, though the channel would keep that to itself.
async fn open(address: SocketAddr, sockets: Arc<Sockets>) -> std::io::Result<TokioIo<DuplexStream>> {
    let mut socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let (near, mut far) = duplex(1 << 16);
    sockets.open.fetch_add(1, Ordering::Relaxed);
    sockets.opened.fetch_add(1, Ordering::Relaxed);
    tokio::spawn(async move {
        // However the socket ends, it is of no more use.
        let _ = copy_bidirectional(&mut far, &mut socket).await;
        sockets.open.fetch_sub(1, Ordering::Relaxed);
    });
    Ok(TokioIo::new(near))
}

/// Whether a call did not even reach a connection.
fn was_never_sent(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The float if it is positive, else the integer.
fn value_milli(value: &MetricValue) -> i64 {
    #[expect(deprecated, reason = "KEDA reads both")]
    let MetricValue { metric_name: _, metric_value, metric_value_float } = value;
    if *metric_value_float > 0.0 { milli(*metric_value_float) } else { metric_value * 1_000 }
}

/// The float if it is positive, else the integer.
pub(crate) fn target_milli(spec: &MetricSpec) -> i64 {
    #[expect(deprecated, reason = "KEDA reads both")]
    let MetricSpec { metric_name: _, target_size, target_size_float } = spec;
    if *target_size_float > 0.0 { milli(*target_size_float) } else { target_size * 1_000 }
}

/// `quantityFromFloat64`: three decimals, and zero for what is no number or infinite.
fn milli(value: f64) -> i64 {
    if !value.is_finite() || value < 0.0 {
        return 0;
    }
    format!("{value:.3}").replace('.', "").parse().unwrap()
}

/// A `StreamIsActive` that is opened again whenever it ends. Time is the test's: after each end it waits to be
/// told that the pause is over.
pub(crate) struct Push {
    events: mpsc::UnboundedReceiver<bool>,
    pauses: mpsc::UnboundedReceiver<Pause>,
    goes_on: mpsc::UnboundedSender<()>,
    _task: JoinSet<()>,
}

/// A stream ended, and KEDA waits before it opens the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pause {
    /// `Ok` after a clean end.
    pub(crate) end: Code,
    /// How long KEDA waits.
    pub(crate) wait: Duration,
}

impl Push {
    /// The next state that the server tells.
    pub(crate) async fn event(&mut self) -> bool {
        let event = tokio::time::timeout(super::harness::PATIENCE, self.events.recv()).await;
        event.unwrap_or_else(|_| panic!("no event in time")).unwrap()
    }

    /// The states that were told and not looked at yet.
    pub(crate) fn events(&mut self) -> Vec<bool> {
        std::iter::from_fn(|| self.events.try_recv().ok()).collect()
    }

    /// Waits for the end of the stream.
    pub(crate) async fn paused(&mut self) -> Pause {
        let pause = tokio::time::timeout(super::harness::PATIENCE, self.pauses.recv()).await;
        pause.unwrap_or_else(|_| panic!("the stream does not end")).unwrap()
    }

    /// Lets the pause be over.
    pub(crate) fn resume(&self) {
        self.goes_on.send(()).unwrap();
    }
}

/// `runStreamIsActive`: the wait doubles up to a minute, and only a clean end makes it short again.
async fn run(
    keda: Keda,
    object: ScaledObjectRef,
    events: mpsc::UnboundedSender<bool>,
    pauses: mpsc::UnboundedSender<Pause>,
    mut go_on: mpsc::UnboundedReceiver<()>,
) {
    let mut wait = FIRST_PAUSE;
    loop {
        let end = until_it_ends(&keda, &object, &events).await;
        if end == Code::Ok {
            wait = FIRST_PAUSE;
        }
        if pauses.send(Pause { end, wait }).is_err() || go_on.recv().await.is_none() {
            return;
        }
        wait = (wait * 2).min(LONGEST_PAUSE);
    }
}

async fn until_it_ends(keda: &Keda, object: &ScaledObjectRef, events: &mpsc::UnboundedSender<bool>) -> Code {
    let mut states = match keda.stream_is_active(object).await {
        Ok(states) => states,
        Err(status) => return status.code(),
    };
    loop {
        match states.message().await {
            Ok(Some(state)) => drop(events.send(state.result)),
            Ok(None) => return Code::Ok,
            Err(status) => return status.code(),
        }
    }
}
