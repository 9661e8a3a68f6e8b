//! What workers wrote down, read by the test's own eyes: the protocol's text is all that it knows.

use std::collections::BTreeMap;
use std::time::Duration;

use redis::aio::MultiplexedConnection;

/// The sums of some minutes of one worker scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) busy_ms: u64,
    pub(crate) throttle_ms: u64,
    pub(crate) requests: u64,
    pub(crate) refused: u64,
    pub(crate) input_tokens: u64,
    pub(crate) output_tokens: u64,
}

impl Sums {
    /// Reads these minutes of `scope`.
    pub(crate) async fn read(
        connection: &mut MultiplexedConnection,
        scope: &str,
        minutes: std::ops::Range<u64>,
    ) -> Self {
        let mut sums = Self::default();
        for number in minutes {
            let key = format!("agent-scaler:{{{scope}}}:m:{number}");
            let fields: BTreeMap<String, String> =
                redis::cmd("HGETALL").arg(key).query_async(connection).await.unwrap();
            let of = |name| fields.get(name).map_or(0, |text: &String| text.parse::<u64>().unwrap());
            sums.busy_ms += of("busy_ms");
            sums.throttle_ms += of("throttle_ms");
            sums.requests += of("req");
            sums.refused += of("r429");
            sums.input_tokens += of("itok");
            sums.output_tokens += of("otok");
        }
        sums
    }

    /// Requests of one busy slot in a minute, waits for the limit not counted.
    pub(crate) fn per_slot(&self, minute: Duration) -> f64 {
        let held = self.busy_ms.saturating_sub(self.throttle_ms) as f64 / 1_000.0;
        self.requests as f64 / (held / minute.as_secs_f64())
    }
}
