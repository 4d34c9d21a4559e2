//! The variables that all programs with OpenTelemetry read (`OTEL_*`). Signalbox's own keys come before them.
//!
//! Invariants: a variable that is malformed is left out, as its specification demands, and never stops the start.

use std::env;

use super::sections::TelemetrySection;
use super::values::{Flag, NamedValue};

/// The values of the variables that are set.
pub(super) struct OtelVariables(TelemetrySection);

impl OtelVariables {
    /// Reads the variables of the process.
    pub(super) fn read() -> Self {
        Self::from(|name| env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from(variable: impl Fn(&str) -> Option<String>) -> Self {
        let is_off = variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        if is_off {
            return Self(TelemetrySection::default());
        }
        let of_traces = |name: &str| variable(&format!("OTEL_EXPORTER_OTLP_TRACES_{name}"));
        let of_all = |name: &str| variable(&format!("OTEL_EXPORTER_OTLP_{name}"));
        let either = |name: &str| of_traces(name).or_else(|| of_all(name));
        let own_endpoint = of_traces("ENDPOINT").map(|url| url.trim_end_matches("/v1/traces").to_owned());
        let read = |text: Option<String>| text.and_then(|text| text.parse().ok());
        Self(TelemetrySection {
            otlp_endpoint: own_endpoint.or_else(|| of_all("ENDPOINT")).and_then(|url| url.parse().ok()),
            traces: is_exported(&variable, "TRACES"),
            logs: is_exported(&variable, "LOGS"),
            metrics: is_exported(&variable, "METRICS"),
            metrics_interval: read(millis_of(variable("OTEL_METRIC_EXPORT_INTERVAL"))),
            otlp_protocol: either("PROTOCOL").and_then(|protocol| protocol.parse().ok()),
            otlp_headers: either("HEADERS").map(|fields| pairs(&fields)),
            otlp_timeout: read(millis_of(either("TIMEOUT"))),
            sampling_ratio: ratio(&variable).and_then(|share| share.parse().ok()),
            service_name: variable("OTEL_SERVICE_NAME"),
            resource: variable("OTEL_RESOURCE_ATTRIBUTES").map(|attributes| pairs(&attributes)),
        })
    }
}

/// Returns a number of milliseconds as a duration is written.
fn millis_of(number: Option<String>) -> Option<String> {
    number.and_then(|millis| millis.parse::<u64>().ok()).map(|millis| format!("{millis}ms"))
}

/// Returns true if the exporter of a signal is OTLP, and false if it is another one; `None` if nothing is said.
fn is_exported(variable: &impl Fn(&str) -> Option<String>, signal: &str) -> Option<Flag> {
    variable(&format!("OTEL_{signal}_EXPORTER")).map(|exporter| Flag(exporter == "otlp"))
}

/// Returns the share that the sampler has, as far as it is one of ratios.
fn ratio(variable: &impl Fn(&str) -> Option<String>) -> Option<String> {
    match variable("OTEL_TRACES_SAMPLER")?.trim_start_matches("parentbased_") {
        "always_on" => Some("1".to_owned()),
        "always_off" => Some("0".to_owned()),
        "traceidratio" => variable("OTEL_TRACES_SAMPLER_ARG").or_else(|| Some("1".to_owned())),
        _ => None,
    }
}

/// Reads pairs such as `a=1,b=2`. Values may be percent-encoded.
fn pairs(text: &str) -> Vec<NamedValue> {
    text.split(',')
        .filter_map(|pair| pair.replace("%20", " ").replace("%3D", "=").replace("%2C", ",").parse().ok())
        .collect()
}

impl TelemetrySection {
    /// Returns its own values, and those of the variables for keys that are not set.
    pub(super) fn under(self, variables: OtelVariables) -> Self {
        self.over(variables.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CollectorSpeaks, Written};

    fn read(set: &[(&str, &str)]) -> TelemetrySection {
        let found = |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        OtelVariables::from(found).0
    }

    #[test]
    fn the_variables_of_traces_come_before_those_of_all_signals() {
        let both = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:4317"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:4318/v1/traces"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=1,broken,b=x%3Dy"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.5"),
            ("OTEL_SERVICE_NAME", "edge"),
            ("OTEL_RESOURCE_ATTRIBUTES", "zone=a"),
        ]);
        assert_eq!(both.otlp_endpoint.unwrap().0, "http://traces:4318");
        assert_eq!(both.otlp_protocol.unwrap().0, CollectorSpeaks::Http);
        let headers: Vec<_> = both.otlp_headers.unwrap().into_iter().map(|field| field.0).collect();
        assert_eq!(
            headers.iter().map(|(name, value)| (&**name, value.reveal().as_str())).collect::<Vec<_>>(),
            [("a", "1"), ("b", "x=y")]
        );
        assert_eq!(both.otlp_timeout.unwrap(), "2500ms".parse::<Written>().unwrap());
        assert_eq!(
            (both.sampling_ratio.unwrap().0.to_bits(), both.service_name.as_deref()),
            (0.5_f64.to_bits(), Some("edge"))
        );
    }

    #[test]
    fn what_is_switched_off_or_malformed_counts_as_not_set() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:4317");
        assert_eq!(read(&[endpoint, ("OTEL_SDK_DISABLED", "true")]), TelemetrySection::default());
        let signals = read(&[endpoint, ("OTEL_TRACES_EXPORTER", "none"), ("OTEL_LOGS_EXPORTER", "otlp")]);
        assert_eq!((signals.traces, signals.logs), (Some(Flag(false)), Some(Flag(true))));
        let malformed = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "all"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
            ("OTEL_TRACES_SAMPLER", "jaeger"),
        ]);
        assert_eq!(malformed, TelemetrySection::default());
    }
}
