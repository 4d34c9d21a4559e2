//! Makes the message of a whole configuration from a file of the user.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use prost_types::value::Kind;
use prost_types::{Duration, ListValue, Struct, Value};

use crate::config::{BreakerFile, CheckFile, InstanceFile, LimitFile, RouteFile, Scalar};
use crate::grpc::proto::{CircuitBreakerSetting, HealthCheckSetting, InstanceConfig, RateLimitSetting, RouteConfig};

use super::failure::CtlFailure;
use super::words::span;

/// Reads the configuration of a file.
///
/// # Errors
/// `Usage`, with the file, the line and the correct form.
pub(super) fn read_config(path: &Path) -> Result<InstanceConfig, CtlFailure> {
    let file = InstanceFile::read(path).map_err(|error| CtlFailure::usage(format!("{error:#}")))?;
    message(file).map_err(|failure| CtlFailure { words: format!("{}: {}", path.display(), failure.words), ..failure })
}

fn message(file: InstanceFile) -> Result<InstanceConfig, CtlFailure> {
    Ok(InstanceConfig {
        routes: file.routes.unwrap_or_default().into_iter().map(route).collect::<Result<_, _>>()?,
        headers: file.headers.into_iter().collect(),
        options: texts(file.options),
        health_check: file.health_check.map(check).transpose()?,
        rate_limit: file.rate_limit.as_ref().map(limit).transpose()?,
        circuit_breaker: file.circuit_breaker.map(breaker).transpose()?,
        maintenance_port: file.maintenance_port.into(),
        metadata: Some(structure(file.metadata)),
    })
}

fn route(file: RouteFile) -> Result<RouteConfig, CtlFailure> {
    Ok(RouteConfig {
        name: file.name,
        backend_url: file.backend,
        domains: file.domains,
        path: file.path.unwrap_or_default(),
        priority: file.priority,
        headers: file.headers.into_iter().collect(),
        options: texts(file.options),
        health_check: file.health_check.map(check).transpose()?,
        rate_limit: file.rate_limit.as_ref().map(limit).transpose()?,
        circuit_breaker: file.circuit_breaker.map(breaker).transpose()?,
    })
}

fn texts(options: BTreeMap<String, Scalar>) -> HashMap<String, String> {
    options.into_iter().map(|(key, value)| (key, value.text().to_owned())).collect()
}

fn check(file: CheckFile) -> Result<HealthCheckSetting, CtlFailure> {
    let interval = duration("health_check.interval", &file.interval)?;
    let timeout = duration("health_check.timeout", &file.timeout)?;
    Ok(HealthCheckSetting { path: file.path, interval, timeout })
}

fn limit(file: &LimitFile) -> Result<RateLimitSetting, CtlFailure> {
    Ok(RateLimitSetting { requests: file.requests, window: duration("rate_limit.window", &file.window)? })
}

fn breaker(file: BreakerFile) -> Result<CircuitBreakerSetting, CtlFailure> {
    let BreakerFile { threshold, timeout, half_open_requests } = file;
    let timeout = duration("circuit_breaker.timeout", &timeout)?;
    Ok(CircuitBreakerSetting { threshold, timeout, half_open_requests })
}

fn duration(key: &str, text: &Scalar) -> Result<Option<Duration>, CtlFailure> {
    Ok(Duration::try_from(span(key, text.text())?).ok())
}

fn structure(object: serde_json::Map<String, serde_json::Value>) -> Struct {
    Struct { fields: object.into_iter().map(|(key, value)| (key, any(value))).collect() }
}

fn any(value: serde_json::Value) -> Value {
    let kind = match value {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(value) => Kind::BoolValue(value),
        serde_json::Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        serde_json::Value::String(text) => Kind::StringValue(text),
        serde_json::Value::Array(list) => Kind::ListValue(ListValue { values: list.into_iter().map(any).collect() }),
        serde_json::Value::Object(object) => Kind::StructValue(structure(object)),
    };
    Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<InstanceConfig, CtlFailure> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        read_config(&path)
    }

    #[test]
    fn toml_and_json_say_the_same() {
        let toml = r#"
            backend = "http://127.0.0.1:3000"
            domains = ["shop.example"]
            maintenance_port = 9001
            options = { timeout = "10s", retries = 2, compression = true }
            health_check = { path = "/health", interval = "10s", timeout = 2 }
            metadata = { version = "1.2", deep = { list = [1, true] } }
        "#;
        let json = r#"{"routes":[{"backend":"http://127.0.0.1:3000","domains":["shop.example"]}],"maintenance_port":9001,
            "options":{"timeout":"10s","retries":"2","compression":true},
            "health_check":{"path":"/health","interval":10,"timeout":"2s"},
            "metadata":{"version":"1.2","deep":{"list":[1,true]}}}"#;
        let config = read("a.toml", toml).unwrap();
        assert_eq!(config, read("a.json", json).unwrap());
        assert_eq!((config.routes.len(), config.options["retries"].as_str()), (1, "2"));
    }

    #[test]
    fn a_typo_is_told_with_its_place_and_what_is_expected() {
        let wrong = [
            ("a.toml", "backned = \"http://a\"\n", ":1:1: there is no `backned` here; did you mean `backend`?"),
            ("a.toml", "[[routes]]\nbackend = \"http://a\"\n", ": `domains` is missing here"),
            ("a.toml", "backend = \"http://a\"\n", "a route has both `backend` and `domains`"),
            ("a.toml", "routes = []\npath = \"/\"\n", "give `routes`, or `backend` and `domains`"),
            ("a.toml", "rate_limit = { requests = 1, window = \"soon\" }\n", "rate_limit.window: `soon`"),
            ("a.json", "{\n\"rotes\": []}", ":2:7: unknown field `rotes`"),
            ("a.json", "[", "a.json:1:1: "),
        ];
        for (name, text, words) in wrong {
            let failure = read(name, text).unwrap_err();
            assert!(failure.words.contains(words), "{text}: {}", failure.words);
            assert_eq!(failure.exit as i32, 2);
        }
        assert!(read_config(Path::new("/nowhere/a.toml")).unwrap_err().words.contains("/nowhere/a.toml"));
    }
}
