//! The values of attributes. Invariant: text is bounded.

use opentelemetry::{KeyValue, Value};

use crate::json::requests::TEXT_BYTES_MAX;

/// Returns an attribute with the beginning of a text.
pub(super) fn text(key: &'static str, value: &str) -> KeyValue {
    KeyValue::new(key, Value::from(bounded(value)))
}

/// Returns the beginning of a text.
pub(super) fn bounded(text: &str) -> String {
    text.get(..text.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or_default().to_owned()
}

/// Returns a number of bytes in the type that numbers have here.
pub(super) fn size(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
