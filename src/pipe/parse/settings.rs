//! Lines that stage settings of routes: headers, options, health checks, rate limits, breakers.

use crate::domain::{
    Breaker, Error, HeaderKey, HealthCheck, HealthPath, OptionKey, RateLimit, Span, VALUE_BYTES_MAX, count,
    header_value,
};
use crate::registry::commands::{
    CircuitBreakerRemove, CircuitBreakerSet, HeadersRemove, HeadersSet, HealthRemove, HealthSet, OptionsRemove,
    OptionsSet, RatelimitRemove, RatelimitSet,
};

use super::fields::{CommandRow, Fields};
use super::request::Parsed;

/// The commands of this group, in the order of the protocol.
pub(super) const TABLE: &[CommandRow] = &[
    ("HEADERS_SET", headers_set),
    ("HEADERS_REMOVE", headers_remove),
    ("OPTIONS_SET", options_set),
    ("OPTIONS_REMOVE", options_remove),
    ("HEALTH_SET", health_set),
    ("HEALTH_REMOVE", health_remove),
    ("RATELIMIT_SET", ratelimit_set),
    ("RATELIMIT_REMOVE", ratelimit_remove),
    ("CIRCUIT_BREAKER_SET", circuit_breaker_set),
    ("CIRCUIT_BREAKER_REMOVE", circuit_breaker_remove),
];

fn headers_set<'a>(fields: Fields<'a, '_>) -> Parsed<'a> {
    fields.command("HEADERS_OK", ["target", "name", "value"], |session, [target, name, value]| {
        let (target, name) = (target.parse()?, HeaderKey::parse(name)?);
        Ok(HeadersSet { session, target, name, value: header_value(value)? })
    })
}

fn headers_remove<'a>(fields: Fields<'a, '_>) -> Parsed<'a> {
    fields.command("HEADERS_OK", ["target", "name"], |session, [target, name]| {
        Ok(HeadersRemove { session, target: target.parse()?, name: HeaderKey::parse(name)? })
    })
}

fn options_set<'a>(fields: Fields<'a, '_>) -> Parsed<'a> {
    fields.command("OPTIONS_OK", ["target", "key", "value"], |session, [target, key, value]| {
        let (target, key) = (target.parse()?, OptionKey::parse(key)?);
        if value.len() > VALUE_BYTES_MAX {
            return Err(Error::invalid("value", format!("at most {VALUE_BYTES_MAX} bytes")));
        }
        Ok(OptionsSet { session, target, key, value: value.into() })
    })
}

fn options_remove<'a>(fields: Fields<'a, '_>) -> Parsed<'a> {
    fields.command("OPTIONS_OK", ["target", "key"], |session, [target, key]| {
        Ok(OptionsRemove { session, target: target.parse()?, key: OptionKey::parse(key)? })
    })
}

fn health_set<'a>(fields: Fields<'a, '_>) -> Parsed<'a> {
    let names = ["route_id", "path", "interval", "timeout"];
    fields.command("HEALTH_OK", names, |session, [id, path, interval, timeout]| {
        let check = HealthCheck {
            path: HealthPath::parse(path)?,
            interval: duration("interval", interval)?,
            timeout: duration("timeout", timeout)?,
        };
        Ok(HealthSet { session, id: id.parse()?, check })
    })
}

fn health_remove<'a>(fields: Fields<'a, '_>) -> Parsed<'a> {
    fields.command("HEALTH_OK", ["route_id"], |session, [id]| Ok(HealthRemove { session, id: id.parse()? }))
}

fn ratelimit_set<'a>(fields: Fields<'a, '_>) -> Parsed<'a> {
    fields.command("RATELIMIT_OK", ["target", "requests", "window"], |session, [target, requests, window]| {
        let limit = RateLimit { requests: count("requests", requests)?, window: duration("window", window)? };
        Ok(RatelimitSet { session, target: target.parse()?, limit })
    })
}

fn ratelimit_remove<'a>(fields: Fields<'a, '_>) -> Parsed<'a> {
    fields.command("RATELIMIT_OK", ["target"], |session, [target]| {
        Ok(RatelimitRemove { session, target: target.parse()? })
    })
}

fn circuit_breaker_set<'a>(fields: Fields<'a, '_>) -> Parsed<'a> {
    let names = ["target", "threshold", "timeout", "half_open_requests"];
    fields.command("CIRCUIT_OK", names, |session, [target, threshold, timeout, half_open]| {
        let breaker = Breaker {
            threshold: count("threshold", threshold)?,
            timeout: duration("timeout", timeout)?,
            half_open_requests: count("half_open_requests", half_open)?,
        };
        Ok(CircuitBreakerSet { session, target: target.parse()?, breaker })
    })
}

fn circuit_breaker_remove<'a>(fields: Fields<'a, '_>) -> Parsed<'a> {
    fields.command("CIRCUIT_OK", ["target"], |session, [target]| {
        Ok(CircuitBreakerRemove { session, target: target.parse()? })
    })
}

fn duration(field: &'static str, text: &str) -> Result<Span, Error> {
    Span::parse(text).map_err(|error| error.about(field))
}
