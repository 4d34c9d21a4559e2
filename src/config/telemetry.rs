//! The signals for collectors of OpenTelemetry: Signalbox's own keys over the variables of OpenTelemetry.
//!
//! Invariant: what the variables say about collectors (URL, protocol, fields, time limit) belongs together. It never reaches the collector that
//! `telemetry.otlp_endpoint` names, which is another one.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue, Uri};

use super::choices::CollectorSpeaks;
use super::otel::{OtelVariables, SignalVariables};
use super::parts::{CollectorConfig, SamplingConfig, TelemetryConfig};
use super::sections::TelemetrySection;
use super::telemetry_values::url_below;
use super::values::Flag;
use super::{default_of, or_default};

/// The collector of all signals, as Signalbox's own keys name it.
struct OwnCollector {
    url: Option<Uri>,
    protocol: Option<CollectorSpeaks>,
    fields: Option<Vec<(HeaderName, HeaderValue)>>,
    has_timeout: bool,
}

impl OwnCollector {
    /// Returns the collector of one signal.
    fn and(&self, of_signal: SignalVariables, path: &str) -> anyhow::Result<Option<CollectorConfig>> {
        let (own_url, of_signal) = match &self.url {
            Some(url) => (Some(url_below(url, path)), SignalVariables::default()),
            None => (None, of_signal),
        };
        let Some(url) = own_url.or(of_signal.url) else { return Ok(None) };
        let protocol = match self.protocol.or(of_signal.protocol) {
            Some(protocol) => protocol,
            None => or_default(None::<super::values::CollectorProtocol>, "telemetry-otlp-protocol")?.0,
        };
        let fields = self.fields.clone().or(of_signal.fields).unwrap_or_default();
        let timeout = of_signal.timeout.filter(|_| !self.has_timeout);
        Ok(Some(CollectorConfig { url, protocol, fields, timeout }))
    }
}

impl TelemetrySection {
    /// Returns the signals that are sent, with their collectors.
    pub(super) fn complete(self, variables: OtelVariables) -> anyhow::Result<TelemetryConfig> {
        let mut notes = variables.notes;
        let own = OwnCollector {
            url: self.otlp_endpoint.map(|url| url.0),
            protocol: self.otlp_protocol.map(|protocol| protocol.0),
            fields: self.otlp_headers.map(|fields| fields.into_iter().map(|field| field.0).collect()),
            has_timeout: self.otlp_timeout.is_some(),
        };
        if own.url.is_some() && !variables.of_collectors.is_empty() {
            let names = variables.of_collectors.join(", ");
            notes.push(format!("{names}: left out, because telemetry.otlp_endpoint names another collector"));
        }
        let mut collector = |name: &str, wanted: Option<Flag>, of_signal: SignalVariables| {
            let asked = of_signal.is_exported;
            let is_wanted = or_default(wanted.clone().or(asked.map(Flag)), &format!("telemetry-{name}"))?.0;
            let collector = own.and(of_signal, &format!("/v1/{name}"))?.filter(|_| is_wanted);
            // Spans are wanted by default, so that this key alone says nothing.
            let is_asked = asked == Some(true) || (wanted == Some(Flag(true)) && name != "traces");
            if is_wanted && is_asked && collector.is_none() {
                notes.push(format!("{name} are wanted, but go nowhere; write telemetry.otlp_endpoint"));
            }
            anyhow::Ok(collector)
        };
        Ok(TelemetryConfig {
            traces: collector("traces", self.traces, variables.traces)?,
            logs: collector("logs", self.logs, variables.logs)?,
            metrics: collector("metrics", self.metrics, variables.metrics)?,
            metrics_interval: or_default(
                self.metrics_interval.or(variables.metrics_interval),
                "telemetry-metrics-interval",
            )?,
            timeout: or_default(self.otlp_timeout, "telemetry-otlp-timeout")?,
            sampling: match (self.sampling_ratio, variables.sampling) {
                (None, Some(sampling)) => sampling,
                (own, _) => {
                    let ratio = or_default(own, "telemetry-sampling-ratio")?.0;
                    SamplingConfig { ratio, follows_parent: true }
                }
            },
            resource: {
                let own = self.resource.unwrap_or_default().into_iter().map(|attribute| attribute.0);
                resource((self.service_name, own), (variables.service_name, variables.resource))?
            },
            notes,
        })
    }
}

/// Returns the attributes of the resource, each once. A name of the service stands above an attribute, and Signalbox's own keys above variables.
fn resource(
    (own_name, own): (Option<String>, impl Iterator<Item = (String, String)>),
    (name, attributes): (Option<String>, Vec<(String, String)>),
) -> anyhow::Result<Vec<(String, String)>> {
    let named =
        |name: Option<String>| name.filter(|name| !name.is_empty()).map(|name| ("service.name".to_owned(), name));
    let mut all = BTreeMap::from([
        ("service.name".to_owned(), default_of("telemetry-service-name")?.to_owned()),
        ("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
    ]);
    all.extend(attributes);
    all.extend(named(name));
    all.extend(own);
    all.extend(named(own_name));
    Ok(all.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::values::{CollectorField, ResourceAttribute};

    fn of_env(url: &str, field: &str) -> SignalVariables {
        let field = field.parse::<CollectorField>().unwrap().0;
        SignalVariables { url: url.parse().ok(), fields: Some(vec![field]), ..SignalVariables::default() }
    }

    #[test]
    fn variables_about_collectors_never_reach_the_collector_of_the_configuration() {
        let variables = || OtelVariables {
            traces: of_env("http://env:1/v1/traces", "x-env=secret"),
            of_collectors: vec!["OTEL_EXPORTER_OTLP_HEADERS".to_owned()],
            ..OtelVariables::default()
        };
        let own = || TelemetrySection {
            otlp_headers: Some(vec!["x-own=1".parse().unwrap()]),
            otlp_endpoint: Some("http://own:1".parse().unwrap()),
            ..TelemetrySection::default()
        };
        let names = |config: &TelemetryConfig| {
            let collector = config.traces.as_ref().unwrap();
            let names: Vec<String> = collector.fields.iter().map(|(name, _)| name.to_string()).collect();
            (collector.url.to_string(), names.join(" "))
        };
        let config = own().complete(variables()).unwrap();
        assert_eq!(names(&config), ("http://own:1/v1/traces".to_owned(), "x-own".to_owned()));
        assert!(config.notes[0].contains("OTEL_EXPORTER_OTLP_HEADERS"), "{:?}", config.notes);
        let no_fields = TelemetrySection { otlp_headers: None, ..own() };
        assert_eq!(names(&no_fields.complete(variables()).unwrap()).1, "");
        let no_url = TelemetrySection { otlp_endpoint: None, ..own() };
        let config = no_url.complete(variables()).unwrap();
        assert_eq!(names(&config), ("http://env:1/v1/traces".to_owned(), "x-own".to_owned()));
        let nothing = TelemetrySection::default().complete(variables()).unwrap();
        assert_eq!(names(&nothing).1, "x-env");
    }

    #[test]
    fn the_service_has_one_name_and_the_nearest_source_gives_it() {
        let attribute = |name: &str| vec![("service.name".to_owned(), name.to_owned())];
        let sources = ["key", "own", "variable", "resource", "signalbox"];
        for (first, expected) in sources.into_iter().enumerate() {
            let given = |at: usize| (at >= first).then(|| sources[at].to_owned());
            let own = given(1).map(|name| format!("service.name={name}").parse::<ResourceAttribute>().unwrap());
            let section = TelemetrySection {
                service_name: given(0),
                resource: own.map(|own| vec![own]),
                ..TelemetrySection::default()
            };
            let variables = OtelVariables {
                service_name: given(2),
                resource: given(3).map(|name| attribute(&name)).unwrap_or_default(),
                ..OtelVariables::default()
            };
            let resource = section.complete(variables).unwrap().resource;
            let names: Vec<&str> =
                resource.iter().filter(|(key, _)| key == "service.name").map(|(_, name)| &**name).collect();
            assert_eq!(names, [expected]);
        }
    }

    #[test]
    fn a_signal_that_is_asked_for_and_goes_nowhere_is_noted() {
        let asked = SignalVariables { is_exported: Some(true), ..SignalVariables::default() };
        let variables = OtelVariables { traces: asked, ..OtelVariables::default() };
        let section = TelemetrySection { logs: Some(Flag(true)), ..TelemetrySection::default() };
        let config = section.complete(variables).unwrap();
        assert_eq!(config.notes.len(), 2, "{:?}", config.notes);
        let usual = TelemetrySection { traces: Some(Flag(true)), ..TelemetrySection::default() };
        assert_eq!(usual.complete(OtelVariables::default()).unwrap().notes, [""; 0]);
    }
}
