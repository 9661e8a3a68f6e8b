//! When certificates expire, and a warning in time.

use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::telemetry::metrics::Metrics;
use crate::timestamp::Timestamp;

/// How long before its end a certificate is warned of, if a fifth of its life is not shorter. What renews
/// certificates does so when a third is left.
const WARN_BEFORE: Duration = Duration::from_secs(7 * 24 * 3600);

/// How often the warning is repeated.
const WARN_EVERY: Duration = Duration::from_secs(24 * 3600);

/// The certificates in use, and when their end was last warned of.
pub(super) struct Expiry {
    /// The first of the server's chain to expire.
    server: Option<Validity>,
    /// The last of the CA's file to expire: an old one may stand beside the new one.
    client_ca: Option<Validity>,
    warned: Option<Timestamp>,
}

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Validity {
    from: Timestamp,
    until: Timestamp,
}

impl Expiry {
    /// Reads when the certificates of the files expire. A certificate that cannot be read has no end to tell of.
    pub(super) fn of(server: &[u8], client_ca: Option<&[u8]>) -> Self {
        Self {
            server: validities(server).into_iter().min_by_key(|validity| validity.until),
            client_ca: client_ca
                .and_then(|pem| validities(pem).into_iter().max_by_key(|validity| validity.until)),
            warned: None,
        }
    }

    /// Puts the ends into the metrics and, at first and once a day, those that are near into the log.
    pub(super) fn tell(&mut self, metrics: &Metrics, now: Timestamp) {
        let due = self.warned.is_none_or(|warned| now.since(warned) >= WARN_EVERY);
        for (certificate, validity) in [("server", self.server), ("client_ca", self.client_ca)] {
            let Some(validity) = validity else { continue };
            metrics.certificate_expires(certificate, validity.until);
            match validity.warning(now) {
                Some(text) if due => {
                    tracing::warn!(certificate, expires = %validity.until, "{text}");
                    self.warned = Some(now);
                }
                Some(_) | None => {}
            }
        }
    }
}

impl Validity {
    fn warning(self, now: Timestamp) -> Option<&'static str> {
        let before = WARN_BEFORE.min(self.until.since(self.from) / 5);
        if now >= self.until {
            Some("A certificate has expired; connections that rely on it fail.")
        } else if self.until.since(now) < before {
            Some("A certificate expires soon and was not renewed.")
        } else {
            None
        }
    }
}

fn validities(pem: &[u8]) -> Vec<Validity> {
    let certificates = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok);
    certificates.filter_map(|certificate| validity(&certificate)).collect()
}

fn validity(certificate: &[u8]) -> Option<Validity> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let at = |time: x509_parser::time::ASN1Time| {
        let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
        Timestamp::from_millis(seconds.saturating_mul(1000))
    };
    let validity = certificate.validity();
    Some(Validity { from: at(validity.not_before), until: at(validity.not_after) })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn issued(from: (i32, u8, u8), until: (i32, u8, u8)) -> String {
        let mut params = CertificateParams::default();
        params.not_before = date_time_ymd(from.0, from.1, from.2);
        params.not_after = date_time_ymd(until.0, until.1, until.2);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
    }

    #[test]
    fn the_first_of_a_chain_and_the_last_of_a_bundle_say_when_it_ends() {
        let (early, late) = (issued((2000, 1, 1), (2001, 1, 1)), issued((2000, 1, 1), (2030, 1, 1)));
        let both = format!("{late}{early}");
        let expiry = Expiry::of(both.as_bytes(), Some(both.as_bytes()));
        let until = |validity: Option<Validity>| validity.unwrap().until.to_string();
        assert_eq!(until(expiry.server), "2001-01-01T00:00:00.000Z");
        assert_eq!(until(expiry.client_ca), "2030-01-01T00:00:00.000Z");
        assert_eq!(Expiry::of(b"nothing", None).server, None);
    }

    #[test]
    fn a_warning_comes_a_week_before_the_end_or_when_a_fifth_of_a_short_life_is_left() {
        let expiry = Expiry::of(issued((2026, 1, 1), (2027, 1, 1)).as_bytes(), None);
        let year = expiry.server.unwrap();
        let short = Validity { from: year.until - DAY, until: year.until };
        let warned = |validity: Validity, left: Duration| validity.warning(validity.until - left).is_some();
        assert!(!warned(year, 8 * DAY) && warned(year, 6 * DAY));
        assert!(!warned(short, DAY / 4) && warned(short, DAY / 6));
        assert!(year.warning(year.until).unwrap().contains("has expired"));
    }
}
