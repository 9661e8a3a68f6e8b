//! Who we are to Redis, and whom we trust: the keys that every kind of connection has.

use crate::fields::{Fields, Key, Need};
use crate::secret::Secret;
use crate::sources::tls_files::TlsFiles;

pub(super) const USERNAME: Key = Key {
    name: "username",
    need: Need::Optional,
    unit: "name",
    help: "user of Redis's ACL; without it the password is the default user's",
    example: "scaler",
};

pub(super) const PASSWORD: Key = Key {
    name: "password",
    need: Need::Optional,
    unit: "secret",
    help: "reference to the password",
    example: "{ file: /secrets/redis }",
};

pub(super) const CA: Key = Key {
    name: "ca",
    need: Need::Optional,
    unit: "path",
    help: "PEM file of the authority that signed the server's certificate; without it the public ones",
    example: "/tls/ca.crt",
};

/// What it takes to be let in.
#[derive(Clone, Debug)]
pub(super) struct Access {
    pub(super) login: Option<Login>,
    /// `None` for a connection in the clear.
    pub(super) tls: Option<TlsFiles>,
}

impl Access {
    /// The beginning of every address.
    pub(super) const fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "rediss" } else { "redis" }
    }
}

/// Who we are to Redis.
#[derive(Clone, Debug)]
pub(super) struct Login {
    pub(super) username: Option<String>,
    pub(super) password: Secret,
}

/// Reads the keys; `encrypted` is what the addresses at key `urls` say of TLS, if they are good.
pub(super) fn parse(encrypted: Option<bool>, urls: &'static Key, fields: &mut Fields<'_>) -> Option<Access> {
    let login = parse_login(&USERNAME, &PASSWORD, fields);
    let files = parse_tls(encrypted, urls, fields);
    let (login, files) = (login?, files?);
    Some(Access { login, tls: encrypted?.then_some(files) })
}

/// A username and a password, which belong together.
pub(super) fn parse_login(
    username_key: &'static Key,
    password_key: &'static Key,
    fields: &mut Fields<'_>,
) -> Option<Option<Login>> {
    let username = fields.optional(username_key);
    let password = fields.secret(password_key);
    let password_is_bad = password.is_none() && fields.has(password_key);
    match (username?, password) {
        (username, Some(password)) => Some(Some(Login { username, password })),
        (_, None) if password_is_bad => None,
        (None, None) => Some(None),
        (Some(_), None) => {
            fields.problem(username_key, format!("needs `{}`", password_key.name));
            None
        }
    }
}

fn parse_tls(encrypted: Option<bool>, urls: &'static Key, fields: &mut Fields<'_>) -> Option<TlsFiles> {
    let files = TlsFiles::parse(&CA, fields)?;
    if encrypted == Some(false) && !files.is_empty() {
        fields.problem(urls, "must begin with `rediss://` where `ca` or `certificate` is given");
        return None;
    }
    Some(files)
}
