//! The exporter of OpenTelemetry, as the settings want it.

use opentelemetry::KeyValue;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanExporter as _;
use tonic::metadata::{MetadataKey, MetadataMap, MetadataValue};
use tonic::transport::ClientTlsConfig;

use super::client::MessageClient;
use super::{OtlpProtocol, OtlpSettings};

/// Sends spans to a collector.
#[derive(Debug)]
pub struct OtlpExporter(pub(super) SpanExporter);

/// The settings name no collector that spans can be sent to.
#[derive(Debug, thiserror::Error)]
#[error("telemetry.otlp_endpoint: {0}")]
pub struct ExportError(String);

impl ExportError {
    pub(super) fn of(error: &impl ToString) -> Self {
        Self(error.to_string())
    }

    pub(super) fn header(name: &str) -> Self {
        Self(format!("the header {name} is malformed"))
    }
}

impl OtlpExporter {
    /// Creates an exporter. Nothing is connected yet. It must be called where tasks can be started.
    ///
    /// # Errors
    /// If the endpoint or a header is malformed.
    pub fn new(settings: &OtlpSettings) -> Result<Self, ExportError> {
        let mut exporter = match settings.protocol {
            OtlpProtocol::Grpc => grpc(settings)?,
            OtlpProtocol::Http => http(settings)?,
        };
        let attributes = settings.resource.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let resource = Resource::builder_empty()
            .with_service_name(settings.service_name.clone())
            .with_attribute(version)
            .with_attributes(attributes)
            .build();
        exporter.set_resource(&resource);
        Ok(Self(exporter))
    }
}

fn grpc(settings: &OtlpSettings) -> Result<SpanExporter, ExportError> {
    let mut metadata = MetadataMap::new();
    for (name, value) in &settings.headers {
        let key =
            MetadataKey::from_bytes(name.to_ascii_lowercase().as_bytes()).map_err(|_| ExportError::header(name))?;
        metadata.insert(key, MetadataValue::try_from(value.as_str()).map_err(|_| ExportError::header(name))?);
    }
    let mut builder = SpanExporter::builder().with_tonic().with_endpoint(settings.endpoint.clone());
    if settings.endpoint.starts_with("https://") {
        builder = builder.with_tls_config(ClientTlsConfig::new().with_native_roots());
    }
    let built = builder.with_timeout(settings.timeout).with_metadata(metadata).build();
    built.map_err(|error| ExportError::of(&error))
}

fn http(settings: &OtlpSettings) -> Result<SpanExporter, ExportError> {
    let endpoint = format!("{}/v1/traces", settings.endpoint.trim_end_matches('/'));
    let built = SpanExporter::builder()
        .with_http()
        .with_http_client(MessageClient::new(settings.timeout))
        .with_endpoint(endpoint)
        .with_timeout(settings.timeout)
        .with_headers(settings.headers.clone())
        .build();
    built.map_err(|error| ExportError::of(&error))
}
