//! The PEM files of an encrypted connection. Every kind of connection names them by the same keys.

use std::path::PathBuf;

use crate::fields::{Fields, Key, Need};

/// Our certificate.
pub(in crate::sources) const CERTIFICATE: Key = Key {
    name: "certificate",
    need: Need::Optional,
    unit: "path",
    help: "PEM file of our certificate, for servers that want one; needs `key`",
    example: "/tls/tls.crt",
};

/// Its private key.
pub(in crate::sources) const KEY: Key = Key {
    name: "key",
    need: Need::Optional,
    unit: "path",
    help: "PEM file of the private key of `certificate`",
    example: "/tls/tls.key",
};

/// The files that were named; they are read when a connection is opened.
#[derive(Clone, Debug, Default)]
pub(in crate::sources) struct TlsFiles {
    /// The authority that signed the server's certificate; `None` for those that are trusted anyway.
    pub(in crate::sources) ca: Option<PathBuf>,
    pub(in crate::sources) identity: Option<Identity>,
}

/// A client certificate and its key.
#[derive(Clone, Debug)]
pub(in crate::sources) struct Identity {
    pub(in crate::sources) certificate: PathBuf,
    pub(in crate::sources) key: PathBuf,
}

impl TlsFiles {
    /// Reads the keys, of which `ca` is the connection's own; `None` if `fields` kept a problem.
    pub(in crate::sources) fn parse(ca: &'static Key, fields: &mut Fields<'_>) -> Option<Self> {
        let ca = fields.optional(ca);
        let certificate = fields.optional(&CERTIFICATE);
        let key = fields.optional(&KEY);
        let ca = ca?;
        match (certificate?, key?) {
            (Some(certificate), Some(key)) => {
                Some(Self { ca, identity: Some(Identity { certificate, key }) })
            }
            (None, None) => Some(Self { ca, identity: None }),
            (Some(_), None) => {
                fields.problem(&CERTIFICATE, "needs `key`");
                None
            }
            (None, Some(_)) => {
                fields.problem(&KEY, "needs `certificate`");
                None
            }
        }
    }

    /// Whether none is named, so that the connection may as well be in the clear.
    pub(in crate::sources) const fn is_empty(&self) -> bool {
        self.ca.is_none() && self.identity.is_none()
    }
}
