//! The two ports: connections are accepted within bounds, and every peer has a time for what it begins.
//!
//! tonic and axum would serve them in a line each, but bound neither the number of connections, nor the time in
//! which a request arrives and its answer is taken, nor the memory that unfinished requests hold.

pub(super) mod accept;
pub(super) mod admin;
pub(super) mod connections;
pub(super) mod descriptors;
pub(super) mod grpc;

mod answer;
mod call;
mod stall;

pub(super) use call::LARGEST_REQUEST;
