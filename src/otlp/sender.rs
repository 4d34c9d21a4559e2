//! Sends the messages of one signal to its collector, over gRPC or as protobuf over HTTP.
//!
//! Invariants: a message takes no longer than its time limit, connecting included; a message that the collector does not take is not sent again.

use http::Uri;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use super::answer::{NotTaken, Rejected};
use super::client::MessageClient;
use super::dial::Dialer;
use super::signal::OtlpSignal;
use super::{OtlpProtocol, OtlpSettings};

/// Sends messages to a collector. Cheap to clone.
#[derive(Clone, Debug)]
pub struct OtlpSender {
    transport: OtlpTransport,
    timeout: std::time::Duration,
    resource: Resource,
}

#[derive(Clone, Debug)]
enum OtlpTransport {
    Grpc { channel: Channel, fields: MetadataMap },
    Http(MessageClient),
}

impl OtlpSender {
    /// Creates a sender. Nothing is connected yet. It must be called where tasks can be started.
    pub fn new(settings: &OtlpSettings) -> Self {
        let (url, fields) = (&settings.url, settings.fields.clone());
        let transport = match settings.protocol {
            OtlpProtocol::Grpc => {
                OtlpTransport::Grpc { channel: channel(settings), fields: MetadataMap::from_headers(fields) }
            }
            OtlpProtocol::Http => OtlpTransport::Http(MessageClient::new(url, fields)),
        };
        let attributes = settings.resource.iter().map(|(key, value)| text(key, value)).collect();
        let resource = Resource { attributes, ..Resource::default() };
        Self { transport, timeout: settings.timeout, resource }
    }

    /// Sends items in one message. Returns the part that the collector rejected.
    ///
    /// # Errors
    /// If it does not take the message.
    pub(super) async fn send<S: OtlpSignal>(&self, items: Vec<S::Item>) -> Result<Rejected, NotTaken> {
        let scope = InstrumentationScope {
            name: "signalbox".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let message = S::request(self.resource.clone(), scope, items);
        let answer = tokio::time::timeout(self.timeout, self.exchange::<S>(message)).await;
        let response = answer.unwrap_or_else(|_| Err(NotTaken::silent(self.timeout)))?;
        Ok(S::rejected(response).map(Rejected::of).unwrap_or_default())
    }

    async fn exchange<S: OtlpSignal>(&self, message: S::Request) -> Result<S::Response, NotTaken> {
        match &self.transport {
            OtlpTransport::Grpc { channel, fields } => {
                let mut client = tonic::client::Grpc::new(channel.clone());
                client.ready().await.map_err(|error| NotTaken::unreachable(&error))?;
                let mut request = tonic::Request::new(message);
                request.metadata_mut().clone_from(fields);
                let codec = ProstCodec::<S::Request, S::Response>::default();
                let answer = client.unary(request, PathAndQuery::from_static(S::CALL), codec).await;
                answer.map(tonic::Response::into_inner).map_err(|status| NotTaken::of_grpc(&status))
            }
            OtlpTransport::Http(client) => {
                let answer = client.send(Bytes::from(message.encode_to_vec())).await;
                let answer = answer.map_err(|error| NotTaken::unreachable(&*error))?;
                if !answer.status().is_success() {
                    return Err(NotTaken::of_http(answer.status(), answer.headers()));
                }
                S::Response::decode(answer.into_body()).map_err(|_| NotTaken::garbled())
            }
        }
    }
}

/// Returns a channel to the collector, which connects when it is needed.
fn channel(settings: &OtlpSettings) -> Channel {
    let dialer = Dialer::new(&settings.url, &[b"h2"]);
    // The scheme is plain for the library, because the dialer speaks TLS itself.
    let mut plain = Uri::default().into_parts();
    plain.scheme = Some(http::uri::Scheme::HTTP);
    plain.authority = settings.url.authority().cloned();
    plain.path_and_query = Some(PathAndQuery::from_static("/"));
    let endpoint = Endpoint::from(Uri::from_parts(plain).unwrap_or_default()).origin(settings.url.clone());
    let endpoint = endpoint.clone().user_agent(super::AGENT).unwrap_or(endpoint).connect_timeout(settings.timeout);
    endpoint.connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
        let dialer = dialer.clone();
        async move { dialer.dial().await.map(TokioIo::new) }
    }))
}

/// Returns an attribute whose value is a text.
pub(super) fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}
