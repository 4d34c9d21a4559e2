//! gRPC calls in spans: their attributes and their failures, as the semantic conventions for RPC have them.
//!
//! It knows the statuses of gRPC by their numbers. It does not read messages.

use opentelemetry::KeyValue;

use crate::domain::grpc_status_name;

use super::attributes::text;

/// The statuses that are failures of the server.
const FAILURES_OF_SERVERS: [&str; 6] =
    ["UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"];
const DEADLINE_EXCEEDED: u8 = 4;
const UNAVAILABLE: u8 = 14;

/// Returns the attributes of a call, whose path is `/SERVICE/METHOD`, and which has this status as far as one is known.
pub(super) fn attributes(path: &str, status: Option<u8>) -> Vec<KeyValue> {
    let mut fields = vec![KeyValue::new("rpc.system", "grpc")];
    if let Some((service, method)) = path.strip_prefix('/').and_then(|path| path.split_once('/')) {
        fields.extend([text("rpc.service", service), text("rpc.method", method)]);
    }
    fields.extend(status.map(|status| KeyValue::new("rpc.grpc.status_code", i64::from(status))));
    fields
}

/// Returns the name of the status of a call if it is a failure of the server.
pub(super) fn server_error(status: u8) -> Option<&'static str> {
    client_error(status).filter(|name| FAILURES_OF_SERVERS.contains(name))
}

/// Returns the name of the status of a call if it is a failure for the client, as all are but `OK`.
pub(super) fn client_error(status: u8) -> Option<&'static str> {
    (status != 0).then(|| grpc_status_name(status))
}

/// Returns the status that clients give a call to which none came, because the attempt failed with this type of error (RFC 9209 §2.3).
pub(super) fn status_of_failure(error: &str) -> u8 {
    if error == "http_response_timeout" { DEADLINE_EXCEEDED } else { UNAVAILABLE }
}
