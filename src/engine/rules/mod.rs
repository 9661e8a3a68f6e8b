//! The rules, one file each, in the order in which `decide` applies them.

pub(in crate::engine) mod activation;
pub(in crate::engine) mod bounds;
pub(in crate::engine) mod ceiling;
pub(in crate::engine) mod demand;
pub(in crate::engine) mod even;
pub(in crate::engine) mod llm_limit;
pub(in crate::engine) mod no_progress;
pub(in crate::engine) mod promise;
pub(in crate::engine) mod running;
pub(in crate::engine) mod staleness;
pub(in crate::engine) mod unseen;
