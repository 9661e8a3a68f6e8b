//! Means, percentiles and their samples, out of a history that a real Prometheus holds.

use std::fmt::Write as _;
use std::time::Duration;

use agent_scaler::clock::{Clock, SystemClock};
use agent_scaler::engine::queries::{Queried, Tail};
use agent_scaler::engine::signals::{Cause, Percentile};

use super::{client_at, plan, queried, queries, read, waiting};
use crate::support::prometheus::{Prometheus, Setup};

/// Bounds of the buckets, in the unit of the histogram.
const BOUNDS: [f64; 3] = [1.0, 10.0, 60.0];

#[tokio::test]
async fn a_preset_reads_its_exporters_history() {
    let mut history = History::new();
    history.gauge("celery_queue_length", r#"queue_name="acme""#, 12.0);
    history.gauge("celery_queue_length", r#"queue_name="zeta""#, 99.0);
    // Six tasks a minute: half of them up to 10 s, the others up to 60 s.
    history.histogram(
        "celery_task_runtime",
        r#"queue_name="acme",name="a",hostname="h""#,
        [0.0, 3.0, 6.0, 6.0],
        150.0,
    );
    let prometheus = Prometheus::start(history.setup()).await;
    let mut client = client_at(&prometheus.url()).await;
    let keys = [("queryPreset", "celery-exporter"), ("queryQueue", "acme")];
    assert_eq!(read(&mut client, &plan(&keys)).await, Ok(waiting(12)));
    let Queried { in_flight, arrivals, service, services, waits } =
        queried(&mut client, &queries(&keys)).await;
    assert_eq!(in_flight, None, "nobody asks");
    let none = "no result: no series fits, or its last sample is older than five minutes; where that does mean none, \
                write `… or vector(0)`";
    assert_eq!(arrivals, Some(Err(Cause::new(none))));
    assert_eq!(waits, Some(Err(Cause::new(none))));
    assert_near(service.unwrap().unwrap(), 25.0);
    let Tail { percentile: Percentile { p95, samples }, is_at_least } = services.unwrap().unwrap();
    assert_near(p95, 55.0);
    assert!((50..=70).contains(&samples), "{samples}");
    assert!(!is_at_least);
}

#[tokio::test]
async fn a_percentile_beyond_the_highest_bucket_says_so_and_few_samples_are_none() {
    let mut history = History::new();
    history.histogram("slow_seconds", r#"queue="acme""#, [0.0, 0.0, 5.0, 6.0], 300.0);
    history.histogram("rare_seconds", r#"queue="acme""#, [0.0, 0.5, 1.0, 1.0], 20.0);
    history.histogram("idle_seconds", r#"queue="acme""#, [0.0, 0.0, 0.0, 0.0], 0.0);
    let prometheus = Prometheus::start(history.setup()).await;
    let mut client = client_at(&prometheus.url()).await;
    let of = |metric: &str, is_checked: bool| {
        let quantile = |q| format!("histogram_quantile({q}, sum by (le) (rate({metric}_bucket[10m])))");
        let mean = format!("sum(rate({metric}_sum[10m])) / sum(rate({metric}_count[10m]))");
        let (p95, top, samples) =
            (quantile("0.95"), quantile("1"), format!("sum(increase({metric}_count[10m]))"));
        let mut keys = vec![
            ("serviceTimeQuery", mean.as_str()),
            ("serviceTimeP95Query", &p95),
            ("serviceTimeSamplesQuery", &samples),
            ("serviceTimeQueryUnit", "ms"),
            ("queueWaitP95Query", &p95),
            ("queueWaitSamplesQuery", &samples),
        ];
        if is_checked {
            keys.extend([("serviceTimeTopQuery", top.as_str()), ("queueWaitTopQuery", &top)]);
        }
        queries(&keys)
    };
    for (is_checked, says_so) in [(true, true), (false, false)] {
        let slow = queried(&mut client, &of("slow_seconds", is_checked)).await;
        let (waits, services) = (slow.waits.unwrap().unwrap(), slow.services.unwrap().unwrap());
        assert_eq!((waits.percentile.p95, waits.is_at_least), (Duration::from_secs(60), says_so));
        // The same numbers, taken for milliseconds.
        assert_eq!((services.percentile.p95, services.is_at_least), (Duration::from_millis(60), says_so));
    }
    let rare = queried(&mut client, &of("rare_seconds", true)).await;
    assert_eq!(rare.waits.unwrap().unwrap().percentile.known(), None, "fewer than 20 samples");
    let cause = rare.service.unwrap().unwrap_err().to_string();
    assert!(cause.starts_with("of ") && cause.ends_with(" samples, fewer than 20"), "{cause}");
    let idle = queried(&mut client, &of("idle_seconds", true)).await;
    let nan = Cause::new("the result is NaN, as a rate or percentile is without samples");
    assert_eq!(idle.waits, Some(Err(nan)));
}

#[tokio::test]
async fn a_name_cannot_leave_its_label() {
    let mut history = History::new();
    history.gauge("celery_queue_length", r#"queue_name="zeta""#, 99.0);
    history.gauge("celery_queue_length", r#"queue_name="we\"ird\\""#, 3.0);
    let prometheus = Prometheus::start(history.setup()).await;
    let mut client = client_at(&prometheus.url()).await;
    let of = |queue| plan(&[("queryPreset", "celery-exporter"), ("queryQueue", queue)]);
    assert_eq!(read(&mut client, &of(r#"we"ird\"#)).await, Ok(waiting(3)));
    for escape in [
        r#"x"} or celery_queue_length{queue_name="zeta"#,
        r#"x\"} or celery_queue_length{queue_name="zeta"#,
        r#"x" or queue_name="zeta"#,
        ".*",
        "x`",
    ] {
        let error = read(&mut client, &of(escape)).await.unwrap_err().to_string();
        assert!(error.contains("no result"), "{escape}: {error}");
    }
}

/// A quarter of an hour up to now, a sample each 15 s.
struct History {
    text: String,
}

impl History {
    fn new() -> Self {
        Self { text: String::new() }
    }

    fn times() -> impl Iterator<Item = (f64, f64)> {
        let now = SystemClock::start().now().as_millis() as f64 / 1_000.0;
        (0..=60).map(move |step| (f64::from(step) * 0.25, now - 900.0 + f64::from(step) * 15.0))
    }

    fn gauge(&mut self, name: &str, labels: &str, value: f64) {
        if !self.text.contains(&format!("# TYPE {name} ")) {
            writeln!(self.text, "# TYPE {name} gauge").unwrap();
        }
        for (_, time) in Self::times() {
            writeln!(self.text, "{name}{{{labels}}} {value} {time:.3}").unwrap();
        }
    }

    /// Cumulative counts of the buckets and the sum, each for one minute.
    fn histogram(&mut self, name: &str, labels: &str, a_minute: [f64; 4], sum: f64) {
        writeln!(self.text, "# TYPE {name} unknown").unwrap();
        let mut line = |suffix: &str, labels: &str, rate: f64| {
            writeln!(self.text, "# TYPE {name}_{suffix} unknown").unwrap();
            for (minutes, time) in Self::times() {
                writeln!(self.text, "{name}_{suffix}{{{labels}}} {} {time:.3}", rate * minutes).unwrap();
            }
        };
        line("sum", labels, sum);
        line("count", labels, a_minute[3]);
        writeln!(self.text, "# TYPE {name}_bucket unknown").unwrap();
        let bounds = BOUNDS.map(|bound| bound.to_string()).into_iter().chain(["+Inf".to_owned()]);
        for (bound, rate) in bounds.zip(a_minute) {
            for (minutes, time) in Self::times() {
                writeln!(self.text, "{name}_bucket{{{labels},le=\"{bound}\"}} {} {time:.3}", rate * minutes)
                    .unwrap();
            }
        }
    }

    fn setup(self) -> Setup {
        Setup { history: self.text, ..Setup::default() }
    }
}

fn assert_near(time: Duration, seconds: f64) {
    assert!((time.as_secs_f64() - seconds).abs() < 0.1, "{time:?} is not {seconds} s");
}
