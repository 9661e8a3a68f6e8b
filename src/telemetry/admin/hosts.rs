//! Names under which the admin port may be asked without a token.
//!
//! A page of another site can have its own name lead to this address, and then read here with its visitor's browser.
//! It cannot do that with an address, or with a name that is not in the public DNS.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Ends of names that nobody can register: the cluster's own, and those set aside for local use (RFC 6761, RFC 6762,
/// and ICANN's `internal`).
const PRIVATE: [&str; 5] = [".svc", ".local", ".localhost", ".internal", ".test"];

/// Whether a request for `host` is meant for this server: `hosts` are names, or ends of names with a point before them,
/// that the server's file and the cluster add.
pub(super) fn is_ours(host: &str, hosts: &[String]) -> bool {
    let name = without_port(host).trim_end_matches('.').to_ascii_lowercase();
    if let Some(address) = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let is_local = !name.contains('.') || PRIVATE.iter().any(|end| name.ends_with(end));
    let is_listed = |host: &String| {
        let host = host.to_ascii_lowercase();
        name == host || (host.starts_with('.') && name.ends_with(&host))
    };
    is_local || name.parse::<Ipv4Addr>().is_ok() || hosts.iter().any(is_listed)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_of_the_cluster_are_ours_and_other_sites_are_not() {
        let hosts = ["scaler.example.com", ".keda"].map(str::to_owned);
        for ours in [
            "127.0.0.1:8080",
            "10.1.2.3",
            "[::1]:8080",
            "[fd00::1]",
            "localhost:8080",
            "agent-scaler-http",
            "agent-scaler-http.keda:8080",
            "agent-scaler-http.keda.svc:8080",
            "agent-scaler-http.keda.svc.cluster.local.:8080",
            "Scaler.Example.com:443",
            "",
        ] {
            assert!(is_ours(ours, &hosts), "{ours}");
        }
        for foreign in [
            "evil.example.com",
            "evil.example.com:8080",
            "127.0.0.1.evil.com",
            "a.svc.evil.com",
            "[evil.com]",
            "evil.com:x",
        ] {
            assert!(!is_ours(foreign, &hosts), "{foreign}");
        }
    }
}
