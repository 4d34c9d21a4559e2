//! The forms of the values for a collector of OpenTelemetry: its URL, the fields of each message, and attributes.
//!
//! Invariants: what is read here can be sent as it is, over gRPC and over HTTP; no error repeats what may be a secret.

use std::net::Ipv6Addr;

use http::uri::{Authority, PathAndQuery};
use http::{HeaderName, HeaderValue, Uri};

/// The fields that belong to the connection or to the form of a message (RFC 9110 §7.6.1, §8), so that nobody else may set them.
const OWN_FIELDS: [&str; 11] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Reads the URL of a collector.
pub(super) fn collector_url(text: &str) -> Result<Uri, String> {
    let parsed: Option<Uri> = text.parse().ok();
    let authority = parsed.as_ref().and_then(Uri::authority);
    let has_user = authority.map_or_else(|| text.contains('@'), |authority| authority.as_str().contains('@'));
    if has_user {
        return Err("the URL names a user; write a field of messages instead: authorization=Basic …".to_owned());
    }
    let is_web =
        |url: &Uri| matches!(url.scheme_str(), Some("http" | "https")) && url.authority().is_some_and(is_place);
    parsed.filter(is_web).ok_or_else(|| format!("`{text}` is not a URL; write http://127.0.0.1:4317"))
}

/// Returns true if this is a host, and a port if anything follows.
fn is_place(authority: &Authority) -> bool {
    let host = authority.host();
    let behind = authority.as_str().strip_prefix(host).unwrap_or_default();
    let is_port = behind.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    let is_host = match host.strip_prefix('[') {
        Some(address) => address.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()),
        None => !host.is_empty(),
    };
    is_host && (behind.is_empty() || is_port)
}

/// Returns the URL of one signal below the URL of a collector (OpenTelemetry, OTLP Exporter, "Endpoint URLs for OTLP/HTTP").
pub(super) fn url_below(collector: &Uri, path: &str) -> Uri {
    let query = collector.query().map(|query| format!("?{query}")).unwrap_or_default();
    let target = format!("{}{path}{query}", collector.path().trim_end_matches('/'));
    let mut parts = collector.clone().into_parts();
    // Both halves are parts of URLs already, so that this does not fail.
    parts.path_and_query = PathAndQuery::try_from(target).ok().or(parts.path_and_query);
    Uri::from_parts(parts).unwrap_or_else(|_| collector.clone())
}

/// Reads `NAME=VALUE` as a field of each message.
pub(super) fn message_field(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once('=').ok_or("a field has no `=`; write \"name=value\"")?;
    field_of(name, value)
}

/// Returns a field with this name and value.
pub(super) fn field_of(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let wrong = "the name of a field may hold letters, digits and -; write \"name=value\"";
    let name: HeaderName = name.trim().parse().map_err(|_| wrong)?;
    if OWN_FIELDS.contains(&name.as_str()) || name.as_str().starts_with("grpc-") {
        return Err(format!("the field {name} belongs to the connection or to the message; leave it out"));
    }
    let value = HeaderValue::from_str(value.trim());
    let mut value = value.map_err(|_| format!("the value of the field {name} holds a control character"))?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// Reads `NAME=VALUE` as an attribute.
pub(super) fn attribute(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').map(|(name, value)| (name.trim(), value.trim()));
    let pair = pair.filter(|(name, _)| !name.is_empty()).map(|(name, value)| (name.to_owned(), value.to_owned()));
    pair.ok_or_else(|| format!("`{text}` has no name and value; write \"name=value\""))
}

/// Reads a share from 0 to 1.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| format!("`{text}` is not a share; write a number from 0 to 1, such as 0.01"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_is_read_names_a_host_that_can_be_dialled() {
        for good in ["http://a:4317", "https://a", "HTTP://A/", "http://[::1]:1/x?key=1", "http://10.0.0.1:65535"] {
            assert!(collector_url(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "a",
            "127.0.0.1:4317",
            "ftp://a",
            "http://",
            "http://:4317",
            "http://[::x",
            "http://[::x]",
            "http://[]:1",
            "http://127.0.0.1:9 9",
            "http://a:",
            "http://a:0",
            "http://a:65536",
            "http://a:b",
            "http://a\n",
            "/v1/traces",
        ] {
            assert!(collector_url(bad).unwrap_err().contains("http://127.0.0.1:4317"), "{bad}");
        }
        for secret in ["http://me:secret@a", "http://me:secret@a:x y"] {
            let said = collector_url(secret).unwrap_err();
            assert!(said.contains("names a user") && !said.contains("secret"), "{said}");
        }
    }

    #[test]
    fn a_signal_has_its_own_path_below_the_collector() {
        for (collector, expected) in [
            ("http://a:1", "http://a:1/v1/logs"),
            ("http://a:1/", "http://a:1/v1/logs"),
            ("https://a/otlp/", "https://a/otlp/v1/logs"),
            ("http://a/x?key=1", "http://a/x/v1/logs?key=1"),
        ] {
            assert_eq!(url_below(&collector.parse().unwrap(), "/v1/logs"), expected, "{collector}");
        }
    }

    #[test]
    fn a_field_that_is_read_can_be_sent_and_no_error_repeats_a_secret() {
        let (name, value) = message_field(" X-Key = a=b ").unwrap();
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("x-key", "a=b"));
        assert!(!format!("{value:?}").contains("a=b"));
        assert!(message_field("x-key-bin=AAEC").is_ok());
        for bad in [
            "secret",
            "=secret",
            "b d=secret",
            "bäd=secret",
            "x=secret\nx: y",
            "x=a\rsecret",
            "x=secret\0",
            "Content-Length=secret",
            "host=secret",
            "transfer-encoding=secret",
            "grpc-timeout=secret",
        ] {
            let said = message_field(bad).unwrap_err();
            assert!(!said.contains("secret"), "{bad}: {said}");
        }
    }
}
