//! The address of an HTTP backend, and how to get in.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::header::{Header, Pairs};
use super::reserved;
use crate::fields::{Fields, Key, Need};
use crate::secret::Secret;
use crate::sources::tls_files::{CERTIFICATE, KEY, TlsFiles};

/// The keys of a connection.
pub(in crate::sources) const KEYS: &[Key] = &[
    URL,
    USERNAME,
    PASSWORD,
    BEARER_TOKEN,
    CUSTOM_AUTH_HEADER,
    CUSTOM_AUTH_VALUE,
    CUSTOM_HEADERS,
    QUERY_PARAMETERS,
    CA,
    CERTIFICATE,
    KEY,
];

const URL: Key = Key {
    name: "url",
    need: Need::Required,
    unit: "URL",
    help: "address of the server: `http` or `https`, host, port, and the path that all requests begin with",
    example: "http://prometheus.monitoring.svc:9090",
};

const USERNAME: Key = Key {
    name: "username",
    need: Need::Optional,
    unit: "name",
    help: "user for basic authentication; needs `password`",
    example: "scaler",
};

const PASSWORD: Key = Key {
    name: "password",
    need: Need::Optional,
    unit: "secret",
    help: "reference to the password of `username`",
    example: "{ file: /secrets/password }",
};

const BEARER_TOKEN: Key = Key {
    name: "bearerToken",
    need: Need::Optional,
    unit: "secret",
    help: "reference to a bearer token; a file is read anew each time, so a rotated token is used at once",
    example: "{ file: /var/run/secrets/kubernetes.io/serviceaccount/token }",
};

const CUSTOM_AUTH_HEADER: Key = Key {
    name: "customAuthHeader",
    need: Need::Optional,
    unit: "name",
    help: "header that carries `customAuthValue`",
    example: "X-API-Key",
};

const CUSTOM_AUTH_VALUE: Key = Key {
    name: "customAuthValue",
    need: Need::Optional,
    unit: "secret",
    help: "reference to the value of `customAuthHeader`",
    example: "{ file: /secrets/api-key }",
};

const CUSTOM_HEADERS: Key = Key {
    name: "customHeaders",
    need: Need::Optional,
    unit: "name=value,…",
    help: "further headers, which hold no secrets",
    example: "X-Scope-OrgID=acme",
};

const QUERY_PARAMETERS: Key = Key {
    name: "queryParameters",
    need: Need::Optional,
    unit: "name=value,…",
    help: "parameters of every request, e.g. the namespace that a multi-tenant proxy wants",
    example: "namespace=acme",
};

const CA: Key = Key {
    name: "ca",
    need: Need::Optional,
    unit: "path",
    help: "PEM file of the authority that signed the server's certificate; without it the system's",
    example: "/tls/ca.crt",
};

/// One HTTP server, and what it takes to be let in.
#[derive(Clone, Debug)]
pub(in crate::sources) struct WebEndpoint {
    /// Scheme, host, port and the path that all requests begin with.
    pub(super) base: Url,
    pub(super) access: Access,
    /// The header of `customAuthValue`.
    pub(super) custom: Option<(HeaderName, Secret)>,
    pub(super) headers: HeaderMap,
    pub(super) parameters: Vec<(String, String)>,
    pub(super) tls: TlsFiles,
}

/// Who we are to the server.
#[derive(Clone, Debug)]
pub(super) enum Access {
    /// Nobody in particular.
    Anonymous,
    /// A user with a password.
    Basic { username: String, password: Secret },
    /// Who holds the token.
    Bearer(Secret),
}

impl WebEndpoint {
    /// Its address, without credentials.
    pub(in crate::sources) fn address(&self) -> String {
        self.base.as_str().trim_end_matches('/').to_owned()
    }

    /// Why a request with this query is not made: it would set a parameter of the connection.
    pub(in crate::sources) fn refuses(&self, query: &str) -> Option<String> {
        let name = reserved::taken(&self.parameters, query)?;
        Some(format!("sets the parameter `{name}` itself: leave it out of the path's query"))
    }

    /// Whether the connection is encrypted.
    pub(super) fn is_encrypted(&self) -> bool {
        self.base.scheme() == "https"
    }
}

/// Parses the keys of a connection.
pub(in crate::sources) fn parse(fields: &mut Fields<'_>) -> Option<WebEndpoint> {
    let base = fields.read::<String>(&URL).and_then(|text| parse_url(&text, fields));
    let access = parse_access(fields);
    let custom = parse_custom(fields);
    let headers = fields.optional::<Pairs>(&CUSTOM_HEADERS).and_then(|pairs| headers(pairs, fields));
    let parameters = fields.optional::<Pairs>(&QUERY_PARAMETERS);
    let tls = parse_tls(base.as_ref(), fields);
    let parameters = parameters?.map(|Pairs(pairs)| pairs).unwrap_or_default();
    Some(WebEndpoint {
        base: base?,
        access: access?,
        custom: custom?,
        headers: headers?,
        parameters,
        tls: tls?,
    })
}

/// The text may hold a password, so no problem repeats it.
fn parse_url(text: &str, fields: &mut Fields<'_>) -> Option<Url> {
    let Ok(mut url) = Url::parse(text) else {
        fields.problem(&URL, "is not a URL");
        return None;
    };
    if !url.username().is_empty() || url.password().is_some() {
        let hint = "give `username`, and `password` as a reference".to_owned();
        fields.problem_at(URL.name, "holds credentials", Some(hint));
        return None;
    }
    if !matches!(url.scheme(), "http" | "https") {
        fields.problem(&URL, "must begin with `http://` or `https://`");
        return None;
    }
    if url.query().is_some() || url.fragment().is_some() {
        fields.problem(&URL, "takes no parameters: there is a key for them");
        return None;
    }
    // What is asked for is put behind it.
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Some(url)
}

fn parse_access(fields: &mut Fields<'_>) -> Option<Access> {
    let username: Option<Option<String>> = fields.optional(&USERNAME);
    let password = fields.optional_secret(&PASSWORD);
    let token = fields.optional_secret(&BEARER_TOKEN);
    match (username?, password?, token?) {
        (None, None, None) => Some(Access::Anonymous),
        (Some(username), Some(password), None) => Some(Access::Basic { username, password }),
        (None, None, Some(token)) => Some(Access::Bearer(token)),
        (Some(_), None, _) => {
            fields.problem(&USERNAME, "needs `password`");
            None
        }
        (None, Some(_), _) => {
            fields.problem(&PASSWORD, "needs `username`");
            None
        }
        (Some(_), Some(_), Some(_)) => {
            fields.problem(&BEARER_TOKEN, "excludes `username` and `password`");
            None
        }
    }
}

fn parse_custom(fields: &mut Fields<'_>) -> Option<Option<(HeaderName, Secret)>> {
    let name: Option<Option<Header>> = fields.optional(&CUSTOM_AUTH_HEADER);
    let value = fields.optional_secret(&CUSTOM_AUTH_VALUE);
    match (name?, value?) {
        (None, None) => Some(None),
        (Some(Header(name)), Some(value)) => Some(Some((name, value))),
        (Some(_), None) => {
            fields.problem(&CUSTOM_AUTH_HEADER, "needs `customAuthValue`");
            None
        }
        (None, Some(_)) => {
            fields.problem(&CUSTOM_AUTH_VALUE, "needs `customAuthHeader`");
            None
        }
    }
}

fn headers(pairs: Option<Pairs>, fields: &mut Fields<'_>) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs.into_iter().flat_map(|Pairs(pairs)| pairs) {
        let (Ok(Header(name)), Ok(value)) = (name.parse(), HeaderValue::from_str(&value)) else {
            fields.problem(&CUSTOM_HEADERS, format!("`{name}` cannot be a header here"));
            return None;
        };
        headers.append(name, value);
    }
    Some(headers)
}

fn parse_tls(base: Option<&Url>, fields: &mut Fields<'_>) -> Option<TlsFiles> {
    let files = TlsFiles::parse(&CA, fields)?;
    let in_the_clear = base.is_some_and(|base| base.scheme() == "http");
    if in_the_clear && !files.is_empty() {
        fields.problem(&URL, "must begin with `https://` where `ca` or `certificate` is given");
        return None;
    }
    Some(files)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::fields::Value;

    #[test]
    fn an_address_has_its_path_and_no_credentials() {
        for (url, address) in [
            ("http://prometheus:9090", "http://prometheus:9090"),
            ("http://prometheus:9090/", "http://prometheus:9090"),
            ("https://mimir.example/prometheus/", "https://mimir.example/prometheus"),
            ("http://[::1]:9090", "http://[::1]:9090"),
        ] {
            assert_eq!(parsed(&[("url", text(url))]).map(|found| found.address()), Ok(address.to_owned()));
        }
    }

    #[test]
    fn what_cannot_be_right_is_refused_without_repeating_it() {
        let url = ("url", text("http://prometheus"));
        for (values, problem) in [
            (vec![("url", text("prometheus:9090"))], "url: must begin with `http://` or `https://`"),
            (vec![("url", text("hunter2"))], "url: is not a URL"),
            (vec![("url", text("http://me:hunter2@prometheus"))], "url: holds credentials"),
            (
                vec![("url", text("http://prometheus?token=hunter2"))],
                "url: takes no parameters: there is a key for them",
            ),
            (vec![url.clone(), ("username", text("me"))], "username: needs `password`"),
            (vec![url.clone(), ("password", secret())], "password: needs `username`"),
            (
                vec![
                    url.clone(),
                    ("username", text("me")),
                    ("password", secret()),
                    ("bearerToken", secret()),
                ],
                "bearerToken: excludes `username` and `password`",
            ),
            (
                vec![url.clone(), ("bearerToken", text("hunter2"))],
                "bearerToken: must be a reference: the configuration is no place for a secret",
            ),
            (
                vec![url.clone(), ("customAuthHeader", text("X-Key"))],
                "customAuthHeader: needs `customAuthValue`",
            ),
            (vec![url.clone(), ("customAuthValue", secret())], "customAuthValue: needs `customAuthHeader`"),
            (
                vec![url.clone(), ("customHeaders", text("Authorization=hunter2"))],
                "customHeaders: `Authorization` cannot be a header here",
            ),
            (
                vec![url.clone(), ("queryParameters", text("namespace"))],
                "queryParameters: `namespace`: must be `name=value`, separated by commas",
            ),
            (
                vec![url, ("ca", text("/ca"))],
                "url: must begin with `https://` where `ca` or `certificate` is given",
            ),
            (
                vec![("url", text("https://prometheus")), ("certificate", text("/c"))],
                "certificate: needs `key`",
            ),
        ] {
            assert_eq!(parsed(&values).map(|found| found.address()), Err(vec![problem.to_owned()]));
        }
    }

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    fn secret() -> Value {
        Value::Secret(Secret::File("/secrets/one".into()))
    }

    /// The endpoint, or every problem without its hint.
    fn parsed(values: &[(&str, Value)]) -> Result<WebEndpoint, Vec<String>> {
        let values: BTreeMap<String, Value> =
            values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let mut fields = Fields::new("x", &values);
        let endpoint = parse(&mut fields);
        let problems = fields.finish();
        assert!(problems.iter().all(|problem| !problem.to_string().contains("hunter2")), "{problems:?}");
        let texts: Vec<String> =
            problems.iter().map(|problem| format!("{}: {}", &problem.path[2..], problem.message)).collect();
        assert_eq!(endpoint.is_some(), texts.is_empty());
        endpoint.ok_or(texts)
    }
}
