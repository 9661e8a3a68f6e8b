//! `tls`: how KEDA and we prove ourselves.

use std::path::PathBuf;

use serde_json::{Map, Value as Node};

use crate::config::yaml::Walk;
use crate::fields::{Fields, Key, Need};

/// Certificates, read again whenever they change on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Our certificate and what leads to its CA, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// CA of KEDA's certificate, PEM; `None` asks KEDA for none.
    pub client_ca: Option<PathBuf>,
}

const MODE: Key = Key {
    name: "mode",
    need: Need::Default("off"),
    unit: "off | server | mutual",
    help: "who proves itself: nobody, the server, or KEDA too",
    example: "mutual",
};
const CERTIFICATE: Key = Key {
    name: "certificate",
    need: Need::Optional,
    unit: "path",
    help: "PEM file of the server's certificate, which names the host in `scalerAddress`",
    example: "/tls/tls.crt",
};
const KEY: Key = Key {
    name: "key",
    need: Need::Optional,
    unit: "path",
    help: "PEM file of its key",
    example: "/tls/tls.key",
};
const CLIENT_CA: Key = Key {
    name: "clientCa",
    need: Need::Optional,
    unit: "path",
    help: "PEM file of the CA that signed KEDA's certificate",
    example: "/tls/ca.crt",
};

/// The keys under `tls`.
pub const TLS_KEYS: &[Key] = &[MODE, CERTIFICATE, KEY, CLIENT_CA];

pub(super) fn tls(walk: &mut Walk, map: Map<String, Node>) -> Option<TlsFiles> {
    let values = walk.values(map, "tls");
    let mut fields = Fields::new("tls", &values);
    let mode: Option<String> = fields.read(&MODE);
    let certificate: Option<PathBuf> = fields.read(&CERTIFICATE);
    let key: Option<PathBuf> = fields.read(&KEY);
    let client_ca: Option<PathBuf> = fields.read(&CLIENT_CA);
    fields.refuse_unknown(&[], &[]);
    let needed: &[(&Key, bool)] = match mode.as_deref() {
        // YAML 1.1 reads a bare `off` as false.
        Some("off" | "false") | None => &[],
        Some("server") => &[(&CERTIFICATE, certificate.is_none()), (&KEY, key.is_none())],
        Some("mutual") => {
            &[(&CERTIFICATE, certificate.is_none()), (&KEY, key.is_none()), (&CLIENT_CA, client_ca.is_none())]
        }
        Some(other) => {
            fields.problem(&MODE, format!("`{other}` is none of off, server, mutual"));
            &[]
        }
    };
    for (key, missing) in needed {
        if *missing {
            fields.problem(key, "is required in this mode");
        }
    }
    walk.problems.extend(fields.finish());
    match mode.as_deref() {
        Some("server") => Some(TlsFiles { certificate: certificate?, key: key?, client_ca: None }),
        Some("mutual") => {
            Some(TlsFiles { certificate: certificate?, key: key?, client_ca: Some(client_ca?) })
        }
        Some(_) | None => None,
    }
}
