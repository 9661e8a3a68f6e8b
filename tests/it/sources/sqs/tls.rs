//! SQS over TLS, as AWS has it.

use std::sync::Arc;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, crypto::ring};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::identity::Plan;
use super::{SECRET, counted};
use crate::support::answerer::{Answer, Answerer};

#[tokio::test]
async fn certificates_are_checked() {
    let server = Answerer::start(|_| Answer::Say(200, counted(1, 0, 0))).await;
    let (port, certificate) = behind_tls(server.port()).await;
    let plan = Plan::at(&format!("https://localhost:{port}"), "");
    let file = plan.write("ca.pem", &certificate);
    let keys =
        [("AWS_ACCESS_KEY_ID", "AKIAENV"), ("AWS_SECRET_ACCESS_KEY", SECRET), ("SSL_CERT_FILE", &file)];
    plan.reads(&keys).await;
    assert!(!server.asked().is_empty());

    let error = plan.fails(&keys[..2]).await;
    assert!(error.contains("cannot be reached: invalid peer certificate: UnknownIssuer"), "{error}");
    assert_eq!(server.asked().len(), 0);
}

/// A port that speaks TLS in front of `port`, and the certificate that it shows.
async fn behind_tls(port: u16) -> (u16, String) {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            // A client that does not trust us ends the handshake.
            let Ok(mut client) = acceptor.accept(client).await else { continue };
            let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let _ = copy_bidirectional(&mut client, &mut server).await;
        }
    });
    (address.port(), own.cert.pem())
}
