//! Timeouts in the arguments, variables and annotations of a container, by names that are in common use.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value as Node;

use super::pods::{Clock, Ends};

/// The unit of a number without one.
#[derive(Clone, Copy, Debug)]
enum Unit {
    Seconds,
    Millis,
    Minutes,
    Hours,
}

/// Ends of variables' names that give the unit, with that unit.
const SUFFIXES: &[(&str, Unit)] = &[
    ("_MS", Unit::Millis),
    ("_MILLIS", Unit::Millis),
    ("_MILLISECONDS", Unit::Millis),
    ("_S", Unit::Seconds),
    ("_SEC", Unit::Seconds),
    ("_SECS", Unit::Seconds),
    ("_SECONDS", Unit::Seconds),
    ("_MIN", Unit::Minutes),
    ("_MINS", Unit::Minutes),
    ("_MINUTES", Unit::Minutes),
    ("_HOURS", Unit::Hours),
];

/// Ends of variables' names, in capitals and without a unit, with the effect of their time.
const VARIABLES: &[(&str, Unit, Ends)] = &[
    ("VISIBILITY_TIMEOUT", Unit::Seconds, Ends::Hold),
    ("VISIBILITYTIMEOUT", Unit::Seconds, Ends::Hold),
    ("MAX_POLL_INTERVAL_MS", Unit::Millis, Ends::Hold),
    ("TASK_TIME_LIMIT", Unit::Seconds, Ends::Task),
    ("TASK_SOFT_TIME_LIMIT", Unit::Seconds, Ends::Task),
    ("TASK_TIMEOUT", Unit::Seconds, Ends::Task),
    ("JOB_TIMEOUT", Unit::Seconds, Ends::Task),
    ("RQ_DEFAULT_TIMEOUT", Unit::Seconds, Ends::Task),
    // Of Laravel, by the kind of queue: `REDIS_QUEUE_RETRY_AFTER`.
    ("QUEUE_RETRY_AFTER", Unit::Seconds, Ends::Hold),
];

/// Settings within texts, such as a variable that holds JSON or a file of properties.
const SETTINGS: &[(&str, Unit, Ends)] = &[
    ("max.poll.interval.ms", Unit::Millis, Ends::Hold),
    ("visibility_timeout", Unit::Seconds, Ends::Hold),
    ("task_time_limit", Unit::Seconds, Ends::Task),
    ("task_soft_time_limit", Unit::Seconds, Ends::Task),
];

/// Arguments of workers. Their value follows `=`, or is the next word.
const ARGUMENTS: &[(&str, Ends)] = &[
    ("--time-limit", Ends::Task),
    ("--soft-time-limit", Ends::Task),
    ("--task-time-limit", Ends::Task),
    ("--task-timeout", Ends::Task),
    ("--job-timeout", Ends::Task),
    ("--visibility-timeout", Ends::Hold),
    // The Cloud SQL proxy's wait for connections to end.
    ("--max-sigterm-delay", Ends::Proxy),
    ("-term_timeout", Ends::Proxy),
];

/// Annotations with the time that a proxy runs after SIGTERM.
const PROXIES: &[&str] =
    &["config.linkerd.io/shutdown-grace-period", "config.alpha.linkerd.io/proxy-wait-before-exit-seconds"];

/// Istio's settings of a proxy, as YAML in an annotation.
const ISTIO: &str = "proxy.istio.io/config";

/// The clocks of one container.
pub(super) fn of_container(container: &Node) -> Vec<Clock> {
    let texts = |name: &str| {
        let texts = container[name].as_array().into_iter().flatten().filter_map(Node::as_str);
        texts.map(str::to_owned).collect::<Vec<_>>()
    };
    let lines = [texts("command"), texts("args")].concat();
    // The command of a shell is one argument with several words.
    let words: Vec<&str> = lines.iter().flat_map(|line| line.split_whitespace()).collect();
    let mut found = arguments(&words);
    found.extend(timeout_command(&words));
    found.extend(sidekiq(&words));
    found.extend(laravel(&words));
    found.extend(lines.iter().flat_map(|line| settings(line)));
    let variables = container["env"].as_array().into_iter().flatten();
    let variables =
        variables.filter_map(|variable| Some((variable["name"].as_str()?, variable["value"].as_str()?)));
    found.extend(variables.flat_map(|(name, value)| of_variable(name, value)));
    found
}

/// The clocks of proxies beside the worker, which annotations set.
pub(super) fn of_annotations(annotations: &BTreeMap<String, String>) -> Vec<Clock> {
    let linkerd =
        PROXIES.iter().filter_map(|name| Some((*name, time(annotations.get(*name)?, Unit::Seconds)?)));
    let istio = annotations.get(ISTIO).and_then(|config| {
        let (_, rest) = config.split_once("terminationDrainDuration")?;
        let value: String = rest
            .trim_start_matches(['"', '\'', ':', ' '])
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .collect();
        Some(("terminationDrainDuration of Istio's proxy", time(&value, Unit::Seconds)?))
    });
    let clock = |(name, after): (&str, Duration)| Clock { name: name.to_owned(), after, ends: Ends::Proxy };
    linkerd.chain(istio).map(clock).collect()
}

/// How long a hook sleeps.
pub(super) fn sleep(hook: &Node) -> Option<Duration> {
    if let Some(seconds) = hook["sleep"]["seconds"].as_u64() {
        return Some(Duration::from_secs(seconds));
    }
    let lines = hook["exec"]["command"].as_array()?.iter().filter_map(Node::as_str);
    let words: Vec<&str> = lines
        .flat_map(|line| line.split([' ', ';', '&', '\n', '\t']))
        .filter(|word| !word.is_empty())
        .collect();
    let sleeps = words.windows(2).filter(|pair| pair[0] == "sleep" || pair[0].ends_with("/sleep"));
    let sum = sleeps.filter_map(|pair| time(pair[1], Unit::Seconds)).sum::<Duration>();
    (!sum.is_zero()).then_some(sum)
}

/// The clocks that a variable sets, by its name or within its value.
pub(super) fn of_variable(name: &str, value: &str) -> Vec<Clock> {
    named(name, value).map_or_else(|| settings(value), |clock| vec![clock])
}

fn named(name: &str, value: &str) -> Option<Clock> {
    let upper = name.to_uppercase().replace(['.', '-'], "_");
    // `TASK_TIMEOUT_RETRIES` is no time.
    let (unit, ends) = VARIABLES.iter().find_map(|(known, unit, ends)| {
        if upper.ends_with(known) {
            return Some((*unit, *ends));
        }
        let mut units =
            SUFFIXES.iter().filter_map(|(suffix, unit)| Some((upper.strip_suffix(suffix)?, *unit)));
        units.find(|(front, _)| front.ends_with(known)).map(|(_, unit)| (unit, *ends))
    })?;
    Some(Clock { name: format!("the variable {name}"), after: time(value, unit)?, ends })
}

fn settings(text: &str) -> Vec<Clock> {
    let value = |name: &str| {
        let (_, rest) = text.split_once(name)?;
        let rest = rest.trim_start_matches(['"', '\'', ':', '=', ' ']);
        Some(rest.chars().take_while(char::is_ascii_digit).collect::<String>())
    };
    let clock = |(name, unit, ends): &(&str, Unit, Ends)| {
        Some(Clock { name: (*name).to_owned(), after: time(&value(name)?, *unit)?, ends: *ends })
    };
    SETTINGS.iter().filter_map(clock).collect()
}

fn arguments(words: &[&str]) -> Vec<Clock> {
    let mut found = Vec::new();
    for (number, word) in words.iter().enumerate() {
        let (option, value) =
            word.split_once('=').map_or((*word, None), |(option, value)| (option, Some(value)));
        let option = option.replace('_', "-").to_lowercase();
        for (name, ends) in ARGUMENTS.iter().filter(|(name, _)| option == name.replace('_', "-")) {
            let value = value.or_else(|| words.get(number + 1).copied());
            let after = value.and_then(|value| time(value, Unit::Seconds));
            found.extend(after.map(|after| Clock { name: (*name).to_owned(), after, ends: *ends }));
        }
    }
    found
}

/// `timeout 600 worker` ends the worker after 600 s. A command that a shell goes on after (`timeout 30 wait-for-redis &&
/// worker`) ends nothing.
fn timeout_command(words: &[&str]) -> Option<Clock> {
    let at = words.iter().position(|word| *word == "timeout" || word.ends_with("/timeout"))?;
    let mut rest = words[at + 1..].iter();
    let value = loop {
        match *rest.next()? {
            // Options whose value is the next word.
            "-k" | "--kill-after" | "-s" | "--signal" => {
                rest.next();
            }
            option if option.starts_with('-') => {}
            value => break value,
        }
    };
    if rest.any(|word| *word == "&&") {
        return None;
    }
    Some(Clock {
        name: "the command `timeout`".to_owned(),
        after: time(value, Unit::Seconds)?,
        ends: Ends::Pod,
    })
}

/// This long after SIGTERM, Sidekiq puts running jobs back.
fn sidekiq(words: &[&str]) -> Option<Clock> {
    words.iter().find(|word| word.contains("sidekiq"))?;
    let (option, after) = option(words, &["-t", "--timeout"])?;
    Some(Clock { name: format!("sidekiq {option}"), after, ends: Ends::Stop })
}

/// Laravel's worker kills itself when a job has run for so long.
fn laravel(words: &[&str]) -> Option<Clock> {
    let command = words.iter().find(|word| matches!(**word, "queue:work" | "queue:listen"))?;
    let (option, after) = option(words, &["--timeout"])?;
    Some(Clock { name: format!("{command} {option}"), after, ends: Ends::Task })
}

/// The first of these options with its time: after `=`, as the next word, or right behind one letter (`-t25`).
fn option<'a>(words: &[&str], names: &[&'a str]) -> Option<(&'a str, Duration)> {
    words.iter().enumerate().find_map(|(number, word)| {
        names.iter().find_map(|name| {
            let value = match word.strip_prefix(name)? {
                "" => words.get(number + 1)?,
                rest if name.starts_with("--") => rest.strip_prefix('=')?,
                rest => rest,
            };
            Some((*name, time(value, Unit::Seconds)?))
        })
    })
}

/// A time as people write it: a number in this unit, or one with a unit of its own.
fn time(text: &str, unit: Unit) -> Option<Duration> {
    let text = text.trim();
    let seconds = match unit {
        Unit::Seconds => 1.0,
        Unit::Millis => 0.001,
        Unit::Minutes => 60.0,
        Unit::Hours => 3_600.0,
    };
    let time = match text.parse::<f64>() {
        Ok(number) => Duration::try_from_secs_f64(number * seconds).ok(),
        Err(_) => humantime::parse_duration(text).ok(),
    };
    time.filter(|time| !time.is_zero())
}
