//! A KEDA external scaler for AI-agent workers.
//!
//! Reading order: [`engine`] decides and touches nothing; [`workers`] is how workers report, [`providers`] read
//! what an LLM provider says, and [`sources`] say what they see; [`config`] turns what users wrote into values;
//! [`scaler`] owns time and the connections between them; [`telemetry`] shows what happened; [`cli`] starts it all.

pub mod text;
pub mod timestamp;

pub mod engine;
pub mod providers;
pub mod workers;

pub mod fields;
pub mod secret;
pub mod sources;

pub mod config;

pub mod checks;
pub mod manifest;

pub mod clock;
pub mod telemetry;

pub mod scaler;

pub mod cli;
