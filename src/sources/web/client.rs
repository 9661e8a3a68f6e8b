//! Requests to one HTTP server: no redirects, no proxies of the environment, and answers of a bounded size.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::redirect::Policy;
use reqwest::{Certificate, Identity, Response, StatusCode};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use url::Url;

use super::endpoint::WebEndpoint;
use super::fault;
use super::pass::Pass;
use crate::sources::ReadError;
use crate::sources::tls_files::{self, TlsFiles};
use crate::timestamp::Timestamp;

/// Most bytes of an answer that is read beside any number of others. A larger one needs a place.
const SMALL: usize = 64 << 10;

/// Larger answers that a client holds at a time.
const LARGE_AT_A_TIME: usize = 8;

/// Most headers of an answer; all together they may take 400 KiB, by the limit of the HTTP client.
const MOST_HEADERS: usize = 100;

/// A client of one server. It keeps connections open between requests, and opens more where several are made at
/// a time.
pub(in crate::sources) struct WebClient {
    endpoint: WebEndpoint,
    http: reqwest::Client,
    pass: Pass,
    large: Arc<Semaphore>,
    /// Whether anything was answered since the batch began.
    answered: AtomicBool,
    /// Whether there was no way to the server since then.
    cut_off: AtomicBool,
}

/// What a server answered.
#[derive(Debug)]
pub(in crate::sources) struct Answer {
    /// Whether the request succeeded, in the server's opinion.
    pub(in crate::sources) status: StatusCode,
    /// The present, as the server has it; `None` if it does not say.
    pub(in crate::sources) now: Option<Timestamp>,
    /// What it sent.
    pub(in crate::sources) body: Vec<u8>,
    /// What it says that this is.
    kind: Option<&'static str>,
    /// Its place among large answers.
    _large: Option<OwnedSemaphorePermit>,
}

impl Answer {
    /// Length and kind of what was sent. Nothing of it is repeated: whoever reads an error may have been shown what only
    /// the connection may see.
    pub(in crate::sources) fn outline(&self) -> String {
        let kind = self.kind.map(|kind| format!(", {kind}")).unwrap_or_default();
        format!("{} bytes{kind}", fault::with_separators(self.body.len()))
    }
}

impl WebClient {
    /// Reads all files. Nothing is sent before the first request.
    ///
    /// # Errors
    /// When a file cannot be read or used.
    pub(in crate::sources) async fn open(endpoint: &WebEndpoint) -> Result<Self, ReadError> {
        let files = endpoint.clone();
        let opened = tokio::task::spawn_blocking(move || Ok((build(&files)?, Pass::read(&files)?))).await;
        let opened = opened.unwrap_or_else(|_| Err("the reading of its files was cut off".to_owned()));
        let unreachable = |message| ReadError::Unreachable { endpoint: endpoint.address(), message };
        let (http, pass) = opened.map_err(unreachable)?;
        let large = Arc::new(Semaphore::new(LARGE_AT_A_TIME));
        let (answered, cut_off) = (AtomicBool::new(false), AtomicBool::new(false));
        Ok(Self { endpoint: endpoint.clone(), http, pass, large, answered, cut_off })
    }

    /// Begins a batch: reads the credentials anew.
    ///
    /// # Errors
    /// When a file cannot be read or used.
    pub(in crate::sources) async fn begin(&mut self) -> Result<(), ReadError> {
        self.answered = AtomicBool::new(false);
        // Until the files have been read, nothing is known of the way.
        self.cut_off = AtomicBool::new(true);
        self.renew_pass().await?;
        self.cut_off = AtomicBool::new(false);
        Ok(())
    }

    /// Whether the batch showed no way to the server: files are to be read anew, and the server is to be left alone for a
    /// while. Where there is a way, each request has a connection of its own to lose.
    pub(in crate::sources) fn is_lost(&self) -> bool {
        self.cut_off.load(Ordering::Relaxed) && !self.answered.load(Ordering::Relaxed)
    }

    /// The error of a request that was not answered in time; `what` was asked for.
    pub(in crate::sources) fn late(&self, what: &str) -> ReadError {
        // A connection on which others are answered is not lost.
        if self.answered.load(Ordering::Relaxed) {
            return self.unexpected(format!("there was no answer in time {what}"));
        }
        ReadError::Deadline { endpoint: self.endpoint.address() }
    }

    async fn renew_pass(&mut self) -> Result<(), ReadError> {
        if self.pass.is_empty() {
            return Ok(());
        }
        let endpoint = self.endpoint.clone();
        let pass = tokio::task::spawn_blocking(move || Pass::read(&endpoint)).await;
        let pass = pass.unwrap_or_else(|_| Err("the reading of its files was cut off".to_owned()));
        self.pass = pass.map_err(|message| self.unreachable(message))?;
        Ok(())
    }

    /// Asks for what is at `path`, which begins with a slash, behind the connection's own; `parameters` come on top
    /// of the connection's. Of an answer at most so many bytes are read, as they come: no encoding is undone.
    ///
    /// # Errors
    /// When there is no answer, one that is too large, a redirect, or a refusal.
    pub(in crate::sources) async fn get(
        &self,
        path: &str,
        parameters: &[(&str, &str)],
        most_bytes: usize,
    ) -> Result<Answer, ReadError> {
        let url = self.url(path, parameters)?;
        let request = self.http.get(url).headers(self.endpoint.headers.clone());
        let response = self.pass.show(request).send().await;
        let response = response.map_err(|error| {
            self.cut_off.fetch_or(error.is_connect(), Ordering::Relaxed);
            self.unreachable(fault::of_request(&error))
        })?;
        self.answered.store(true, Ordering::Relaxed);
        let status = response.status();
        if status.is_redirection() {
            let message =
                format!("{status}: redirects are not followed; give the connection the address itself");
            return Err(self.unexpected(message));
        }
        if let Some(message) = refusal(status, self.pass.is_empty()) {
            return Err(ReadError::Denied { endpoint: self.endpoint.address(), message });
        }
        let now = response.headers().get(reqwest::header::DATE).and_then(|date| date.to_str().ok());
        let now = now.and_then(Timestamp::of_http_date);
        let kind = response.headers().get(reqwest::header::CONTENT_TYPE).and_then(fault::kind);
        let (body, large) = self.read(response, most_bytes).await?;
        Ok(Answer { status, now, body, kind, _large: large })
    }

    /// An answer that makes no sense, or says what is wrong.
    pub(in crate::sources) fn unexpected(&self, message: impl Into<String>) -> ReadError {
        ReadError::Unexpected { endpoint: self.endpoint.address(), message: message.into() }
    }

    fn url(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Url, ReadError> {
        let address = self.endpoint.address();
        // The base has no slash at its end, unless there is nothing before it.
        let url = Url::parse(&format!("{address}{path}"));
        let mut url = url.map_err(|_| self.unexpected(format!("`{path}` is no path")))?;
        // No path may lead to another server, or out of the part of this one that was meant.
        let inside = url.origin() == self.endpoint.base.origin()
            && url.path().starts_with(self.endpoint.base.path().trim_end_matches('/'));
        if !inside {
            return Err(self.unexpected(format!("`{path}` leads out of the connection's address")));
        }
        if let Some(message) = url.query().and_then(|query| self.endpoint.refuses(query)) {
            return Err(ReadError::Denied { endpoint: address, message });
        }
        let own = self.endpoint.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let all: Vec<(&str, &str)> = own.chain(parameters.iter().copied()).collect();
        if !all.is_empty() {
            url.query_pairs_mut().extend_pairs(all);
        }
        Ok(url)
    }

    /// The body, as far as it may go, and its place if it is large.
    async fn read(
        &self,
        mut response: Response,
        most_bytes: usize,
    ) -> Result<(Vec<u8>, Option<OwnedSemaphorePermit>), ReadError> {
        let too_large = || {
            self.unexpected(format!("the answer is larger than {} KiB, and was not read", most_bytes >> 10))
        };
        if response.content_length().is_some_and(|length| length > most_bytes as u64) {
            return Err(too_large());
        }
        let (mut body, mut large) = (Vec::new(), None);
        while let Some(chunk) =
            response.chunk().await.map_err(|error| self.unreachable(fault::of_request(&error)))?
        {
            if body.len() + chunk.len() > most_bytes {
                return Err(too_large());
            }
            if body.len() + chunk.len() > SMALL && large.is_none() {
                // Nobody closes it.
                large = Arc::clone(&self.large).acquire_owned().await.ok();
            }
            body.extend_from_slice(&chunk);
        }
        Ok((body, large))
    }

    fn unreachable(&self, message: String) -> ReadError {
        ReadError::Unreachable { endpoint: self.endpoint.address(), message }
    }
}

/// What to do about a refusal; `None` for another status.
fn refusal(status: StatusCode, anonymous: bool) -> Option<String> {
    let what_to_do = match (status, anonymous) {
        (StatusCode::UNAUTHORIZED, true) => {
            "it wants credentials: give the connection `bearerToken`, `username` and `password`, or `customAuthHeader`"
        }
        (StatusCode::UNAUTHORIZED, false) => "it does not take the credentials of the connection",
        (StatusCode::FORBIDDEN, true) => "it lets nobody in without credentials, or nobody from here",
        (StatusCode::FORBIDDEN, false) => "the credentials of the connection lack the right to read this",
        _ => return None,
    };
    Some(format!("{}: {what_to_do}", status.as_u16()))
}

/// A client with the connection's own trust. Blocks: it reads files.
fn build(endpoint: &WebEndpoint) -> Result<reqwest::Client, String> {
    let builder = reqwest::Client::builder()
        .redirect(Policy::none())
        // Who holds credentials goes where it was told to go, whatever the environment says.
        .no_proxy()
        .http1_only()
        .http1_max_headers(MOST_HEADERS)
        .user_agent(concat!("agent-scaler/", env!("CARGO_PKG_VERSION")));
    let builder = if endpoint.is_encrypted() {
        encrypted(builder, &endpoint.tls)?
    } else {
        // Without this the system's authorities are looked for, which an image need not have.
        builder.tls_backend_preconfigured(trusts_nobody()?)
    };
    builder.build().map_err(|error| {
        format!("no client can be made: {}; `ca` names the authority to trust", fault::of_request(&error))
    })
}

fn encrypted(builder: reqwest::ClientBuilder, files: &TlsFiles) -> Result<reqwest::ClientBuilder, String> {
    // Reqwest takes the process's provider, and whoever chose one before has chosen the same.
    drop(rustls::crypto::ring::default_provider().install_default());
    let TlsFiles { ca, identity } = files;
    let mut builder = builder;
    if let Some(path) = ca {
        let content = read(path)?;
        let mut certificates = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(&content) {
            let certificate = certificate.ok().and_then(|der| Certificate::from_der(&der).ok());
            certificates.push(certificate.ok_or_else(|| no_certificates(path))?);
        }
        if certificates.is_empty() {
            return Err(no_certificates(path));
        }
        builder = builder.tls_certs_only(certificates);
    }
    if let Some(tls_files::Identity { certificate, key }) = identity {
        let (mut pem, key_pem) = (read(certificate)?, read(key)?);
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        if chain.is_ok_and(|chain| chain.is_empty()) {
            return Err(no_certificates(certificate));
        }
        // No error is repeated: it may quote the key.
        let no_key = || format!("{} holds no private key in PEM", key.display());
        PrivateKeyDer::from_pem_slice(&key_pem).map_err(|_| no_key())?;
        pem.push(b'\n');
        pem.extend_from_slice(&key_pem);
        builder = builder.identity(Identity::from_pem(&pem).map_err(|_| no_key())?);
    }
    Ok(builder)
}

/// The configuration of connections that are never encrypted.
fn trusts_nobody() -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    Ok(config)
}

fn no_certificates(path: &std::path::Path) -> String {
    format!("{} holds no certificates in PEM", path.display())
}

fn read(path: &std::path::Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}
