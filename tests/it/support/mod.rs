//! What tests share: real servers, and a proxy that gets in the way.

pub(crate) mod proxy;
pub(crate) mod servers;
