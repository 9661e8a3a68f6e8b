//! Who we are to a Kafka cluster.

use std::str::FromStr;

use url::Url;

use crate::fields::{Fields, Key, Need};
use crate::secret::Secret;

pub(super) const MECHANISM: Key = Key {
    name: "mechanism",
    need: Need::Optional,
    unit: "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER",
    help: "how we say who we are (SASL); without it a certificate does, or nothing",
    example: "SCRAM-SHA-512",
};

pub(super) const USERNAME: Key = Key {
    name: "username",
    need: Need::Optional,
    unit: "name",
    help: "user of `PLAIN` and `SCRAM`; needs `password`",
    example: "scaler",
};

pub(super) const PASSWORD: Key = Key {
    name: "password",
    need: Need::Optional,
    unit: "secret",
    help: "reference to the password of `username`",
    example: "{ file: /secrets/kafka }",
};

pub(super) const TOKEN: Key = Key {
    name: "token",
    need: Need::Optional,
    unit: "secret",
    help: "reference to a token for `OAUTHBEARER`; a file is read anew before the token ends",
    example: "{ file: /var/run/secrets/tokens/kafka }",
};

pub(super) const TOKEN_ENDPOINT: Key = Key {
    name: "tokenEndpoint",
    need: Need::Optional,
    unit: "URL",
    help: "where tokens for `OAUTHBEARER` are had for `clientId` and `clientSecret`",
    example: "https://login.example.com/oauth2/token",
};

pub(super) const CLIENT_ID: Key = Key {
    name: "clientId",
    need: Need::Optional,
    unit: "name",
    help: "who asks at `tokenEndpoint`",
    example: "agent-scaler",
};

pub(super) const CLIENT_SECRET: Key = Key {
    name: "clientSecret",
    need: Need::Optional,
    unit: "secret",
    help: "reference to the secret of `clientId`",
    example: "{ file: /secrets/kafka-client }",
};

pub(super) const SCOPE: Key = Key {
    name: "scope",
    need: Need::Optional,
    unit: "names",
    help: "what is asked for at `tokenEndpoint`, separated by spaces",
    example: "kafka",
};

/// How we say who we are.
#[derive(Clone, Debug)]
pub(super) enum Login {
    /// With a password.
    Password {
        /// `PLAIN` or one of `SCRAM`'s.
        mechanism: &'static str,
        username: String,
        password: Secret,
    },
    /// With a token that somebody else keeps fresh.
    Token(Secret),
    /// With tokens that we get by ourselves.
    Tokens(TokenEndpoint),
}

/// Where tokens are had.
#[derive(Clone, Debug)]
pub(super) struct TokenEndpoint {
    pub(super) url: Url,
    pub(super) client_id: String,
    pub(super) client_secret: Secret,
    pub(super) scope: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mechanism {
    /// By its name.
    Password(&'static str),
    Token,
}

/// Parses the keys that say who we are: `None` within if there are none.
pub(super) fn parse(fields: &mut Fields<'_>) -> Option<Option<Login>> {
    let mechanism = fields.optional(&MECHANISM);
    let username = fields.optional(&USERNAME);
    let password = fields.optional_secret(&PASSWORD);
    let token = fields.optional_secret(&TOKEN);
    let url: Option<Option<String>> = fields.optional(&TOKEN_ENDPOINT);
    let client_id = fields.optional(&CLIENT_ID);
    let client_secret = fields.optional_secret(&CLIENT_SECRET);
    let scope = fields.optional(&SCOPE);
    let url = match url? {
        Some(text) => Some(parse_url(&text, fields)?),
        None => None,
    };
    let parts = Parts {
        username: username?,
        password: password?,
        token: token?,
        url,
        client_id: client_id?,
        client_secret: client_secret?,
        scope: scope?,
    };
    match mechanism? {
        None => parts.none(fields),
        Some(Mechanism::Password(mechanism)) => parts.password(mechanism, fields),
        Some(Mechanism::Token) => parts.token(fields),
    }
}

/// What was given beside the mechanism.
struct Parts {
    username: Option<String>,
    password: Option<Secret>,
    token: Option<Secret>,
    url: Option<Url>,
    client_id: Option<String>,
    client_secret: Option<Secret>,
    scope: Option<String>,
}

impl Parts {
    /// Keeps a problem with each of `keys` that was given, and says whether there is none.
    fn refuses(keys: &[&Key], message: &str, fields: &mut Fields<'_>) -> bool {
        let given: Vec<&&Key> = keys.iter().filter(|key| fields.has(key)).collect();
        given.iter().for_each(|key| fields.problem(key, message));
        given.is_empty()
    }

    fn none(self, fields: &mut Fields<'_>) -> Option<Option<Login>> {
        let keys = [&USERNAME, &PASSWORD, &TOKEN, &TOKEN_ENDPOINT, &CLIENT_ID, &CLIENT_SECRET, &SCOPE];
        Self::refuses(&keys, "needs `mechanism`", fields).then_some(None)
    }

    fn password(self, mechanism: &'static str, fields: &mut Fields<'_>) -> Option<Option<Login>> {
        let others = [&TOKEN, &TOKEN_ENDPOINT, &CLIENT_ID, &CLIENT_SECRET, &SCOPE];
        let fits = Self::refuses(&others, "needs `mechanism: OAUTHBEARER`", fields);
        if self.username.is_none() {
            fields.problem(&USERNAME, format!("is required with {mechanism}"));
        }
        if self.password.is_none() {
            fields.problem(&PASSWORD, format!("is required with {mechanism}"));
        }
        let (username, password) = (self.username?, self.password?);
        fits.then_some(Some(Login::Password { mechanism, username, password }))
    }

    fn token(self, fields: &mut Fields<'_>) -> Option<Option<Login>> {
        let others = [&USERNAME, &PASSWORD];
        let fits = Self::refuses(&others, "needs a `mechanism` with a password, not OAUTHBEARER", fields);
        if let Some(token) = self.token {
            let others = [&TOKEN_ENDPOINT, &CLIENT_ID, &CLIENT_SECRET, &SCOPE];
            let alone = Self::refuses(&others, "cannot stand beside `token`", fields);
            return (fits && alone).then_some(Some(Login::Token(token)));
        }
        let Some(url) = self.url else {
            fields.problem(&TOKEN, "is required with OAUTHBEARER, or else `tokenEndpoint`");
            return None;
        };
        if self.client_id.is_none() {
            fields.problem(&CLIENT_ID, "is required with `tokenEndpoint`");
        }
        if self.client_secret.is_none() {
            fields.problem(&CLIENT_SECRET, "is required with `tokenEndpoint`");
        }
        let (client_id, client_secret) = (self.client_id?, self.client_secret?);
        let endpoint = TokenEndpoint { url, client_id, client_secret, scope: self.scope };
        fits.then_some(Some(Login::Tokens(endpoint)))
    }
}

impl FromStr for Mechanism {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "PLAIN" => Ok(Self::Password("PLAIN")),
            "SCRAM-SHA-256" => Ok(Self::Password("SCRAM-SHA-256")),
            "SCRAM-SHA-512" => Ok(Self::Password("SCRAM-SHA-512")),
            "OAUTHBEARER" => Ok(Self::Token),
            _ => Err("must be PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER"),
        }
    }
}

/// A URL that can be asked. The text may hold a password, so no problem repeats it.
fn parse_url(text: &str, fields: &mut Fields<'_>) -> Option<Url> {
    let fault = match Url::parse(text) {
        Err(_) => "is not a URL",
        Ok(url) if !["http", "https"].contains(&url.scheme()) => "must begin with `https://` or `http://`",
        Ok(url) if !url.username().is_empty() || url.password().is_some() => "holds credentials",
        Ok(url) => return Some(url),
    };
    fields.problem(&TOKEN_ENDPOINT, fault);
    None
}

#[cfg(test)]
mod tests;
