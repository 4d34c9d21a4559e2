//! Calls of the API, with one limit of time for each and one failure for whatever goes wrong.

use std::error::Error as _;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::config::CtlSettings;
use crate::grpc::proto::operator_client::OperatorClient;
use crate::grpc::proto::registry_client::RegistryClient;

use super::failure::CtlFailure;
use super::text::plain;
use super::transport::{ApiUrl, Heard, connect, innermost};
use super::words::limit;

/// The maximum length of an answer. A configuration may have 200,000 routes.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// A client of the API.
pub(super) struct Api {
    pub(super) url: String,
    channel: Channel,
    heard: Heard,
    token: Option<MetadataValue<Ascii>>,
    patience: Duration,
}

impl Api {
    /// Connects to the API of the settings. A call may take as long as `patience`.
    ///
    /// # Errors
    /// If the settings are wrong, or no server answers.
    pub(super) async fn connect(settings: &CtlSettings, patience: Duration) -> Result<Self, CtlFailure> {
        let url = ApiUrl::parse(&settings.api)?;
        let token = settings.token.as_ref().map(|token| authorization(token.reveal())).transpose()?;
        let roots = settings.ca.as_deref().map(roots).transpose()?;
        let (channel, heard) = connect(&url, roots, patience).await?;
        Ok(Self { url: url.text, channel, heard, token, patience })
    }

    /// Makes a call of an operator.
    pub(super) async fn ask<Q, A, F>(
        &self,
        message: Q,
        call: impl FnOnce(OperatorClient<Channel>, Request<Q>) -> F,
    ) -> Result<A, CtlFailure>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let client = OperatorClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX);
        self.within(call(client, self.request(message))).await
    }

    /// Makes a call that needs no operator.
    pub(super) async fn ask_registry<Q, A, F>(
        &self,
        message: Q,
        call: impl FnOnce(RegistryClient<Channel>, Request<Q>) -> F,
    ) -> Result<A, CtlFailure>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        self.within(call(RegistryClient::new(self.channel.clone()), self.request(message))).await
    }

    fn request<Q>(&self, message: Q) -> Request<Q> {
        let mut request = Request::new(message);
        self.token.iter().for_each(|token| drop(request.metadata_mut().insert("authorization", token.clone())));
        request
    }

    /// Asks the health service, which needs no token. Returns true if the server is ready.
    pub(super) async fn is_serving(&self) -> Result<bool, CtlFailure> {
        let mut client = HealthClient::new(self.channel.clone());
        let answer = self.within(client.check(HealthCheckRequest::default())).await?;
        Ok(answer.status() == ServingStatus::Serving)
    }

    async fn within<A>(&self, call: impl Future<Output = Result<Response<A>, Status>>) -> Result<A, CtlFailure> {
        if let Ok(answer) = tokio::time::timeout(self.patience, call).await {
            return answer.map(Response::into_inner).map_err(|status| self.failure(&status));
        }
        let words = format!("{} does not answer within {}", self.url, limit(self.patience));
        let silent = self.heard.nothing();
        Err(if silent { CtlFailure::unreachable(words) } else { CtlFailure::timed_out(words) })
    }

    /// Returns the failure for a status, also one that ends a stream.
    pub(super) fn failure(&self, status: &Status) -> CtlFailure {
        if let Some(words) = self.foreigner() {
            return CtlFailure::unreachable(words);
        }
        // A status of the server has no cause here.
        if let Some(cause) = status.source() {
            return CtlFailure::unreachable(format!("{} does not answer: {}", self.url, innermost(cause)));
        }
        CtlFailure::of_status(status, &self.url, self.token.is_some())
    }

    fn foreigner(&self) -> Option<String> {
        // Under TLS the first bytes are those of the handshake.
        if self.url.starts_with("https") { None } else { self.heard.foreigner(&self.url) }
    }
}

fn authorization(token: &str) -> Result<MetadataValue<Ascii>, CtlFailure> {
    let wrong = || CtlFailure::usage("the token has characters that are not visible ASCII; copy it again");
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong());
    }
    format!("Bearer {token}").parse().map_err(|_| wrong())
}

/// Reads the certificates of the file of authorities.
fn roots(file: &std::path::Path) -> Result<RootCertStore, CtlFailure> {
    let wrong = |why: String| CtlFailure::usage(format!("{}: {}", plain(&file.display().to_string()), plain(&why)));
    let text = std::fs::read(file).map_err(|error| wrong(format!("cannot read it: {error}")))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| wrong(format!("not a certificate as PEM: {error:?}")))?;
        roots.add(certificate).map_err(|error| wrong(format!("not a certificate of an authority: {error}")))?;
    }
    if roots.is_empty() {
        return Err(wrong("has no certificate as PEM".to_owned()));
    }
    Ok(roots)
}
