//! The JSON of `--json`: the payloads of the REST interface, made from the messages of gRPC.
//!
//! Invariant: an entry has the same keys and values here and over REST (`tests/it/ctl` compares them). Values that this
//! version does not know keep their numbers.

mod audit;
mod config;
pub(super) mod events;
pub(super) mod explain;
mod history;
mod requests;
mod services;
mod state;

use prost_types::{Struct, Timestamp, value::Kind};
use serde_json::{Value, json};

use crate::domain::BreakerState;
use crate::grpc::proto::{CircuitState, FailedRequest, HealthCheckOutcome};

use super::text::moment;

/// A message with a JSON form.
pub(super) trait JsonShape {
    /// Returns the payload.
    fn json(&self) -> Value;
}

/// Returns the entries of a page, or of all pages, as a list of REST.
pub(super) fn items<T: JsonShape>(entries: &[T]) -> Vec<Value> {
    entries.iter().map(JsonShape::json).collect()
}

/// Returns a time as text; `null` for none.
pub(super) fn time(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, |at| json!(moment(at).to_string()))
}

/// Returns a message that may be absent.
fn maybe<T: JsonShape>(message: Option<&T>) -> Value {
    message.map_or(Value::Null, JsonShape::json)
}

/// Returns the name of a state of a circuit breaker.
pub(super) fn circuit(state: CircuitState) -> &'static str {
    match state {
        CircuitState::Closed => BreakerState::Closed.name(),
        CircuitState::Open => BreakerState::Open.name(),
        CircuitState::HalfOpen => BreakerState::HalfOpen.name(),
        CircuitState::Unspecified => "unknown",
    }
}

impl JsonShape for HealthCheckOutcome {
    fn json(&self) -> Value {
        json!({ "at": time(self.at), "ok": self.ok, "reason": self.reason })
    }
}

impl JsonShape for FailedRequest {
    fn json(&self) -> Value {
        json!({ "at": time(self.at), "reason": self.reason })
    }
}

/// Returns the metadata of an instance.
fn metadata(fields: &Struct) -> Value {
    Value::Object(fields.fields.iter().map(|(key, value)| (key.clone(), any(value))).collect())
}

fn any(value: &prost_types::Value) -> Value {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => json!(value),
        Some(Kind::StringValue(text)) => json!(text),
        Some(Kind::StructValue(fields)) => metadata(fields),
        Some(Kind::ListValue(list)) => Value::Array(list.values.iter().map(any).collect()),
        Some(Kind::NumberValue(number)) => whole(*number).map_or_else(|| json!(number), |whole| json!(whole)),
    }
}

/// Returns a number without fraction as a whole one, as it was written.
#[expect(clippy::cast_possible_truncation, reason = "it is whole and in the bounds that hold whole numbers exactly")]
fn whole(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0).then_some(number as i64)
}
