//! Sends log records and metrics to the collector, in the messages that OTLP has for them.

use std::str::FromStr as _;

use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use opentelemetry_http::{Bytes, HttpClient as _};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{MetadataKey, MetadataMap, MetadataValue};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic_prost::ProstCodec;

use super::client::MessageClient;
use super::{ExportError, OtlpProtocol, OtlpSettings};

/// A kind of message: the call of gRPC, and the path of HTTP.
struct MessageKind {
    call: &'static str,
    path: &'static str,
}

/// Log records.
const LOGS: MessageKind =
    MessageKind { call: "/opentelemetry.proto.collector.logs.v1.LogsService/Export", path: "/v1/logs" };

/// Metrics.
const METRICS: MessageKind =
    MessageKind { call: "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", path: "/v1/metrics" };

/// Sends messages to a collector. Cheap to clone.
#[derive(Clone)]
pub struct OtlpSender {
    transport: OtlpTransport,
    resource: Resource,
}

#[derive(Clone)]
enum OtlpTransport {
    Grpc { channel: Channel, fields: MetadataMap },
    Http { client: MessageClient, endpoint: String, fields: HeaderMap },
}

impl OtlpSender {
    /// Creates a sender. Nothing is connected yet. It must be called where tasks can be started.
    ///
    /// # Errors
    /// If the endpoint or a header is malformed.
    pub fn new(settings: &OtlpSettings) -> Result<Self, ExportError> {
        let transport = match settings.protocol {
            OtlpProtocol::Grpc => grpc(settings)?,
            OtlpProtocol::Http => http(settings)?,
        };
        let own = [("service.name", settings.service_name.as_str()), ("service.version", env!("CARGO_PKG_VERSION"))];
        let further = settings.resource.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let attributes = own.into_iter().chain(further).map(|(key, value)| text(key, value)).collect();
        Ok(Self { transport, resource: Resource { attributes, ..Resource::default() } })
    }

    /// Returns the resource that all messages name.
    pub(super) fn resource(&self) -> Resource {
        self.resource.clone()
    }

    /// Sends log records.
    ///
    /// # Errors
    /// If the collector does not take them. The text is for the log.
    pub(super) async fn send_logs(&self, message: ExportLogsServiceRequest) -> Result<(), String> {
        self.send::<_, ExportLogsServiceResponse>(&LOGS, message).await
    }

    /// Sends metrics.
    ///
    /// # Errors
    /// If the collector does not take them. The text is for the log.
    pub(super) async fn send_metrics(&self, message: ExportMetricsServiceRequest) -> Result<(), String> {
        self.send::<_, ExportMetricsServiceResponse>(&METRICS, message).await
    }

    async fn send<M, R>(&self, kind: &MessageKind, message: M) -> Result<(), String>
    where
        M: Message + Send + Sync + 'static,
        R: Message + Default + Send + Sync + 'static,
    {
        match &self.transport {
            OtlpTransport::Grpc { channel, fields } => {
                let mut client = tonic::client::Grpc::new(channel.clone());
                client.ready().await.map_err(|error| error.to_string())?;
                let (mut request, call) = (tonic::Request::new(message), PathAndQuery::from_static(kind.call));
                *request.metadata_mut() = fields.clone();
                let sent = client.unary(request, call, ProstCodec::<M, R>::default()).await;
                sent.map(drop).map_err(|status| status.to_string())
            }
            OtlpTransport::Http { client, endpoint, fields } => {
                let request = Request::post(format!("{endpoint}{}", kind.path));
                let mut request =
                    request.body(Bytes::from(message.encode_to_vec())).map_err(|error| error.to_string())?;
                *request.headers_mut() = fields.clone();
                let answer = client.send_bytes(request).await.map_err(|error| error.to_string())?;
                if answer.status().is_success() { Ok(()) } else { Err(answer.status().to_string()) }
            }
        }
    }
}

fn grpc(settings: &OtlpSettings) -> Result<OtlpTransport, ExportError> {
    let mut fields = MetadataMap::new();
    for (name, value) in &settings.headers {
        let name =
            MetadataKey::from_bytes(name.to_ascii_lowercase().as_bytes()).map_err(|_| ExportError::header(name))?;
        let value = MetadataValue::try_from(value.as_str()).map_err(|_| ExportError::header(name.as_str()))?;
        fields.insert(name, value);
    }
    let mut endpoint = Endpoint::from_shared(settings.endpoint.clone()).map_err(|error| ExportError::of(&error))?;
    if settings.endpoint.starts_with("https://") {
        let tls = ClientTlsConfig::new().with_native_roots();
        endpoint = endpoint.tls_config(tls).map_err(|error| ExportError::of(&error))?;
    }
    let channel = endpoint.timeout(settings.timeout).connect_timeout(settings.timeout).connect_lazy();
    Ok(OtlpTransport::Grpc { channel, fields })
}

fn http(settings: &OtlpSettings) -> Result<OtlpTransport, ExportError> {
    let mut fields = HeaderMap::new();
    for (name, value) in &settings.headers {
        let key = HeaderName::from_str(name).map_err(|_| ExportError::header(name))?;
        fields.insert(key, HeaderValue::from_str(value).map_err(|_| ExportError::header(name))?);
    }
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    let endpoint = settings.endpoint.trim_end_matches('/').to_owned();
    Ok(OtlpTransport::Http { client: MessageClient::new(settings.timeout), endpoint, fields })
}

/// Returns an attribute whose value is a text.
pub(super) fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}
