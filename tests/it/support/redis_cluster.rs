//! A real Redis Cluster: three masters, each with a replica.

use std::process::Command;
use std::time::Duration;

use super::servers::{Options, Ports, Redis, Tls};

/// How long it may take until all agree.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running cluster. It goes on with what is left when a master dies.
pub(crate) struct RedisCluster {
    /// The masters first, then the replicas, as they began.
    pub(crate) nodes: Vec<Redis>,
}

impl RedisCluster {
    /// Starts a cluster and waits until every node knows all others.
    pub(crate) fn start(tls: Tls) -> Self {
        let options = Options { tls, ..Options::default() };
        // Nodes tell each other one port only.
        let encrypted = if tls == Tls::Off { "" } else { "tls-cluster yes\ntls-replication yes\n" };
        let lines = |Ports { bus, .. }: Ports| {
            format!(
                "{encrypted}cluster-enabled yes\ncluster-config-file nodes.conf\ncluster-port {bus}\n\
                 cluster-node-timeout 1000\ncluster-require-full-coverage no\n"
            )
        };
        let first = Redis::start_with(options, None, lines);
        let mut nodes = vec![first];
        while nodes.len() < 6 {
            nodes.push(Redis::start_with(options, Some(&nodes[0]), lines));
        }
        let addresses = nodes.iter().map(|node| format!("127.0.0.1:{}", node.best_port()));
        let mut create = Command::new("redis-cli");
        if tls != Tls::Off {
            create.arg("--tls").arg("--cacert").arg(nodes[0].file("ca.crt"));
        }
        let created = create
            .args(["--cluster", "create"])
            .args(addresses)
            .args(["--cluster-replicas", "1", "--cluster-yes"])
            .output()
            .unwrap_or_else(|error| {
                panic!("cannot run redis-cli ({error}): install the package redis-tools")
            });
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stdout));
        let cluster = Self { nodes };
        cluster.wait_for("all nodes agree", |cluster| cluster.nodes.iter().all(|node| ranges(node) == 3));
        cluster.wait_for("all replicas are in step", |cluster| {
            cluster.nodes[3..].iter().all(|node| info(node, "replication", "master_link_status") == "up")
        });
        cluster
    }

    /// What to connect to.
    pub(crate) fn urls(&self) -> String {
        let urls: Vec<String> = self.nodes[..3].iter().map(Redis::url).collect();
        urls.join(",")
    }

    /// Names of `count` queues that the node at `index` serves.
    pub(crate) fn queues_on(&self, index: usize, count: usize) -> Vec<String> {
        let mut connection = self.nodes[index].connection();
        let names = (0..).map(|number| format!("acme:tasks:{number}"));
        let serves = |name: &String| redis::cmd("LLEN").arg(name).query::<u64>(&mut connection).is_ok();
        names.filter(serves).take(count).collect()
    }

    /// The name of a queue that the node at `index` serves.
    pub(crate) fn queue_on(&self, index: usize) -> String {
        self.queues_on(index, 1).remove(0)
    }

    /// Runs a command on whichever node takes it.
    pub(crate) fn command(&self, words: &[&str]) -> redis::Value {
        let (name, arguments) = words.split_first().unwrap();
        let taken = self.nodes.iter().find_map(|node| {
            let mut connection = node.try_connection()?;
            redis::cmd(name).arg(arguments).query(&mut connection).ok()
        });
        taken.unwrap_or_else(|| panic!("no node takes {words:?}"))
    }

    /// Runs a command on every node.
    pub(crate) fn everywhere(&self, words: &[&str]) {
        self.nodes.iter().for_each(|node| drop(node.command(words)));
    }

    /// Waits until `holds`, as long as the cluster may take to get there.
    pub(crate) fn wait_for(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let step = Duration::from_millis(20);
        for _ in 0..PATIENCE.as_millis() / step.as_millis() {
            if holds(self) {
                return;
            }
            std::thread::sleep(step);
        }
        panic!("never seen: {what}");
    }
}

/// Ranges of slots with two different servers, as a node sees them.
fn ranges(node: &Redis) -> usize {
    let slots: Vec<redis::Value> = redis::from_redis_value(node.command(&["CLUSTER", "SLOTS"])).unwrap();
    let complete = |range: &&redis::Value| matches!(range, redis::Value::Array(parts) if parts.len() == 4);
    let state = node.command(&["CLUSTER", "INFO"]);
    let state: String = redis::from_redis_value(state).unwrap();
    if state.contains("cluster_state:ok") { slots.iter().filter(complete).count() } else { 0 }
}

/// A field of `INFO`.
pub(crate) fn info(node: &Redis, section: &str, field: &str) -> String {
    let text: String = redis::from_redis_value(node.command(&["INFO", section])).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
    line.unwrap_or_default().to_owned()
}

/// How often a node was asked with this command since it was last told to count anew.
pub(crate) fn calls(node: &Redis, command: &str) -> u64 {
    let line = info(node, "commandstats", &format!("cmdstat_{command}"));
    let calls = line.strip_prefix("calls=").and_then(|rest| rest.split(',').next()?.parse().ok());
    calls.unwrap_or(0)
}
