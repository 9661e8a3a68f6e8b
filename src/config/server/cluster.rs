//! Names that pods of the cluster have for each other, as this pod's own resolver completes them.

/// Ends of names that only the cluster can resolve: `.keda` and `.svc.example.internal`, out of the resolver's
/// `search keda.svc.example.internal svc.example.internal example.internal`; none outside of a cluster.
pub fn local_names() -> Vec<String> {
    std::fs::read_to_string("/etc/resolv.conf").map_or_else(|_| Vec::new(), |text| of_resolver(&text))
}

fn of_resolver(text: &str) -> Vec<String> {
    let searched =
        text.lines().filter_map(|line| line.trim().strip_prefix("search ")).next_back().unwrap_or_default();
    let ours = searched.split_ascii_whitespace().find_map(|domain| domain.split_once(".svc."));
    ours.map_or_else(Vec::new, |(namespace, cluster)| {
        vec![format!(".{namespace}"), format!(".svc.{cluster}")]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resolver_of_a_pod_tells_its_namespace_and_its_cluster() {
        let text =
            "nameserver 10.96.0.10\nsearch keda.svc.k8s.acme.example svc.k8s.acme.example k8s.acme.example\n";
        assert_eq!(of_resolver(text), [".keda", ".svc.k8s.acme.example"]);
        assert!(of_resolver("nameserver 1.1.1.1\nsearch acme.example\n").is_empty());
        assert!(of_resolver("").is_empty());
    }
}
