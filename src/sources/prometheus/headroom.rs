//! What is left of a rate limit, by the gauges of a gateway or of the model's own server.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::promql::LabelValue;
use super::queries::whole;
use crate::engine::limit::{Dimension, Headroom, LimitSeen};
use crate::fields::{Fields, Key, Need};
use crate::sources::Plan;

/// The keys of a limit that say which gauges tell of it, beside the connection that has them.
pub const KEYS: &[Key] = &[PRESET, MODEL];

const PRESET: Key = Key {
    name: "headroomPreset",
    need: Need::Optional,
    unit: "litellm | vllm",
    help: "whose gauges tell what is left of the limit, where workers see no headers: litellm, vllm",
    example: "litellm",
};
const MODEL: Key = Key {
    name: "headroomModel",
    need: Need::Optional,
    unit: "name",
    help: "the model that they are about: LiteLLM's `model_group`, vLLM's `model_name`",
    example: "sonnet",
};

/// Part of its KV cache from which on a server of models has no room for a further request.
const FULL: f64 = 0.9;

/// One deployment of LiteLLM, whatever key and process its gauge is of.
const DEPLOYMENT: &str = "litellm_model_name, api_base";

/// Whose gauges they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Preset {
    LiteLlm,
    Vllm,
}

impl FromStr for Preset {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "litellm" => Ok(Self::LiteLlm),
            "vllm" => Ok(Self::Vllm),
            _ => Err("neither `litellm` nor `vllm`"),
        }
    }
}

/// The gauges about one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HeadroomPlan {
    preset: Preset,
    model: LabelValue,
    /// For LiteLLM limit and remaining of requests, then of tokens; for vLLM what waits, and the part of the KV
    /// cache in use.
    pub(super) queries: Vec<String>,
}

/// Parses those keys: `Some(None)` if neither is given, `None` if `fields` kept a problem.
pub fn parse(fields: &mut Fields<'_>) -> Option<Option<Arc<dyn Plan>>> {
    let preset: Option<Preset> = fields.read(&PRESET);
    let model: Option<LabelValue> = fields.read(&MODEL);
    if !fields.has(&PRESET) && !fields.has(&MODEL) {
        return Some(None);
    }
    let (preset, model) = (preset?, model?);
    Some(Some(Arc::new(HeadroomPlan::new(preset, model))))
}

impl HeadroomPlan {
    fn new(preset: Preset, model: LabelValue) -> Self {
        let quoted = model.quoted();
        let queries = match preset {
            Preset::LiteLlm => {
                let of = |what: &str, limit: &str| {
                    litellm(&format!("litellm_remaining_{what}_metric{{model_group={quoted}}}"), limit)
                };
                let requests = of("requests", "litellm_deployment_rpm_limit");
                let tokens = of("tokens", "litellm_deployment_tpm_limit");
                requests.into_iter().chain(tokens).collect()
            }
            Preset::Vllm => vec![
                format!("sum(vllm:num_requests_waiting{{model_name={quoted}}})"),
                // Its name in older versions.
                format!(
                    "avg(vllm:kv_cache_usage_perc{{model_name={quoted}}} \
                     or vllm:gpu_cache_usage_perc{{model_name={quoted}}})"
                ),
            ],
        };
        Self { preset, model, queries }
    }

    /// What the answers say, one for each query in order; `None` is not known.
    pub(super) fn seen(&self, answers: &[Option<f64>]) -> LimitSeen {
        let of = |at: usize| answers.get(at).copied().flatten();
        match self.preset {
            Preset::LiteLlm => {
                let dimensions = [Dimension::RequestsPerMinute, Dimension::TokensPerMinute];
                let headroom = dimensions.into_iter().enumerate().filter_map(|(at, dimension)| {
                    let limit = of(2 * at).map(whole).filter(|limit| *limit > 0);
                    let remaining = of(2 * at + 1).map(whole);
                    let is_known = limit.is_some() || remaining.is_some();
                    is_known.then_some((dimension, Headroom { limit, remaining, ..Headroom::default() }))
                });
                LimitSeen { headroom: headroom.collect(), ..LimitSeen::default() }
            }
            Preset::Vllm => {
                let full = of(0).zip(of(1)).map(|(waiting, used)| waiting > 0.0 && used >= FULL);
                LimitSeen { full, ..LimitSeen::default() }
            }
        }
    }
}

/// The queries for the limit of all deployments of a group, and for what remains of it.
///
/// A gauge is set by the answer to a request, and keeps its value when there are no more: one that has not changed for
/// two minutes is not known. There is one for each key of the gateway, and all see one provider, so the smallest
/// counts. The limits do not name the group; where a deployment has none in LiteLLM's file, there is none for all.
fn litellm(remaining: &str, limit: &str) -> [String; 2] {
    let ever = format!("max by ({DEPLOYMENT}) ({remaining})");
    let fresh = format!("min by ({DEPLOYMENT}) ({remaining} and changes({remaining}[2m]) > 0)");
    let limits = format!("sum by ({DEPLOYMENT}) (max by ({DEPLOYMENT}, model_id) ({limit}))");
    let whole = format!("(sum({limits} and {ever}) unless count({ever} unless {limits}))");
    // What is left of those that tell stands for all.
    let left = format!("sum({fresh} and {limits}) / sum({limits} and {fresh}) * {whole} or sum({fresh})");
    [whole, left]
}

impl Plan for HeadroomPlan {
    fn queue(&self) -> String {
        self.to_string()
    }

    fn name(&self) -> String {
        self.model.0.clone()
    }

    fn names(&self) -> Vec<&str> {
        vec![&self.model.0]
    }

    fn shows_running(&self) -> bool {
        false
    }

    fn cost(&self) -> usize {
        self.queries.len()
    }

    fn commands(&self) -> Vec<String> {
        self.queries.clone()
    }
}

impl fmt::Display for HeadroomPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let preset = match self.preset {
            Preset::LiteLlm => "litellm",
            Preset::Vllm => "vllm",
        };
        write!(f, "headroom of {preset} {}", self.model.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(preset: Preset) -> HeadroomPlan {
        HeadroomPlan::new(preset, LabelValue("a\"b".to_owned()))
    }

    #[test]
    fn gauges_of_litellm_are_limits_and_what_remains_and_what_is_missing_is_not_known() {
        let seen = |answers: [Option<f64>; 4]| plan(Preset::LiteLlm).seen(&answers);
        let headroom = |limit, remaining| Headroom { limit, remaining, ..Headroom::default() };
        let of = |headroom: &[(Dimension, Headroom)]| LimitSeen {
            headroom: headroom.iter().copied().collect(),
            ..LimitSeen::default()
        };
        let (requests, tokens) = (Dimension::RequestsPerMinute, Dimension::TokensPerMinute);
        assert_eq!(
            seen([Some(60.0), Some(0.0), None, Some(900.0)]),
            of(&[(requests, headroom(Some(60), Some(0))), (tokens, headroom(None, Some(900)))])
        );
        // Nobody is given a limit of nothing.
        assert_eq!(seen([Some(0.0), None, None, None]), of(&[]));
        assert_eq!(seen([None; 4]), LimitSeen::default());
    }

    #[test]
    fn a_server_of_models_is_full_where_requests_wait_for_its_memory() {
        let full = |waiting, used| plan(Preset::Vllm).seen(&[waiting, used]).full;
        assert_eq!(full(Some(3.0), Some(0.9)), Some(true));
        assert_eq!(full(Some(3.0), Some(0.89)), Some(false));
        assert_eq!(full(Some(0.0), Some(1.0)), Some(false));
        assert_eq!([full(None, Some(1.0)), full(Some(3.0), None)], [None, None]);
    }

    #[test]
    fn every_query_names_its_model_and_none_can_leave_its_label() {
        for preset in [Preset::LiteLlm, Preset::Vllm] {
            for query in plan(preset).queries {
                assert!(query.contains(r#"="a\"b"}"#) && !query.contains(r#"="a"b"#), "{query}");
                assert!(query.len() < 4_096, "{query}");
            }
        }
    }
}
