//! The demo: both worlds to the end, with a small load.

use std::time::Duration;

use crate::support::examples::Example;

#[test]
fn the_demo_ends_with_a_summary_in_which_all_is_done() {
    // Started beside it, so they have to be there.
    for program in ["llm-stub", "agent", "worker"] {
        drop(Example::new(program));
    }
    let mut demo = Example::new("demo").arguments(["--tasks", "10", "--length", "4s"]).start();
    let status = demo.ended_within(Duration::from_secs(120));
    let printed = demo.printed_so_far();
    assert!(status.success(), "{status}:\n{printed}");
    // Four of the trickle, ten of the burst, four of research.
    for row in ["tasks put in 18 18", "tasks done 18 18", "tasks lost 0 0"] {
        let found = printed.lines().any(|line| line.split_whitespace().eq(row.split(' ')));
        assert!(found, "{row}:\n{printed}");
    }
}
