//! What the documents say is what the program does.

use std::fs;
use std::process::Command;

use agent_scaler::engine::decision::LimitedBy;

use crate::support::tree::{files, root};

/// The commands whose output stands in documents between a comment that names them and an end: all of it in one
/// document, the first table in another.
const TABLES: [&str; 2] = ["agent-scaler keys --markdown", "agent-scaler keys --server --markdown"];

/// What the comment says before a command of which only the first table stands there.
const FIRST: &str = "first of ";

#[test]
fn the_tables_of_keys_are_those_that_the_program_prints() {
    for (document, part) in [("docs/keys.md", ""), ("README.md", FIRST)] {
        let path = root().join(document);
        let text = fs::read_to_string(&path).unwrap();
        let fresh = TABLES.iter().fold(text.clone(), |text, command| with_table(&text, part, command));
        if std::env::var_os("UPDATE").is_some() {
            fs::write(path, fresh).unwrap();
            continue;
        }
        assert!(text == fresh, "{document} has old tables: run `UPDATE=1 cargo test --test it documents`");
    }
}

#[test]
fn the_readme_explains_every_limit() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for limit in LimitedBy::ALL {
        assert!(readme.contains(&format!("`{}`", limit.label())), "{}", limit.label());
    }
}

#[test]
fn every_test_that_the_architecture_names_exists() {
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let sources = all_tests();
    let table = architecture.split("## The 45 traps").nth(1).unwrap();
    let mut named = 0;
    for name in table.split('`').skip(1).step_by(2).filter(|name| name.matches('_').count() >= 3) {
        let function = name.rsplit("::").next().unwrap();
        assert!(sources.contains(&format!("fn {function}(")), "{name} is no test");
        named += 1;
    }
    assert!(named >= 30, "only {named} tests are named");
    for trap in 1..=45 {
        assert!(table.contains(&format!("\n| {trap} |")), "trap {trap} is missing");
    }
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let documents: Vec<_> =
        ["docs", "deploy", "examples", "proto"].iter().flat_map(|folder| files(folder, "md")).collect();
    let at_the_top = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"]
        .iter()
        .chain(&["deploy/charts/agent-scaler/README.md"])
        .map(|name| (root().join(name), fs::read_to_string(root().join(name)).unwrap()));
    let mut followed = 0;
    for (path, text) in documents.into_iter().chain(at_the_top) {
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") || target.contains(char::is_whitespace) {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let to = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(to.exists(), "{}: nothing is at {target}", path.display());
            if !anchor.is_empty() {
                let text = fs::read_to_string(&to).unwrap();
                assert!(
                    anchors(&text).any(|found| found == anchor),
                    "{}: no heading {target}",
                    path.display()
                );
            }
            followed += 1;
        }
    }
    assert!(followed >= 70, "only {followed} links were found");
}

/// The names by which links lead to the headings of a document, as GitHub makes them.
fn anchors(text: &str) -> impl Iterator<Item = String> {
    let headings = text.split("```").step_by(2).flat_map(str::lines).filter_map(|line| {
        let title = line.trim_start_matches('#');
        (title.len() < line.len()).then(|| title.trim().to_lowercase())
    });
    headings.map(|title| {
        let kept = title.chars().filter(|letter| letter.is_alphanumeric() || "-_ ".contains(*letter));
        kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
    })
}

fn with_table(text: &str, part: &str, command: &str) -> String {
    let marker = format!("<!-- {part}{command} -->\n");
    let (before, rest) = text.split_once(&marker).unwrap();
    let (_, after) = rest.split_once("<!-- end -->").unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_agent-scaler")).args(command.split(' ').skip(1)).output().unwrap();
    let mut table = String::from_utf8(output.stdout).unwrap();
    if part == FIRST {
        let next = table.find("\n\n**").unwrap();
        table.truncate(next + 1);
    }
    format!("{before}{marker}{table}<!-- end -->{after}")
}

fn all_tests() -> String {
    ["src", "tests"].into_iter().flat_map(|folder| files(folder, "rs")).map(|(_, text)| text).collect()
}
