//! The proofs of control of a name, looked at as a certificate authority does.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::tls::TlsClient;
use super::wire::Wire;

/// The extension of a certificate that proves control (RFC 8737 §6.1).
const ACME_IDENTIFIER: &str = "1.3.6.1.5.5.7.1.31";

/// Returns true if the proof of a kind is in place. `account` is its URL, and true if a wildcard is to be proven.
pub fn is_proven(
    kind: &str,
    name: &str,
    key_authorization: &str,
    (account, is_wildcard): (&str, bool),
    (http, https): (SocketAddr, SocketAddr),
    records: &Path,
) -> bool {
    let record = |label: &str| fs::read_to_string(records.join(format!("{label}.{name}"))).unwrap_or_default();
    match kind {
        "http-01" => shown_by_http(http, name, key_authorization) == Some(key_authorization.to_owned()),
        "tls-alpn-01" => is_shown_by_tls(https, name, &Sha256::digest(key_authorization)),
        "dns-01" => {
            record("_acme-challenge").lines().any(|line| line == BASE64.encode(Sha256::digest(key_authorization)))
        }
        "dns-persist-01" => {
            let policy = if is_wildcard { "; policy=wildcard" } else { "" };
            let expected = format!("ca.example; accounturi={account}{policy}");
            record("_validation-persist").lines().any(|line| line == expected)
        }
        _ => false,
    }
}

fn shown_by_http(http: SocketAddr, name: &str, key_authorization: &str) -> Option<String> {
    let token = key_authorization.split('.').next()?;
    let mut wire = Wire::over(TcpStream::connect(http).ok()?);
    wire.send(format!("GET /.well-known/acme-challenge/{token} HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\n\r\n"));
    let answer = wire.message()?;
    (answer.status() == 200).then(|| answer.text().to_owned())
}

fn is_shown_by_tls(https: SocketAddr, name: &str, digest: &[u8]) -> bool {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let verifier = Arc::new(AnyCertificate);
    let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    let session = ClientConnection::new(Arc::new(config), ServerName::try_from(name.to_owned()).unwrap()).unwrap();
    let shaken = TcpStream::connect(https).and_then(|socket| TlsClient::shake(session, socket));
    let Ok(wire) = shaken else { return false };
    let connection = &wire.stream().conn;
    connection.alpn_protocol() == Some(b"acme-tls/1")
        && is_proof(&connection.peer_certificates().unwrap()[0], name, digest)
}

/// Returns true if a certificate is for `name` alone and holds the digest as a critical extension.
fn is_proof(certificate: &[u8], name: &str, digest: &[u8]) -> bool {
    let (_, certificate) = X509Certificate::from_der(certificate).unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    let own = certificate.extensions().iter().find(|extension| extension.oid.to_id_string() == ACME_IDENTIFIER);
    let octets = [&[4, 32], digest].concat();
    names.value.general_names == [GeneralName::DNSName(name)]
        && own.is_some_and(|extension| extension.critical && extension.value == octets)
}

/// Accepts all certificates: that of a proof is signed by itself.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519]
    }
}
