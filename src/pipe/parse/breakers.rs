//! Lines about the circuit breakers of active routes.

use crate::registry::Query;
use crate::registry::commands::CircuitBreakerReset;
use crate::registry::queries::CircuitBreakerStatus;

use super::fields::{CommandRow, Fields};
use super::request::Parsed;

/// The commands of this group, in the order of the protocol.
pub(super) const TABLE: &[CommandRow] =
    &[("CIRCUIT_BREAKER_STATUS", circuit_breaker_status), ("CIRCUIT_BREAKER_RESET", circuit_breaker_reset)];

fn circuit_breaker_status<'a>(fields: Fields<'a, '_>) -> Parsed<'a> {
    fields.query("CIRCUIT_STATUS_OK", ["route_id"], |session, [id]| {
        Ok(Query::CircuitBreakerStatus(CircuitBreakerStatus { session, id: id.parse()? }))
    })
}

fn circuit_breaker_reset<'a>(fields: Fields<'a, '_>) -> Parsed<'a> {
    fields.command("CIRCUIT_OK", ["route_id"], |session, [id]| Ok(CircuitBreakerReset { session, id: id.parse()? }))
}
