//! Queries for exporters that many use, by name: a preset is one entry of [`PRESETS`], and its test.
//!
//! `$` stands for the quoted name of the queue, model or agent; a preset has one such name, and always needs it.

use super::promql::LabelValue;
use super::queries::{Unit, Wanted};
use crate::fields::Key;

/// What is counted as one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parameter {
    /// The name of a queue.
    Queue,
    /// The name of a model.
    Model,
    /// The name of an agent.
    Agent,
}

impl Parameter {
    /// Every value.
    pub(super) const ALL: [Self; 3] = [Self::Queue, Self::Model, Self::Agent];

    /// The key that gives it.
    pub(super) const fn key(self) -> &'static Key {
        match self {
            Self::Queue => &super::queries::QUERY_QUEUE,
            Self::Model => &super::queries::QUERY_MODEL,
            Self::Agent => &super::queries::QUERY_AGENT,
        }
    }
}

/// The metrics of one exporter. What it does not tell is `None`.
#[derive(Debug)]
pub(super) struct Preset {
    /// Value of `queryPreset`.
    pub(super) name: &'static str,
    pub(super) parameter: Parameter,
    /// Tasks that wait.
    pub(super) backlog: Option<&'static str>,
    /// Tasks that run.
    pub(super) in_flight: Option<&'static str>,
    /// New tasks per second.
    pub(super) arrivals: Option<&'static str>,
    /// How long tasks run.
    pub(super) services: Option<Histogram>,
    /// How long tasks wait.
    pub(super) waits: Option<Histogram>,
}

/// A histogram with classic buckets.
#[derive(Debug)]
pub(super) struct Histogram {
    /// Its name without `_bucket`.
    metric: &'static str,
    /// Which of its series.
    of: &'static str,
    pub(super) unit: Unit,
}

/// Every preset, in the order in which people should read them.
pub(super) const PRESETS: &[Preset] = &[
    // danihodovic/celery-exporter. What runs is counted by worker and not by queue, so it is left out.
    Preset {
        name: "celery-exporter",
        parameter: Parameter::Queue,
        backlog: Some("max(celery_queue_length{queue_name=$})"),
        in_flight: None,
        // Needs `task_send_sent_event`.
        arrivals: Some("sum(rate(celery_task_sent_total{queue_name=$}[5m]))"),
        services: seconds("celery_task_runtime", "queue_name=$"),
        waits: seconds("celery_task_queue_wait_time", "queue_name=$"),
    },
    // `Queue.exportPrometheusMetrics()`. Several processes may export one queue, each of them all of it.
    Preset {
        name: "bullmq",
        parameter: Parameter::Queue,
        backlog: Some(r#"sum(max by (state) (bullmq_job_count{queue=$,state=~"waiting|prioritized"}))"#),
        in_flight: Some(r#"max(bullmq_job_count{queue=$,state="active"})"#),
        arrivals: None,
        services: None,
        waits: None,
    },
    // Dramatiq's own middleware, which runs in the workers and knows nothing of what waits.
    Preset {
        name: "dramatiq",
        parameter: Parameter::Queue,
        backlog: None,
        in_flight: Some("sum(dramatiq_messages_inprogress{queue_name=$})"),
        arrivals: None,
        services: Some(Histogram {
            metric: "dramatiq_message_duration_milliseconds",
            of: "queue_name=$",
            unit: Unit::Milliseconds,
        }),
        waits: None,
    },
    // Requests are the tasks, and its own scheduler the queue: where the KV cache is full, they wait.
    Preset {
        name: "vllm",
        parameter: Parameter::Model,
        backlog: Some("sum(vllm:num_requests_waiting{model_name=$})"),
        in_flight: Some("sum(vllm:num_requests_running{model_name=$})"),
        arrivals: None,
        services: seconds("vllm:request_inference_time_seconds", "model_name=$"),
        waits: seconds("vllm:request_queue_time_seconds", "model_name=$"),
    },
    // Runs of an agent, as OpenTelemetry's conventions for generative AI name them.
    Preset {
        name: "otel-genai",
        parameter: Parameter::Agent,
        backlog: None,
        in_flight: None,
        arrivals: None,
        services: seconds("gen_ai_invoke_agent_duration_seconds", "gen_ai_agent_name=$"),
        waits: None,
    },
    // Messages of a destination, as OpenTelemetry's conventions for messaging name them.
    Preset {
        name: "otel-messaging",
        parameter: Parameter::Queue,
        backlog: None,
        in_flight: None,
        arrivals: Some("sum(rate(messaging_client_sent_messages_total{messaging_destination_name=$}[5m]))"),
        services: seconds("messaging_process_duration_seconds", "messaging_destination_name=$"),
        waits: None,
    },
];

const fn seconds(metric: &'static str, of: &'static str) -> Option<Histogram> {
    Some(Histogram { metric, of, unit: Unit::Seconds })
}

impl Preset {
    /// The preset of that name.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        PRESETS.iter().find(|preset| preset.name == name)
    }

    /// The query for what waits.
    pub(super) fn backlog(&self, value: &LabelValue) -> Option<String> {
        self.backlog.map(|query| filled(query, value))
    }

    /// The queries for all else.
    pub(super) fn questions(&self, value: &LabelValue) -> Vec<(Wanted, String)> {
        let mut questions = Vec::new();
        let plain = [(Wanted::InFlight, self.in_flight), (Wanted::Arrivals, self.arrivals)];
        questions
            .extend(plain.into_iter().filter_map(|(wanted, query)| Some((wanted, filled(query?, value)))));
        if let Some(services) = &self.services {
            questions.push((Wanted::Service, services.mean(value)));
            questions.push((Wanted::ServiceP95, services.quantile("0.95", value)));
            questions.push((Wanted::ServiceTop, services.quantile("1", value)));
            questions.push((Wanted::ServiceSamples, services.samples(value)));
        }
        if let Some(waits) = &self.waits {
            questions.push((Wanted::WaitP95, waits.quantile("0.95", value)));
            questions.push((Wanted::WaitTop, waits.quantile("1", value)));
            questions.push((Wanted::WaitSamples, waits.samples(value)));
        }
        questions
    }
}

impl Histogram {
    fn mean(&self, value: &LabelValue) -> String {
        let Self { metric, of, unit: _ } = self;
        filled(
            &format!("sum(rate({metric}_sum{{{of}}}[10m])) / sum(rate({metric}_count{{{of}}}[10m]))"),
            value,
        )
    }

    fn quantile(&self, quantile: &str, value: &LabelValue) -> String {
        let Self { metric, of, unit: _ } = self;
        let query =
            format!("histogram_quantile({quantile}, sum by (le) (rate({metric}_bucket{{{of}}}[10m])))");
        filled(&query, value)
    }

    fn samples(&self, value: &LabelValue) -> String {
        let Self { metric, of, unit: _ } = self;
        filled(&format!("sum(increase({metric}_count{{{of}}}[10m]))"), value)
    }
}

/// A query about one queue. Quoted last, so that nothing in the name can be taken for a place of its own.
fn filled(query: &str, value: &LabelValue) -> String {
    query.split('$').collect::<Vec<_>>().join(&value.quoted())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_asks_for_something_and_names_its_queue_in_each_query() {
        let value = LabelValue("a$b\"c".to_owned());
        for preset in PRESETS {
            let queries =
                preset.questions(&value).into_iter().map(|(_, query)| query).chain(preset.backlog(&value));
            let queries: Vec<String> = queries.collect();
            assert!(!queries.is_empty(), "{}", preset.name);
            for query in queries {
                assert!(query.contains(r#"="a$b\"c""#), "{}: {query}", preset.name);
            }
        }
    }
}
