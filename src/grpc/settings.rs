//! Calls that stage settings of routes: headers, options, health checks, rate limits, breakers.

use tonic::Status;

use crate::domain::{
    Breaker, Error, HeaderKey, HealthCheck, HealthPath, OptionKey, Options, RateLimit, VALUE_BYTES_MAX, header_value,
};
use crate::registry::commands::{
    CircuitBreakerRemove, CircuitBreakerSet, HeadersRemove, HeadersSet, HealthRemove, HealthSet, OptionsRemove,
    OptionsSet, RatelimitRemove, RatelimitSet,
};

use super::convert::{bounded, session, span};
use super::proto::{
    RemoveCircuitBreakerRequest, RemoveCircuitBreakerResponse, RemoveHeaderRequest, RemoveHeaderResponse,
    RemoveHealthCheckRequest, RemoveHealthCheckResponse, RemoveOptionRequest, RemoveOptionResponse,
    RemoveRateLimitRequest, RemoveRateLimitResponse, SetCircuitBreakerRequest, SetCircuitBreakerResponse,
    SetHeaderRequest, SetHeaderResponse, SetHealthCheckRequest, SetHealthCheckResponse, SetOptionRequest,
    SetOptionResponse, SetRateLimitRequest, SetRateLimitResponse,
};
use super::state::CallState;

pub(super) async fn set_header(state: &CallState, request: SetHeaderRequest) -> Result<SetHeaderResponse, Status> {
    let set = HeadersSet {
        session: session(&request.session_id)?,
        target: request.target.parse()?,
        name: HeaderKey::parse(&request.name)?,
        value: header_value(&request.value)?,
    };
    state.call(set).await?;
    Ok(SetHeaderResponse {})
}

pub(super) async fn remove_header(
    state: &CallState,
    request: RemoveHeaderRequest,
) -> Result<RemoveHeaderResponse, Status> {
    let session = session(&request.session_id)?;
    let (target, name) = (request.target.parse()?, HeaderKey::parse(&request.name)?);
    state.call(HeadersRemove { session, target, name }).await?;
    Ok(RemoveHeaderResponse {})
}

pub(super) async fn set_option(state: &CallState, request: SetOptionRequest) -> Result<SetOptionResponse, Status> {
    let session = session(&request.session_id)?;
    let (target, key) = (request.target.parse()?, OptionKey::parse(&request.key)?);
    check_option(key.as_str(), &request.value)?;
    state.call(OptionsSet { session, target, key, value: request.value.into() }).await?;
    Ok(SetOptionResponse {})
}

/// Refuses unknown options and bad values. The registry accepts unknown options, for clients of the pipe.
fn check_option(key: &str, value: &str) -> Result<(), Error> {
    if value.len() > VALUE_BYTES_MAX {
        return Err(Error::invalid("value", format!("at most {VALUE_BYTES_MAX} bytes")));
    }
    if Options::default().set(key, value).map_err(|error| error.about("value"))? {
        return Ok(());
    }
    Err(Error::invalid("key", format!("there is no option `{key}`")))
}

pub(super) async fn remove_option(
    state: &CallState,
    request: RemoveOptionRequest,
) -> Result<RemoveOptionResponse, Status> {
    let session = session(&request.session_id)?;
    let (target, key) = (request.target.parse()?, OptionKey::parse(&request.key)?);
    state.call(OptionsRemove { session, target, key }).await?;
    Ok(RemoveOptionResponse {})
}

pub(super) async fn set_health_check(
    state: &CallState,
    request: SetHealthCheckRequest,
) -> Result<SetHealthCheckResponse, Status> {
    let session = session(&request.session_id)?;
    let id = request.route_id.parse()?;
    let check = HealthCheck {
        path: HealthPath::parse(&request.path)?,
        interval: span("interval", request.interval)?,
        timeout: span("timeout", request.timeout)?,
    };
    state.call(HealthSet { session, id, check }).await?;
    Ok(SetHealthCheckResponse {})
}

pub(super) async fn remove_health_check(
    state: &CallState,
    request: RemoveHealthCheckRequest,
) -> Result<RemoveHealthCheckResponse, Status> {
    let session = session(&request.session_id)?;
    state.call(HealthRemove { session, id: request.route_id.parse()? }).await?;
    Ok(RemoveHealthCheckResponse {})
}

pub(super) async fn set_rate_limit(
    state: &CallState,
    request: SetRateLimitRequest,
) -> Result<SetRateLimitResponse, Status> {
    let session = session(&request.session_id)?;
    let target = request.target.parse()?;
    let limit = RateLimit { requests: bounded("requests", request.requests)?, window: span("window", request.window)? };
    state.call(RatelimitSet { session, target, limit }).await?;
    Ok(SetRateLimitResponse {})
}

pub(super) async fn remove_rate_limit(
    state: &CallState,
    request: RemoveRateLimitRequest,
) -> Result<RemoveRateLimitResponse, Status> {
    let session = session(&request.session_id)?;
    state.call(RatelimitRemove { session, target: request.target.parse()? }).await?;
    Ok(RemoveRateLimitResponse {})
}

pub(super) async fn set_circuit_breaker(
    state: &CallState,
    request: SetCircuitBreakerRequest,
) -> Result<SetCircuitBreakerResponse, Status> {
    let session = session(&request.session_id)?;
    let target = request.target.parse()?;
    let breaker = Breaker {
        threshold: bounded("threshold", request.threshold)?,
        timeout: span("timeout", request.timeout)?,
        half_open_requests: bounded("half_open_requests", request.half_open_requests)?,
    };
    state.call(CircuitBreakerSet { session, target, breaker }).await?;
    Ok(SetCircuitBreakerResponse {})
}

pub(super) async fn remove_circuit_breaker(
    state: &CallState,
    request: RemoveCircuitBreakerRequest,
) -> Result<RemoveCircuitBreakerResponse, Status> {
    let session = session(&request.session_id)?;
    state.call(CircuitBreakerRemove { session, target: request.target.parse()? }).await?;
    Ok(RemoveCircuitBreakerResponse {})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_of_the_table_is_taken_and_no_other() {
        for row in Options::TABLE {
            let example = match row.key {
                "health_check_host" => "shop.example",
                "health_check_status" => "200-399",
                _ => row.default,
            };
            assert_eq!(check_option(row.key, example), Ok(()), "{}", row.key);
        }
        assert_eq!(check_option("colour", "red").unwrap_err().field(), Some("key"));
    }
}
