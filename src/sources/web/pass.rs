//! What shows who we are, for as long as one batch takes.

use std::error::Error;

use reqwest::RequestBuilder;
use reqwest::header::{HeaderName, HeaderValue};

use super::endpoint::{Access, WebEndpoint};
use crate::secret::{Revealed, Secret};

/// Credentials, as their files held them when a batch began.
#[derive(Debug)]
pub(super) struct Pass {
    access: Shown,
    custom: Option<(HeaderName, HeaderValue)>,
}

#[derive(Debug)]
enum Shown {
    Nothing,
    Basic { username: String, password: Revealed },
    Bearer(Revealed),
}

impl Pass {
    /// Reads every file anew, because any of them may have been rotated. Blocks.
    ///
    /// # Errors
    /// Why a credential cannot be used, without repeating it.
    pub(super) fn read(endpoint: &WebEndpoint) -> Result<Self, String> {
        let access = match &endpoint.access {
            Access::Anonymous => Shown::Nothing,
            Access::Basic { username, password } => {
                Shown::Basic { username: username.clone(), password: reveal(password)? }
            }
            Access::Bearer(token) => Shown::Bearer(reveal(token)?),
        };
        let mut custom = None;
        if let Some((name, secret)) = &endpoint.custom {
            let revealed = reveal(secret)?;
            let mut value = HeaderValue::from_str(revealed.expose())
                .map_err(|_| "the secret of `customAuthValue` cannot be the value of a header".to_owned())?;
            value.set_sensitive(true);
            custom = Some((name.clone(), value));
        }
        if let Shown::Bearer(token) = &access
            && HeaderValue::from_str(token.expose()).is_err()
        {
            return Err("the secret of `bearerToken` cannot be the value of a header".to_owned());
        }
        Ok(Self { access, custom })
    }

    /// Shows it with a request.
    pub(super) fn show(&self, request: RequestBuilder) -> RequestBuilder {
        let request = match &self.access {
            Shown::Nothing => request,
            Shown::Basic { username, password } => request.basic_auth(username, Some(password.expose())),
            Shown::Bearer(token) => request.bearer_auth(token.expose()),
        };
        match &self.custom {
            Some((name, value)) => request.header(name, value),
            None => request,
        }
    }

    /// Whether there is anything to show.
    pub(super) const fn is_empty(&self) -> bool {
        matches!(self.access, Shown::Nothing) && self.custom.is_none()
    }
}

fn reveal(secret: &Secret) -> Result<Revealed, String> {
    secret.reveal().map_err(|error| {
        let cause = error.source().map(|cause| format!(": {cause}"));
        format!("{error}{}", cause.unwrap_or_default())
    })
}
