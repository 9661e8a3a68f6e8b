//! What an administrator writes, with a slip.

use agent_scaler::config::server::Server;
use agent_scaler::sources::ALL;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::budget::{fuzz, is_plain};
use crate::text::{cut, cuts, text};

const FILE: &str = include_str!("../../examples/agent-scaler.yaml");

#[test]
fn whatever_the_file_says_is_a_server_or_a_short_refusal() {
    // Everything that the example leaves out, too.
    let lines: Vec<String> =
        FILE.lines().map(|line| line.strip_prefix('#').unwrap_or(line).to_owned()).collect();
    let all = lines.len();
    let edit = (0..all, prop_oneof![Just(None), "( {0,8}[a-zA-Z]{1,12}: )?".prop_map(Some)], text());
    fuzz("server file", &(vec(edit, 0..6), cuts()), |(edits, cuts)| {
        let mut lines = lines.clone();
        for (at, key, value) in edits {
            lines[at] = match key {
                None => value,
                Some(key) if key.is_empty() => {
                    lines[at].split_once(": ").map(|(key, _)| format!("{key}: {value}")).unwrap_or_default()
                }
                Some(key) => format!("{key}{value}"),
            };
        }
        let bytes = cut(lines.join("\n").into_bytes(), &cuts);
        match Server::parse(&String::from_utf8_lossy(&bytes), ALL) {
            Ok(_) => Ok(()),
            Err(error) => is_plain(&error.to_string()),
        }
    });
}
