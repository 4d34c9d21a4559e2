//! The names of the statuses of gRPC calls.

/// The names, at their numbers.
const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Returns the name of the status with this number. Clients take a number that has none for `UNKNOWN`.
pub fn grpc_status_name(status: u8) -> &'static str {
    NAMES.get(usize::from(status)).copied().unwrap_or("UNKNOWN")
}
