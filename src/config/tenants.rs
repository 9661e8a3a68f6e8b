//! Which namespace may use which connections, queues and limits.
//!
//! A trigger is user input, and the scaler holds the credentials: without this, everybody who can write a
//! ScaledObject could read every queue that the scaler can.

use std::collections::{BTreeMap, BTreeSet};

use crate::fields::{in_brackets, nearest, shortened};

/// Who may use what.
#[derive(Clone, Debug, Default)]
pub enum Tenants {
    /// Nobody said: everybody may use everything.
    #[default]
    Open,
    /// Closed to all namespaces but these.
    Closed(BTreeMap<String, Tenant>),
}

/// What one namespace may use.
#[derive(Clone, Debug, Default)]
pub struct Tenant {
    /// Connection → patterns of the names of queues and of workers; `*` stands for any text.
    pub connections: BTreeMap<String, Vec<String>>,
    /// Names of limits that its workers may share.
    pub llm_limits: BTreeSet<String>,
    /// Whether its triggers may hold PromQL of their own, which can read whatever a Prometheus holds.
    pub promql: bool,
}

/// A namespace asked for what it may not use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// Everything, because it is no tenant.
    #[error(
        "namespace `{namespace}` may not use this server (hint: name it under `tenants` in the server's file)"
    )]
    Everything {
        /// Who asked.
        namespace: String,
    },
    /// The connection, or all of them.
    #[error("namespace `{namespace}` may not use the connection `{}`{}", shortened(connection), in_brackets(hint.as_ref()))]
    Connection {
        /// Who asked.
        namespace: String,
        /// For what.
        connection: String,
        /// Which of its own may have been meant.
        hint: Option<String>,
    },
    /// A connection that the trigger does not name itself.
    #[error("namespace `{namespace}` may not use {by} (hint: name a `workersConnection` that it may use)")]
    Implied {
        /// Who asked.
        namespace: String,
        /// What names the connection.
        by: String,
    },
    /// A queue of a connection that it may use.
    #[error(
        "namespace `{namespace}` may not read `{}` on the connection `{}`",
        shortened(queue),
        shortened(connection)
    )]
    Queue {
        /// Who asked.
        namespace: String,
        /// On which connection.
        connection: String,
        /// For what.
        queue: String,
    },
    /// PromQL of its own.
    #[error(
        "namespace `{namespace}` may not write PromQL of its own, only name a `queryPreset` (hint: `tenants.{namespace}.promql: true` in the server's file)"
    )]
    PromQl {
        /// Who asked.
        namespace: String,
    },
    /// The limit, or all of them.
    #[error("namespace `{namespace}` may not use the LLM limit `{}`{}", shortened(limit), in_brackets(hint.as_ref()))]
    Limit {
        /// Who asked.
        namespace: String,
        /// For what.
        limit: String,
        /// Which of its own may have been meant.
        hint: Option<String>,
    },
}

impl Tenants {
    /// Lets `namespace` use anything, or not: that is, whether it is a tenant.
    ///
    /// # Errors
    /// When it may not.
    pub fn permit_at_all(&self, namespace: &str) -> Result<(), Forbidden> {
        match self {
            Self::Closed(tenants) if !tenants.contains_key(namespace) => {
                Err(Forbidden::Everything { namespace: namespace.to_owned() })
            }
            Self::Open | Self::Closed(_) => Ok(()),
        }
    }

    /// Lets `namespace` use `connection`, or not. One that does not exist and one of others are refused alike.
    ///
    /// # Errors
    /// When it may not.
    pub fn permit_connection(&self, namespace: &str, connection: &str) -> Result<(), Forbidden> {
        self.patterns(namespace, connection).map(drop)
    }

    /// Lets `namespace` use a connection that its trigger does not name, or not; `by` says what names it.
    ///
    /// # Errors
    /// When it may not.
    pub fn permit_implied(
        &self,
        namespace: &str,
        connection: &str,
        by: impl FnOnce() -> String,
    ) -> Result<(), Forbidden> {
        self.permit_connection(namespace, connection)
            .map_err(|_| Forbidden::Implied { namespace: namespace.to_owned(), by: by() })
    }

    /// Lets `namespace` read `queues`, or what workers of that name report, through `connection`, or not.
    ///
    /// # Errors
    /// When it may not.
    pub fn permit(&self, namespace: &str, connection: &str, queues: &[&str]) -> Result<(), Forbidden> {
        let Some(patterns) = self.patterns(namespace, connection)? else { return Ok(()) };
        let allowed = |queue: &str| patterns.iter().any(|pattern| matches(pattern, queue));
        match queues.iter().find(|queue| !allowed(queue)) {
            None => Ok(()),
            Some(queue) => Err(Forbidden::Queue {
                namespace: namespace.to_owned(),
                connection: connection.to_owned(),
                queue: (*queue).to_owned(),
            }),
        }
    }

    /// Lets triggers of `namespace` hold PromQL of their own, or not.
    ///
    /// # Errors
    /// When they may not.
    pub fn permit_promql(&self, namespace: &str) -> Result<(), Forbidden> {
        let may = match self {
            Self::Open => true,
            Self::Closed(tenants) => tenants.get(namespace).is_some_and(|tenant| tenant.promql),
        };
        if may { Ok(()) } else { Err(Forbidden::PromQl { namespace: namespace.to_owned() }) }
    }

    /// Lets workers of `namespace` share `limit`, or not. One that does not exist and one of others are refused alike.
    ///
    /// # Errors
    /// When they may not.
    pub fn permit_limit(&self, namespace: &str, limit: &str) -> Result<(), Forbidden> {
        let Self::Closed(tenants) = self else { return Ok(()) };
        let own = tenants.get(namespace).map(|tenant| &tenant.llm_limits);
        if own.is_some_and(|own| own.contains(limit)) {
            return Ok(());
        }
        let hint = own.and_then(|own| nearest(limit, own.iter().map(String::as_str)));
        Err(Forbidden::Limit { namespace: namespace.to_owned(), limit: limit.to_owned(), hint })
    }

    /// The patterns of the names that `namespace` may read on `connection`; `None` if it may read all.
    fn patterns(&self, namespace: &str, connection: &str) -> Result<Option<&[String]>, Forbidden> {
        let Self::Closed(tenants) = self else { return Ok(None) };
        let own = tenants.get(namespace).map(|tenant| &tenant.connections);
        if let Some(patterns) = own.and_then(|own| own.get(connection)) {
            return Ok(Some(patterns));
        }
        let hint = own.and_then(|own| nearest(connection, own.keys().map(String::as_str)));
        let (namespace, connection) = (namespace.to_owned(), connection.to_owned());
        Err(Forbidden::Connection { namespace, connection, hint })
    }
}

/// Whether `name` fits `pattern`, in which `*` stands for any text, also none. Each byte of either is looked at a bounded
/// number of times, however many stars there are.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut rest) = name.strip_prefix(head) else { return false };
    let mut parts: Vec<&str> = tail.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        // The first place that fits leaves the most for what follows.
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name, fits) in [
            ("acme:*", "acme:tasks", true),
            ("acme:*", "acme:", true),
            ("acme:*", "acme", false),
            ("acme:*", "other:acme:tasks", false),
            ("*:tasks", "acme:tasks", true),
            ("*:tasks", "acme:tasks:low", false),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("a*bc", "abcbc", true),
            ("*", "anything", true),
            ("exact", "exact", true),
            ("exact", "exactly", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn stars_mean_what_they_mean_one_character_at_a_time(
            pattern in "[ab*]{0,8}(\\*\\*)?[ab]{0,4}",
            name in "[ab]{0,16}",
        ) {
            let (pattern_bytes, name_bytes) = (pattern.as_bytes(), name.as_bytes());
            let expected = matches_slowly(pattern_bytes, name_bytes);
            proptest::prop_assert_eq!(matches(&pattern, &name), expected, "{} {}", pattern, name);
        }
    }

    fn matches_slowly(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            ([b'*', others @ ..], _) => {
                matches_slowly(others, name) || !name.is_empty() && matches_slowly(pattern, &name[1..])
            }
            ([one, others @ ..], [other, rest @ ..]) => one == other && matches_slowly(others, rest),
            ([], [_, ..]) | ([_, ..], []) => false,
        }
    }

    #[test]
    fn many_stars_and_a_long_name_take_no_longer_than_reading_them() {
        let (pattern, name) = ("*a".repeat(30_000) + "b", "a".repeat(60_000));
        assert!(!matches(&pattern, &name));
        assert!(matches(&(pattern + "*"), &(name + "b")));
    }

    #[test]
    fn present_tenants_close_the_server_to_all_others() {
        let patterns = BTreeMap::from([("main".to_owned(), vec!["acme:*".to_owned()])]);
        let tenants = closed(Tenant { connections: patterns, ..Tenant::default() });
        assert_eq!(tenants.permit("acme", "main", &["acme:tasks", "acme:busy"]), Ok(()));
        let refused = |namespace, connection, queues: &[&str]| {
            tenants.permit(namespace, connection, queues).unwrap_err().to_string()
        };
        assert_eq!(refused("zeta", "main", &[]), "namespace `zeta` may not use the connection `main`");
        assert_eq!(refused("acme", "other", &[]), "namespace `acme` may not use the connection `other`");
        assert_eq!(
            refused("acme", "main", &["acme:tasks", "zeta:tasks"]),
            "namespace `acme` may not read `zeta:tasks` on the connection `main`"
        );
        assert_eq!(Tenants::Open.permit("zeta", "main", &["x"]), Ok(()));
    }

    #[test]
    fn a_closed_server_gives_no_limit_that_it_does_not_name() {
        let llm_limits = BTreeSet::from(["prod".to_owned()]);
        let tenants = closed(Tenant { llm_limits, ..Tenant::default() });
        assert_eq!(tenants.permit_limit("acme", "prod"), Ok(()));
        for (namespace, limit) in [("acme", "other"), ("zeta", "prod")] {
            assert_eq!(
                tenants.permit_limit(namespace, limit).unwrap_err().to_string(),
                format!("namespace `{namespace}` may not use the LLM limit `{limit}`")
            );
        }
        assert_eq!(Tenants::Open.permit_limit("zeta", "prod"), Ok(()));
    }

    #[test]
    fn a_closed_server_takes_promql_only_from_those_that_may_write_it() {
        for (promql, may) in
            [(true, Ok(())), (false, Err(Forbidden::PromQl { namespace: "acme".to_owned() }))]
        {
            let tenants = closed(Tenant { promql, ..Tenant::default() });
            assert_eq!(tenants.permit_promql("acme"), may);
            assert!(tenants.permit_promql("zeta").is_err());
        }
        assert_eq!(Tenants::Open.permit_promql("zeta"), Ok(()));
    }

    fn closed(acme: Tenant) -> Tenants {
        Tenants::Closed(BTreeMap::from([("acme".to_owned(), acme)]))
    }
}
