//! What users wrote, turned into values that are valid by construction.
//!
//! A trigger's metadata says what to watch and what is wanted; the server's file holds what must not be in
//! a trigger. Either is read whole before anything is refused, so that one error names every problem.

pub mod keys;
pub mod places;
pub mod server;
pub mod tenants;
pub mod trigger;
pub mod workers;

mod admission;
mod credential;
mod from_env;
mod numbers;
mod policy;
pub mod queries;
mod yaml;
