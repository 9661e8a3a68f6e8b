//! The programs of `examples/`, which run in the pods of some scenarios.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds what scenarios run, from the present sources, into the directory that this test came from.
pub(crate) fn build() {
    let profile = profile();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--quiet", "--locked"]);
    cargo.args(["--example", "worker", "--example", "llm-stub", "--target-dir"]);
    cargo.arg(profile.parent().unwrap());
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    assert!(cargo.status().unwrap().success(), "the examples cannot be built");
}

/// Where the example `name` is.
pub(crate) fn path(name: &str) -> PathBuf {
    profile().join("examples").join(name)
}

/// `<target>/<profile>`, of `<target>/<profile>/deps/keda-…`.
fn profile() -> PathBuf {
    std::env::current_exe().unwrap().parent().and_then(Path::parent).unwrap().to_owned()
}
