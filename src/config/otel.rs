//! The variables that all programs with OpenTelemetry read (`OTEL_*`). Signalbox's own keys come before them.
//!
//! Invariants: a variable that is malformed or not supported is left out with a note, as its specification demands, and never stops the start. No note
//! repeats a field of messages.

use std::env::{self, VarError};
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};

use super::choices::CollectorSpeaks;
use super::parts::SamplingConfig;
use super::percent;
use super::telemetry_values::{collector_url, field_of, share, url_below};
use super::written::Written;

/// The values of the variables that are set.
#[derive(Debug, Default, PartialEq)]
pub(super) struct OtelVariables {
    pub(super) traces: SignalVariables,
    pub(super) logs: SignalVariables,
    pub(super) metrics: SignalVariables,
    pub(super) metrics_interval: Option<Written>,
    pub(super) sampling: Option<SamplingConfig>,
    pub(super) service_name: Option<String>,
    pub(super) resource: Vec<(String, String)>,
    /// The parts that were left out, with the reasons.
    pub(super) notes: Vec<String>,
    /// The variables about collectors that are set.
    pub(super) of_collectors: Vec<String>,
}

/// The values of the variables for one signal.
#[derive(Debug, Default, PartialEq)]
pub(super) struct SignalVariables {
    /// True if its exporter is OTLP, and false if it is another one.
    pub(super) is_exported: Option<bool>,
    pub(super) url: Option<Uri>,
    pub(super) protocol: Option<CollectorSpeaks>,
    pub(super) fields: Option<Vec<(HeaderName, HeaderValue)>>,
    pub(super) timeout: Option<Duration>,
}

/// The beginning of the names of variables about collectors.
const OF_COLLECTORS: &str = "OTEL_EXPORTER_OTLP_";
/// The ends of the names of those that are not supported.
const UNSUPPORTED: [&str; 4] = ["CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY", "COMPRESSION"];
/// The longest duration in milliseconds: 366 days, as for Signalbox's own keys.
const MILLIS_MAX: u64 = 366 * 24 * 60 * 60 * 1000;

impl OtelVariables {
    /// Reads the variables of the process.
    pub(super) fn read() -> Self {
        Self::from(|name| env::var(name))
    }

    fn from(variable: impl Fn(&str) -> Result<String, VarError>) -> Self {
        let mut reader = VariableReader { variable, read: Self::default() };
        if reader.value("OTEL_SDK_DISABLED", "false counts", truth) == Some(true) {
            return Self::default();
        }
        reader.read.traces = reader.signal("TRACES", "/v1/traces");
        reader.read.logs = reader.signal("LOGS", "/v1/logs");
        reader.read.metrics = reader.signal("METRICS", "/v1/metrics");
        let interval = reader.value("OTEL_METRIC_EXPORT_INTERVAL", "telemetry.metrics_interval counts", millis);
        reader.read.metrics_interval = interval.and_then(|millis| format!("{millis}ms").parse().ok());
        reader.read.sampling = reader.sampling();
        reader.read.service_name = reader.text("OTEL_SERVICE_NAME");
        let attributes = reader.value("OTEL_RESOURCE_ATTRIBUTES", "no attributes of it count", attributes);
        reader.read.resource = attributes.unwrap_or_default();
        reader.read
    }
}

/// Reads variables, and notes what it leaves out.
struct VariableReader<F> {
    variable: F,
    read: OtelVariables,
}

impl<F: Fn(&str) -> Result<String, VarError>> VariableReader<F> {
    fn note(&mut self, note: String) {
        // A variable for all signals is read for each of them.
        if !self.read.notes.contains(&note) {
            self.read.notes.push(note);
        }
    }

    /// Returns the text of a variable. An empty one counts as not set.
    fn text(&mut self, name: &str) -> Option<String> {
        let read = (self.variable)(name);
        let is_new = !self.read.of_collectors.iter().any(|known| known == name);
        if name.starts_with(OF_COLLECTORS) && is_new && !matches!(&read, Err(VarError::NotPresent)) {
            self.read.of_collectors.push(name.to_owned());
        }
        if matches!(&read, Err(VarError::NotUnicode(_))) {
            self.note(format!("{name} is left out: it is not UTF-8"));
        }
        read.ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// Returns the value of a variable. `instead` says what counts if it is malformed.
    fn value<T>(&mut self, name: &str, instead: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let parsed = parse(&self.text(name)?);
        parsed.map_err(|why| self.note(format!("{name} is left out: {why}; {instead}"))).ok()
    }

    /// Returns the value for one signal, or else that for all signals, or else `None`, so that the key `telemetry.otlp_…` counts.
    fn either<T>(&mut self, signal: &str, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let of_all = format!("{OF_COLLECTORS}{name}");
        let own = self.value(&format!("{OF_COLLECTORS}{signal}_{name}"), &format!("{of_all} counts"), &parse);
        own.or_else(|| self.value(&of_all, &format!("telemetry.otlp_{} counts", name.to_ascii_lowercase()), &parse))
    }

    fn note_unsupported(&mut self, signal: &str) {
        for name in UNSUPPORTED {
            for name in [format!("{OF_COLLECTORS}{signal}_{name}"), format!("{OF_COLLECTORS}{name}")] {
                if self.text(&name).is_some_and(|text| text != "none") {
                    self.note(format!("{name} is left out: it is not supported"));
                }
            }
        }
    }

    fn signal(&mut self, signal: &str, path: &str) -> SignalVariables {
        self.note_unsupported(signal);
        let own = self.value(
            &format!("{OF_COLLECTORS}{signal}_ENDPOINT"),
            "OTEL_EXPORTER_OTLP_ENDPOINT counts",
            collector_url,
        );
        let of_all = |reader: &mut Self| {
            reader.value("OTEL_EXPORTER_OTLP_ENDPOINT", "telemetry.otlp_endpoint counts", collector_url)
        };
        SignalVariables {
            is_exported: self.is_exported(signal),
            url: own.or_else(|| of_all(self).map(|url| url_below(&url, path))),
            protocol: self.either(signal, "PROTOCOL", protocol),
            fields: self.fields(signal),
            timeout: self.either(signal, "TIMEOUT", millis).map(Duration::from_millis),
        }
    }

    /// Returns true if one of the exporters of a signal is OTLP; `None` if nothing is said.
    fn is_exported(&mut self, signal: &str) -> Option<bool> {
        let name = format!("OTEL_{signal}_EXPORTER");
        let exporters = self.text(&name)?;
        let exporters = exporters.split(',').map(str::trim);
        let others = exporters.clone().filter(|exporter| !matches!(*exporter, "otlp" | "none" | ""));
        others.for_each(|other| self.note(format!("{name}: `{other}` is left out; only otlp and none are supported")));
        Some(exporters.into_iter().any(|exporter| exporter == "otlp"))
    }

    /// Returns the fields of each message, without those that are malformed.
    fn fields(&mut self, signal: &str) -> Option<Vec<(HeaderName, HeaderValue)>> {
        let of_signal = format!("{OF_COLLECTORS}{signal}_HEADERS");
        let own = self.text(&of_signal).map(|text| (text, of_signal));
        let (text, name) = own.or_else(|| {
            let of_all = format!("{OF_COLLECTORS}HEADERS");
            self.text(&of_all).map(|text| (text, of_all))
        })?;
        let mut fields = Vec::new();
        for pair in percent::pairs(&text) {
            let malformed = "it is not name=value with %XX for other characters".to_owned();
            match pair.ok_or(malformed).and_then(|(key, value)| field_of(&key, &value)) {
                Ok(field) => fields.push(field),
                Err(why) => self.note(format!("{name}: a field is left out: {why}")),
            }
        }
        Some(fields)
    }

    fn sampling(&mut self) -> Option<SamplingConfig> {
        let sampler = self.text("OTEL_TRACES_SAMPLER")?;
        let kind = sampler.strip_prefix("parentbased_");
        let ratio = match kind.unwrap_or(&sampler) {
            "always_on" => 1.0,
            "always_off" => 0.0,
            // An argument that is malformed counts as not set, and 1 is the default.
            "traceidratio" => self.value("OTEL_TRACES_SAMPLER_ARG", "1 counts", share).unwrap_or(1.0),
            _ => {
                self.note(format!(
                    "OTEL_TRACES_SAMPLER is left out: `{sampler}` is not supported; telemetry.sampling_ratio counts"
                ));
                return None;
            }
        };
        Some(SamplingConfig { ratio, follows_parent: kind.is_some() })
    }
}

fn truth(text: &str) -> Result<bool, String> {
    let parsed = text.to_ascii_lowercase().parse();
    parsed.map_err(|_| format!("`{text}` is neither true nor false"))
}

fn millis(text: &str) -> Result<u64, String> {
    let millis = text.parse().ok().filter(|millis| (1..=MILLIS_MAX).contains(millis));
    millis.ok_or_else(|| format!("`{text}` is not a whole number of milliseconds from 1 to {MILLIS_MAX}"))
}

fn protocol(text: &str) -> Result<CollectorSpeaks, String> {
    let known = CollectorSpeaks::named(text);
    known.ok_or_else(|| format!("`{text}` is not supported; grpc and http/protobuf are"))
}

/// Reads all attributes, or none if one is malformed (OpenTelemetry, Resource SDK, "Specifying resource information via an environment variable").
fn attributes(text: &str) -> Result<Vec<(String, String)>, String> {
    let read = percent::pairs(text).collect::<Option<_>>();
    read.ok_or_else(|| format!("`{text}` is not a list of name=value with %XX for other characters"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(set: &[(&str, &str)]) -> OtelVariables {
        let found = |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        OtelVariables::from(|name| found(name).ok_or(VarError::NotPresent))
    }

    fn fields(signal: &SignalVariables) -> Vec<(&str, &str)> {
        let fields = signal.fields.iter().flatten();
        fields.map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect()
    }

    #[test]
    fn a_variable_of_one_signal_counts_for_that_signal_alone_and_before_that_of_all() {
        for (signal, path) in [("TRACES", "/v1/traces"), ("LOGS", "/v1/logs"), ("METRICS", "/v1/metrics")] {
            let name = |name: &str| format!("OTEL_EXPORTER_OTLP_{signal}_{name}");
            let own = ["ENDPOINT", "PROTOCOL", "HEADERS", "TIMEOUT"].map(name);
            let both = read(&[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:4317/"),
                (&own[0], "http://own:4318/in"),
                (&own[1], "http/protobuf"),
                ("OTEL_EXPORTER_OTLP_HEADERS", "a=1"),
                (&own[2], "b=2"),
                ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
                (&own[3], "10"),
            ]);
            assert_eq!(both.notes, [""; 0]);
            for (other, at, known) in [
                ("/v1/traces", "http://all:4317/v1/traces", &both.traces),
                ("/v1/logs", "http://all:4317/v1/logs", &both.logs),
                ("/v1/metrics", "http://all:4317/v1/metrics", &both.metrics),
            ] {
                let url = known.url.clone().unwrap().to_string();
                let timeout = known.timeout.unwrap().as_millis();
                if other == path {
                    assert_eq!((&*url, fields(known), timeout), ("http://own:4318/in", vec![("b", "2")], 10));
                    assert_eq!(known.protocol, Some(CollectorSpeaks::Http));
                } else {
                    assert_eq!((&*url, fields(known), timeout), (at, vec![("a", "1")], 2500));
                    assert_eq!(known.protocol, None);
                }
            }
        }
    }

    #[test]
    fn a_malformed_variable_is_left_out_and_noted() {
        for (name, value, said) in [
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "0", "telemetry.otlp_timeout counts"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "18446744073709551615", "telemetry.otlp_timeout counts"),
            ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "-1", "OTEL_EXPORTER_OTLP_TIMEOUT counts"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "0", "telemetry.metrics_interval counts"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "31622400001", "`31622400001`"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://[::x", "`http://[::x`"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1:4317", "telemetry.otlp_endpoint counts"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "a", "OTEL_EXPORTER_OTLP_ENDPOINT counts"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "telemetry.otlp_protocol counts"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip", "not supported"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote", "telemetry.sampling_ratio counts"),
            ("OTEL_RESOURCE_ATTRIBUTES", "a=1,b=%", "name=value"),
            ("OTEL_SDK_DISABLED", "yes", "false counts"),
        ] {
            let read = read(&[(name, value)]);
            let [note] = &read.notes[..] else { panic!("{name}={value}: {:?}", read.notes) };
            assert!(note.starts_with(&format!("{name} is left out: ")) && note.contains(said), "{note}");
            let left = OtelVariables { notes: Vec::new(), of_collectors: Vec::new(), ..read };
            assert_eq!(left, OtelVariables::default(), "{name}={value}");
        }
    }

    #[test]
    fn a_field_that_cannot_be_sent_is_left_out_alone_and_not_shown() {
        let read =
            read(&[("OTEL_EXPORTER_OTLP_HEADERS", "a=1,bäd name=secret,secret,b=x%3Dy,host=secret,c=a%0Asecret")]);
        assert_eq!(fields(&read.logs), [("a", "1"), ("b", "x=y")]);
        assert!(!read.notes.is_empty() && !format!("{read:?}").contains("secret"), "{read:?}");
    }

    #[test]
    fn a_sampler_follows_the_parent_only_if_its_name_says_so() {
        for (sampler, argument, ratio, follows_parent, notes) in [
            ("always_on", "", 1.0, false, 0),
            ("always_off", "", 0.0, false, 0),
            ("parentbased_always_on", "", 1.0, true, 0),
            ("parentbased_always_off", "x", 0.0, true, 0),
            ("traceidratio", "0.5", 0.5, false, 0),
            ("traceidratio", "", 1.0, false, 0),
            ("traceidratio", "abc", 1.0, false, 1),
            ("parentbased_traceidratio", "7", 1.0, true, 1),
            ("parentbased_traceidratio", "nan", 1.0, true, 1),
        ] {
            let read = read(&[("OTEL_TRACES_SAMPLER", sampler), ("OTEL_TRACES_SAMPLER_ARG", argument)]);
            assert_eq!(read.sampling, Some(SamplingConfig { ratio, follows_parent }), "{sampler} {argument}");
            assert_eq!(read.notes.len(), notes, "{:?}", read.notes);
        }
    }

    #[test]
    fn exporters_are_a_list_and_a_disabled_sdk_leaves_nothing() {
        for (exporters, expected, notes) in [
            ("otlp", Some(true), 0),
            ("none", Some(false), 0),
            ("otlp, console", Some(true), 1),
            ("jaeger", Some(false), 1),
            ("", None, 0),
        ] {
            let read = read(&[("OTEL_LOGS_EXPORTER", exporters)]);
            assert_eq!((read.logs.is_exported, read.notes.len()), (expected, notes), "{exporters}");
            assert_eq!(read.traces.is_exported, None);
        }
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:4317");
        assert_eq!(read(&[endpoint, ("OTEL_SDK_DISABLED", "True")]), OtelVariables::default());
    }
}
