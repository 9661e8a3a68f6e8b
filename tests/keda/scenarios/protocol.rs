//! Our proto has every name, number and type of the one that KEDA was built with.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use agent_scaler::scaler::proto::DESCRIPTORS;

use crate::scene::Stage;

/// The first KEDA with every call that we serve; older ones lack some.
const COMPLETE_SINCE: &str = "v2.21.0";

pub(super) fn is_kedas(stage: &Stage) {
    let (ours, kedas) = (described(stage, Some(DESCRIPTORS)), described(stage, None));
    let lacking: Vec<&String> = kedas.difference(&ours).collect();
    assert!(lacking.is_empty(), "KEDA's proto has what ours has not: {lacking:#?}");
    let added: Vec<&String> = ours.difference(&kedas).collect();
    let keda = &stage.cluster.keda;
    assert!(added.is_empty() || keda != COMPLETE_SINCE, "ours has what KEDA's has not: {added:#?}");
    stage
        .timeline
        .note(format!("{} lines of KEDA {keda}'s proto are in ours; only ours: {added:?}", kedas.len()));
}

/// A line for everything in a proto: the one in `descriptors`, or KEDA's own.
fn described(stage: &Stage, descriptors: Option<&[u8]>) -> BTreeSet<String> {
    let mut command = Command::new(&stage.cluster.describe);
    command.args(descriptors.map(|_| "-")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(descriptors.unwrap_or_default()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}
