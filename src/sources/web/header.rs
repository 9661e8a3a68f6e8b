//! Headers and parameters of every request, as a connection gives them.

use std::str::FromStr;

use reqwest::header::{AUTHORIZATION, HOST, HeaderName};

/// A header that we do not write ourselves.
pub(super) struct Header(pub(super) HeaderName);

impl FromStr for Header {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name: HeaderName = text.parse().map_err(|_| "not the name of a header")?;
        if name == AUTHORIZATION {
            return Err("there are keys for it: `bearerToken`, or `username` and `password`");
        }
        if name == HOST || name.as_str().starts_with("content-") || name == "transfer-encoding" {
            return Err("a header that belongs to HTTP itself");
        }
        Ok(Self(name))
    }
}

/// `name=value` pairs, separated by commas.
pub(super) struct Pairs(pub(super) Vec<(String, String)>);

impl FromStr for Pairs {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').ok_or("must be `name=value`, separated by commas")?;
            let (name, value) = (name.trim(), value.trim());
            if name.is_empty() { Err("an empty name") } else { Ok((name.to_owned(), value.to_owned())) }
        };
        text.split(',').map(pair).collect::<Result<_, _>>().map(Self)
    }
}
