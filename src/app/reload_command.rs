//! The command `signalbox reload`: asks the running server, through its API port, to read its configuration again.
//!
//! The address, the certificate and an operator token come from the configuration itself. Invariant: the token is sent
//! only to this machine or under the certificate of the configuration.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::announcement::reachable;
use super::checked_config::CheckedConfig;
use super::settings::load_certificates;
use crate::config::ServerConfig;
use crate::lifecycle::Lifecycle;

/// The maximum time of the whole command.
const PATIENCE: Duration = Duration::from_secs(30);
/// The maximum length of the answer.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Asks the running server to reload, and returns what changed, in words.
///
/// # Errors
/// If the server does not answer, or refuses; the words are those of the server.
pub fn reload(config: ServerConfig) -> anyhow::Result<String> {
    let config = CheckedConfig::new(config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the command")?;
    runtime.block_on(async {
        let asked = tokio::time::timeout(PATIENCE, ask(&config)).await;
        asked.unwrap_or_else(|_| Err(anyhow!("the server did not answer within {} s", PATIENCE.as_secs())))
    })
}

async fn ask(config: &CheckedConfig) -> anyhow::Result<String> {
    let address = reachable(config.plain.api.listen);
    if address.port() == 0 {
        bail!("api.listen has port 0, so that the server chose its port itself; send it SIGHUP instead");
    }
    let stream = TcpStream::connect(address).await;
    let stream = stream.with_context(|| format!("no server answers at {address} (api.listen)"))?;
    let certificates = load_certificates(config)?;
    let Some(own) = certificates.iter().find(|certificate| certificate.files.section == "api") else {
        return call(stream, config, address).await;
    };
    if own.files.client_ca.is_some() {
        bail!("the API port asks for client certificates (api.client_ca); send the server SIGHUP instead");
    }
    let expected = own.current.key.cert.first().cloned().context("the certificate in api.cert is empty")?;
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(SameCertificate { expected, provider: Arc::clone(&provider) });
    let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let tls = tls.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    let stream = TlsConnector::from(Arc::new(tls)).connect(ServerName::from(address.ip()), stream).await;
    call(stream.context("the API port does not speak TLS with the certificate in api.cert")?, config, address).await
}

/// Sends the request over a connection, and reads the answer.
async fn call<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    config: &CheckedConfig,
    address: SocketAddr,
) -> anyhow::Result<String> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let tasks = Lifecycle::new();
    tasks.spawn_one("reload command", async { drop(connection.await) });
    let mut request = Request::post("/v1/reload").header(HOST, address.to_string());
    if let Some(token) = config.operator_tokens.first() {
        request = request.header(AUTHORIZATION, format!("Bearer {}", token.secret.reveal()));
    }
    let response = sender.send_request(request.body(Empty::<Bytes>::new())?).await.context("the server hung up")?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| anyhow!("the answer broke off: {error}"))?.to_bytes();
    let answer: Value = serde_json::from_slice(&body).context("the answer is not that of Signalbox")?;
    if status == StatusCode::OK {
        return Ok(words(&answer));
    }
    let detail = answer["detail"].as_str().unwrap_or("no reason was given").to_owned();
    Err(if status == StatusCode::CONFLICT { anyhow!(detail) } else { anyhow!("the server refuses: {detail}") })
}

/// Returns what changed, in words.
fn words(answer: &Value) -> String {
    let keys = |name: &str| {
        let keys = answer[name].as_array().into_iter().flatten().filter_map(Value::as_str);
        keys.collect::<Vec<_>>().join(", ")
    };
    let (changed, waiting) = (keys("changed"), keys("needs_restart"));
    let mut words = if changed.is_empty() { "nothing changed".to_owned() } else { format!("changed: {changed}") };
    if !waiting.is_empty() {
        let _ = write!(words, "\nneeds a restart: {waiting}");
    }
    for problem in answer["problems"].as_array().into_iter().flatten() {
        let text = |name: &str| problem[name].as_str().unwrap_or_default();
        let line = problem["line"].as_u64().map(|line| format!(":{line}")).unwrap_or_default();
        let _ = write!(words, "\nnot in force: {}{line}: {}", text("file"), text("message"));
    }
    words
}

/// Accepts one certificate alone, whatever its names: that of the configuration.
#[derive(Debug)]
struct SameCertificate {
    expected: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for SameCertificate {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *shown == self.expected {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
