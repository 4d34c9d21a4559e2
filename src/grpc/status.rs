//! Converts refusals into statuses: a code for each kind, with the details of `google.rpc`.
//!
//! Invariants: every status has an `ErrorInfo`; no message is too long for the trailers of clients, whose default limit
//! is 8 KiB for all trailers together.

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::domain::{Error, Kind};

/// The domain of the reasons in `ErrorInfo`.
pub(super) const DOMAIN: &str = "signalbox";
/// The maximum length of a message in bytes; the rest is cut off.
const MESSAGE_BYTES_MAX: usize = 2048;
/// The delay before a retry after a limit or a temporary failure.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        refusal(&error, error.field())
    }
}

/// Returns the status of a refused entry of a repeated field; it names `routes[2].path` rather than `path`.
pub(super) fn of_entry(list: &str, index: usize, error: &Error) -> Status {
    let field = error.field().map_or_else(String::new, |field| format!(".{field}"));
    refusal(error, Some(&format!("{list}[{index}]{field}")))
}

fn refusal(error: &Error, field: Option<&str>) -> Status {
    let (code, reason) = (code(error.kind()), reason(error.kind()));
    let mut details = with_reason(reason);
    match error.kind() {
        Kind::Invalid => {
            if let Some(field) = field {
                details.add_bad_request_violation(field, shortened(error.message()));
            }
        }
        Kind::Limited | Kind::Unavailable => {
            details.set_retry_info(Some(RETRY_AFTER));
        }
        Kind::InvalidSession
        | Kind::ReplacedSession
        | Kind::NotFound
        | Kind::AlreadyExists
        | Kind::Conflict
        | Kind::Stale
        | Kind::Denied
        | Kind::Refused
        | Kind::Internal => {}
    }
    let message = match field {
        Some(field) => format!("{field}: {}", error.message()),
        None => error.message().to_owned(),
    };
    Status::with_error_details(code, shortened(&message), details)
}

/// Creates a status that does not come from the registry: one of the transport or of operator authentication.
pub(super) fn of_interface(code: Code, reason: &'static str, message: &str) -> Status {
    Status::with_error_details(code, shortened(message), with_reason(reason))
}

fn with_reason(reason: &'static str) -> ErrorDetails {
    ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new())
}

const fn code(kind: Kind) -> Code {
    match kind {
        Kind::Invalid => Code::InvalidArgument,
        Kind::InvalidSession | Kind::ReplacedSession => Code::Unauthenticated,
        Kind::NotFound => Code::NotFound,
        Kind::AlreadyExists => Code::AlreadyExists,
        Kind::Conflict | Kind::Stale => Code::Aborted,
        Kind::Denied => Code::PermissionDenied,
        Kind::Refused => Code::FailedPrecondition,
        Kind::Limited => Code::ResourceExhausted,
        Kind::Unavailable => Code::Unavailable,
        Kind::Internal => Code::Internal,
    }
}

const fn reason(kind: Kind) -> &'static str {
    match kind {
        Kind::Invalid => "INVALID",
        Kind::InvalidSession | Kind::ReplacedSession => "INVALID_SESSION",
        Kind::NotFound => "NOT_FOUND",
        Kind::AlreadyExists => "ALREADY_EXISTS",
        Kind::Conflict => "CONFLICT",
        Kind::Stale => "STALE",
        Kind::Denied => "DENIED",
        Kind::Refused => "REFUSED",
        Kind::Limited => "LIMITED",
        Kind::Unavailable => "UNAVAILABLE",
        Kind::Internal => "INTERNAL",
    }
}

/// Returns the status for an internal fault.
pub(super) fn fault() -> Status {
    tracing::error!("a call was answered with what it did not ask for");
    Error::new(Kind::Internal, "a fault of the server's own").into()
}

fn shortened(message: &str) -> String {
    if message.len() <= MESSAGE_BYTES_MAX {
        return message.to_owned();
    }
    let kept = message.get(..message.floor_char_boundary(MESSAGE_BYTES_MAX)).unwrap_or_default();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [(Kind, Code, &str); 12] = [
        (Kind::InvalidSession, Code::Unauthenticated, "INVALID_SESSION"),
        (Kind::ReplacedSession, Code::Unauthenticated, "INVALID_SESSION"),
        (Kind::Invalid, Code::InvalidArgument, "INVALID"),
        (Kind::NotFound, Code::NotFound, "NOT_FOUND"),
        (Kind::AlreadyExists, Code::AlreadyExists, "ALREADY_EXISTS"),
        (Kind::Conflict, Code::Aborted, "CONFLICT"),
        (Kind::Stale, Code::Aborted, "STALE"),
        (Kind::Denied, Code::PermissionDenied, "DENIED"),
        (Kind::Refused, Code::FailedPrecondition, "REFUSED"),
        (Kind::Limited, Code::ResourceExhausted, "LIMITED"),
        (Kind::Unavailable, Code::Unavailable, "UNAVAILABLE"),
        (Kind::Internal, Code::Internal, "INTERNAL"),
    ];

    fn status(error: Error) -> Status {
        error.into()
    }

    fn violations(status: &Status) -> Vec<(String, String)> {
        let request = status.get_details_bad_request();
        let found = request.into_iter().flat_map(|request| request.field_violations);
        found.map(|violation| (violation.field, violation.description)).collect()
    }

    #[test]
    fn every_kind_has_its_code_and_its_reason() {
        for (kind, code, reason) in KINDS {
            let status = status(Error::new(kind, "no"));
            assert_eq!((status.code(), status.message()), (code, "no"));
            let info = status.get_details_error_info().expect("every status has one");
            assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason, "signalbox"));
            assert_eq!(violations(&status), []);
        }
    }

    #[test]
    fn a_wrong_field_is_named() {
        let status = status(Error::invalid("path", "must begin with /"));
        assert_eq!(status.message(), "path: must begin with /");
        assert_eq!(violations(&status), [("path".to_owned(), "must begin with /".to_owned())]);
    }

    #[test]
    fn a_wrong_entry_is_named_with_its_place() {
        let status = of_entry("routes", 2, &Error::invalid("path", "must begin with /"));
        assert_eq!(status.message(), "routes[2].path: must begin with /");
        assert_eq!(violations(&status), [("routes[2].path".to_owned(), "must begin with /".to_owned())]);
    }

    #[test]
    fn only_what_may_pass_says_when_to_try_again() {
        for (kind, ..) in KINDS {
            let retry = status(Error::new(kind, "no")).get_details_retry_info();
            assert_eq!(retry.is_some(), matches!(kind, Kind::Limited | Kind::Unavailable), "{kind:?}");
        }
    }

    #[test]
    fn an_unknown_session_is_told_to_authenticate() {
        let status = status(Error::invalid_session());
        assert_eq!(
            (status.code(), status.message()),
            (Code::Unauthenticated, "invalid session: it has ended or never was; REGISTER again")
        );
        assert_eq!(status.get_details_error_info().unwrap().reason, "INVALID_SESSION");
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let message = status(Error::new(Kind::Refused, format!("x{}", "ä".repeat(5000)))).message().to_owned();
        assert!(message.len() <= MESSAGE_BYTES_MAX + "…".len() && message.ends_with("ä…"), "{}", message.len());
    }
}
