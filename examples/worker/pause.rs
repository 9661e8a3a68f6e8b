//! How long to wait before another try: full jitter, so that those who failed together do not come back together.

use std::time::Duration;

const SHORTEST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// A pause after so many failures: anything up to half a second, doubled for each further one, up to 30 s.
pub(crate) fn after(failures: u32) -> Duration {
    let most = SHORTEST.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(LONGEST);
    most.mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_differ() {
        for (failures, most) in [(0, 500), (1, 500), (2, 1_000), (5, 8_000), (60, 30_000)] {
            let pauses: Vec<Duration> = (0..100).map(|_| after(failures)).collect();
            assert!(pauses.iter().all(|pause| *pause <= Duration::from_millis(most)), "{failures}");
            assert!(pauses.iter().any(|pause| *pause > Duration::from_millis(most / 4)), "{failures}");
        }
    }
}
