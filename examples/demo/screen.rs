//! What the terminal shows while it runs: at most 100 columns.

use std::io::{IsTerminal as _, Write as _, stdout};
use std::time::Duration;

use agent_scaler::timestamp::Timestamp;

use crate::autoscaler::FASTER;
use crate::deployment::{GRACE, MAX_REPLICAS, SLOTS};
use crate::story::{STEPS, TASK};
use crate::world::{MINUTE, QueueSeen, REQUESTS, World};

/// Columns of a line that may be long.
const WIDTH: usize = 99;

/// Prints a text. Who has closed the terminal has seen enough.
pub(crate) fn say(text: &str) {
    drop(writeln!(stdout(), "{text}"));
}

/// Says what everything is.
pub(crate) fn headline(worlds: &[World]) {
    let (minute, grace, task) = (MINUTE.as_secs(), GRACE.as_secs(), TASK.as_secs());
    for text in [
        "Two worlds with the same load, each with a Redis, a provider with one API key, two queues with the agent \
         API in front, and real worker processes. In one KEDA asks agent-scaler, in the other it goes by the \
         length of the list. All workers pace themselves to the key; agent-scaler also divides it between the two \
         Deployments."
            .to_owned(),
        format!(
            "The key admits {REQUESTS} requests in {minute} s. A task makes {STEPS} on average and takes {task} s, a \
             worker runs {SLOTS} at a time and has {grace} s to finish them when it is told to go; at most \
             {MAX_REPLICAS} workers a Deployment. Everything is {FASTER} times faster than in production. \
             Workers are shown as ready/wanted +draining."
        ),
    ] {
        say(&wrapped(&text, 0));
    }
    if let Some(scaler) = worlds.iter().find_map(|world| world.scaler.as_ref()) {
        say(&format!(
            "Why, at any moment: http://{}/decisions?format=text. Ctrl-C ends it all.",
            scaler.admin
        ));
    }
    say(&format!(
        "\n{:>4}  {:<12} {:>7} {:>7}   {:>14} {:>16}  {:>8} {:>6}",
        "s", "", "waiting", "running", "batch workers", "research workers", "key used", "429s"
    ));
}

/// Says what happens.
pub(crate) fn announce(elapsed: Duration, text: &str) {
    let text = wrapped(&format!("{:>4}  {text}", elapsed.as_secs()), 6);
    say(&if stdout().is_terminal() { format!("\n\x1b[1m{text}\x1b[0m") } else { format!("\n{text}") });
}

/// One line a world, and what the scaler says where its reason has changed.
pub(crate) fn lines(elapsed: Duration, worlds: &mut [World], now: Timestamp) {
    for (number, world) in worlds.iter_mut().enumerate() {
        let (waiting, running) = world.seen.tasks();
        let replicas = |QueueSeen { ready, replicas, leaving, .. }: &QueueSeen| match leaving {
            0 => format!("{ready}/{replicas}   "),
            leaving => format!("{ready}/{replicas} {:<3}", format!("+{leaving}")),
        };
        let replicas: Vec<String> = world.seen.queues.iter().map(replicas).collect();
        let [batch, research] = replicas.as_slice() else { continue };
        let second = if number == 0 { elapsed.as_secs().to_string() } else { String::new() };
        let (name, used) = (world.law.name(), format!("{:.0} %", world.seen.used * 100.0));
        say(&format!(
            "{second:>4}  {name:<12} {waiting:>7} {running:>7}   {batch:>14} {research:>16}  {used:>8} {:>6}",
            world.seen.refused
        ));
    }
    for world in worlds {
        for sentence in world.new_sentences(now) {
            say(&wrapped(&format!("      {sentence}"), 8));
        }
    }
}

/// Breaks a text at spaces, and indents the lines that follow.
pub(crate) fn wrapped(text: &str, indent: usize) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_inclusive(' ') {
        let line = lines.last().map_or(0, |line| line.chars().count());
        if line + word.trim_end().chars().count() > WIDTH {
            lines.push(" ".repeat(indent));
        }
        lines.iter_mut().last().into_iter().for_each(|line| line.push_str(word));
    }
    lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}
