//! Who asks: keys by reference, or what the environment offers, and the role that these take.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::credential_fn::provide_credentials_fn;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::IdentityCache;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use tokio::time::timeout;

use super::bounded::bounded;
use super::endpoint::{Access, Keys, Role};
use super::fault::{Fault, shortened};
use crate::secret::Secret;

/// Longest time for a connection, and for one call: within four fifths of a tick of 5 s, so that a slow queue
/// costs its own reading and not those of the others.
const CONNECTED_WITHIN: Duration = Duration::from_secs(2);
const ANSWERED_WITHIN: Duration = Duration::from_secs(3);

/// Longest time in which credentials must be found. The metadata of an instance takes longer where there is none.
const FOUND_WITHIN: Duration = Duration::from_millis(3_500);

/// What the default chain tries, in its order.
const TRIED: &str = "the environment (AWS_ACCESS_KEY_ID), a profile, a web identity (AWS_WEB_IDENTITY_TOKEN_FILE), \
                     a container's endpoint (AWS_CONTAINER_CREDENTIALS_FULL_URI) and the instance's metadata";

/// A client that has shown who it is.
pub(super) struct Session {
    pub(super) client: Client,
    /// The account that it speaks for, where its credentials say so.
    pub(super) account: Option<String>,
}

/// Finds credentials, takes the role if there is one, and makes a client with them.
///
/// # Errors
/// When there are no credentials, or they are refused.
pub(super) async fn open(access: &Access) -> Result<Session, Fault> {
    let Access { region, url, keys, role, .. } = access;
    let config = load(region, keys.as_ref()).await;
    let base = config.credentials_provider().ok_or_else(|| Fault::Nobody(none_found()))?;
    let provider = match role {
        Some(role) => SharedCredentialsProvider::new(assume(role, &config, base).await),
        None => base,
    };
    let found = timeout(FOUND_WITHIN, provider.provide_credentials()).await;
    let credentials = found
        .map_err(|_| Fault::Nobody(format!("no credentials within {FOUND_WITHIN:?}: tried {TRIED}")))?
        .map_err(|error| match (fault(&error), keys) {
            (Fault::Nobody(text), None) => Fault::Nobody(format!("{text}{}", offered())),
            (fault, _) => fault,
        })?;
    let account = credentials.account_id().map(|account| account.as_str().to_owned());

    let mut settings = aws_sdk_sqs::config::Builder::from(&config);
    if keys.is_some() && role.is_none() {
        // Files are read for each call, so that a key which was rotated is used at once.
        settings = settings.identity_cache(IdentityCache::no_cache());
    }
    if let Some(url) = url {
        settings = settings.endpoint_url(url.as_str());
    }
    let settings = settings.credentials_provider(first(credentials, provider)).build();
    Ok(Session { client: Client::from_conf(settings), account })
}

/// The settings of all calls. Nothing is repeated: the next tick asks again, and each call costs money.
async fn load(region: &str, keys: Option<&Keys>) -> SdkConfig {
    // The SDK's own choice of a client is switched off with its features: without this line no call succeeds.
    let http = bounded(Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https());
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECTED_WITHIN)
        .operation_attempt_timeout(ANSWERED_WITHIN)
        .build();
    let loader = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .http_client(http)
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts);
    match keys {
        Some(keys) => {
            let keys = keys.clone();
            loader.credentials_provider(provide_credentials_fn(move || reveal(keys.clone()))).load().await
        }
        None => loader.load().await,
    }
}

async fn assume(role: &Role, config: &SdkConfig, base: SharedCredentialsProvider) -> AssumeRoleProvider {
    let mut builder = AssumeRoleProvider::builder(&role.arn).session_name("agent-scaler").configure(config);
    if let Some(id) = &role.external_id {
        builder = builder.external_id(id);
    }
    builder.build_from_provider(base).await
}

/// Reads the files of the keys anew, because any of them may have been rotated.
async fn reveal(keys: Keys) -> provider::Result {
    let read = move || {
        let Keys { id, secret, token } = &keys;
        let reveal = |secret: &Secret| secret.reveal().map_err(CredentialsError::invalid_configuration);
        let (id, secret, token) = (reveal(id)?, reveal(secret)?, token.as_ref().map(reveal).transpose()?);
        let token = token.map(|token| token.expose().to_owned());
        Ok(Credentials::new(id.expose(), secret.expose(), token, None, "connection"))
    };
    tokio::task::spawn_blocking(read).await.map_err(CredentialsError::unhandled)?
}

/// `provider`, whose first answer is known: STS need not be asked twice for it.
fn first(known: Credentials, provider: SharedCredentialsProvider) -> impl ProvideCredentials + 'static {
    let known = Arc::new(Mutex::new(Some(known)));
    provide_credentials_fn(move || {
        let known = known.lock().unwrap_or_else(PoisonError::into_inner).take();
        let provider = provider.clone();
        async move {
            match known {
                Some(known) => Ok(known),
                None => provider.provide_credentials().await,
            }
        }
    })
}

fn none_found() -> String {
    format!("no credentials: tried {TRIED}; or give the connection `accessKeyId` and `secretAccessKey`")
}

/// Where the environment says that credentials are: a file or an address that is wrong is not named by the SDK.
fn offered() -> String {
    let names = ["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI"];
    let name = names.iter().find(|name| std::env::var_os(name).is_some());
    name.map(|name| format!(" (the environment offers {name})")).unwrap_or_default()
}

/// Why there are no credentials.
pub(super) fn fault(error: &CredentialsError) -> Fault {
    Fault::Nobody(if matches!(error, CredentialsError::CredentialsNotLoaded(_)) {
        none_found()
    } else if matches!(error, CredentialsError::ProviderTimedOut(_)) {
        "whoever gives out the credentials does not answer".to_owned()
    } else {
        format!("the credentials cannot be had: {}", causes(error))
    })
}

/// The causes behind the first one, which says nothing. The SDK keeps credentials out of them.
fn causes(error: &CredentialsError) -> String {
    let mut causes: Vec<String> = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = shortened(&cause.to_string());
        // Some repeat their own cause.
        if !causes.iter().any(|said| said.contains(&text)) {
            causes.push(text);
        }
        next = cause.source();
    }
    let text = causes.join(": ");
    let hint = match &text {
        text if text.contains("auth token") || text.contains("AuthToken") => {
            " (hint: the token must not end with a newline)"
        }
        text if text.contains("AssumeRole") || text.contains("assume") => {
            " (hint: the role's trust policy must name this identity and the `externalId`)"
        }
        _ => "",
    };
    format!("{}{hint}", shortened(&text))
}
