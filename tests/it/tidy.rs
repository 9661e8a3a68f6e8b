//! The architecture as a test: who may name whom, and how large a file may be.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::tree::{files, root};

/// Modules, and the modules of ours that each may name; `cli` may name all.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("text", &[]),
    ("timestamp", &[]),
    ("secret", &[]),
    ("engine", &["timestamp"]),
    ("workers", &["engine", "timestamp"]),
    ("providers", &["engine", "timestamp"]),
    ("fields", &["secret", "text"]),
    ("clock", &["timestamp"]),
    ("sources", &["engine", "fields", "secret", "timestamp", "workers"]),
    ("config", &["engine", "sources", "fields", "secret", "timestamp"]),
    ("manifest", &["fields"]),
    ("checks", &["config", "manifest", "engine"]),
    ("telemetry", &["engine", "secret", "text", "timestamp"]),
    ("scaler", &["config", "sources", "engine", "telemetry", "clock", "text", "timestamp"]),
    (
        "cli",
        &[
            "checks",
            "clock",
            "config",
            "engine",
            "fields",
            "manifest",
            "scaler",
            "secret",
            "sources",
            "telemetry",
            "text",
            "timestamp",
        ],
    ),
];

/// What would make the engine impure, or able to fail.
const NOT_IN_ENGINE: &[&str] = &[
    "tokio",
    "async fn",
    ".await",
    "Result<Decision",
    "tracing::",
    "SystemTime",
    "Instant",
    "rand::",
    "println!",
    "std::env",
    "std::fs",
    "std::net",
    "Mutex",
    "RefCell",
    "static mut",
];

const LONGEST_FILE: usize = 400;

#[test]
fn modules_name_only_what_is_below_them() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let module = module(&path);
        // A test may name whatever it needs to set its scene.
        if ["lib", "main"].contains(&module.as_str()) || path.ends_with("tests.rs") {
            continue;
        }
        let allowed = MAY_NAME.iter().find(|(name, _)| *name == module).map(|(_, allowed)| *allowed);
        let Some(allowed) = allowed else {
            faults.push(format!("{}: module `{module}` is not in the table", path.display()));
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            for named in named(line) {
                if named != module && !allowed.contains(&named) {
                    faults.push(format!("{}:{}: {module} names {named}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_engine_is_pure() {
    let mut faults = Vec::new();
    for (path, text) in sources().into_iter().filter(|(path, _)| module(path) == "engine") {
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in
            code.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"))
        {
            let found = NOT_IN_ENGINE.iter().filter(|word| line.contains(**word));
            faults.extend(found.map(|word| format!("{}:{}: {word}", path.display(), number + 1)));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_file_begins_by_saying_what_it_is_for_and_ends_in_time() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        if !text.starts_with("//!") {
            faults.push(format!("{}: does not begin with `//!`", path.display()));
        }
        if text.lines().count() > LONGEST_FILE {
            faults.push(format!("{}: longer than {LONGEST_FILE} lines", path.display()));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_planted_import_is_caught() {
    assert_eq!(named("use crate::config::server::Server;"), ["config"]);
    assert_eq!(
        named("    let now = crate::clock::SystemClock::start(); crate::fields::nearest()"),
        ["clock", "fields"]
    );
    assert!(named("/// See [`crate::config`].").is_empty());
}

/// The modules of ours that a line of code names.
fn named(line: &str) -> Vec<&str> {
    if line.trim_start().starts_with("//") {
        return Vec::new();
    }
    assert!(!line.contains("crate::{"), "this test cannot read {line}");
    line.split("crate::")
        .skip(1)
        .map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default())
        .filter(|name| MAY_NAME.iter().any(|(module, _)| module == name))
        .collect()
}

/// The module of a path below `src`: its first part.
fn module(path: &Path) -> String {
    let below = path.strip_prefix(root().join("src")).unwrap();
    let first = below.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

fn sources() -> Vec<(PathBuf, String)> {
    let files = files("src", "rs");
    assert!(files.len() > 30, "the sources were not found");
    files
}

/// One stack for cryptography and one for HTTP: a feature that brings a second one is a slip.
#[test]
fn no_second_cryptography_or_http_library_has_crept_in() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    for unwanted in ["aws-lc-sys", "native-tls", "openssl"] {
        assert!(!lock.contains(&format!("name = \"{unwanted}\"")), "{unwanted}");
    }
    // Kafka's client library knows no other, and nobody else may use it.
    let users = lock.split("[[package]]").filter(|package| package.contains("\n \"openssl-sys\""));
    let users: Vec<&str> = users.filter_map(|package| package.split('"').nth(1)).collect();
    assert_eq!(users, ["rdkafka-sys"]);
    for once in ["hyper", "h2", "rustls", "http"] {
        assert_eq!(lock.matches(&format!("name = \"{once}\"\n")).count(), 1, "{once}");
    }
}
