//! The reason why an attempt failed, in words for operators.

use instant_acme::{Error, Problem};

use super::folder::FolderError;

/// The reason why an attempt failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum OrderError {
    #[error("{}", said(.0))]
    Directory(#[from] Error),
    #[error("the authority does not accept the name: {0}")]
    Refused(String),
    #[error("the authority offers no way to prove control of the name that works here: {0}")]
    NoWay(&'static str),
    #[error("the authority did not decide in time")]
    TooSlow,
    #[error("the order ended without a certificate")]
    Ended,
    #[error("acme.dns_hook: {0}")]
    Hook(String),
    #[error("cannot keep {0}")]
    Folder(#[from] FolderError),
    #[error("the key of the certificate cannot be used: {0}")]
    Key(#[from] rcgen::Error),
    #[error("the certificate cannot be used: {0}")]
    Certificate(String),
    #[error("the account cannot be used: {0}")]
    Account(String),
}

const BAD_NONCE: &str = "urn:ietf:params:acme:error:badNonce";
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";
const RATE_LIMITED: &str = "urn:ietf:params:acme:error:rateLimited";

/// Returns true if the directory only wants the request again with another nonce (RFC 8555 §6.5).
pub(super) fn is_bad_nonce(error: &Error) -> bool {
    is_problem(error, BAD_NONCE)
}

/// Returns true if the authority does not know the account.
pub(super) fn is_account_unknown(error: &Error) -> bool {
    is_problem(error, NO_ACCOUNT)
}

/// Returns true if the authority has refused the request because there are too many of them.
pub(super) fn is_rate_limited(error: &Error) -> bool {
    is_problem(error, RATE_LIMITED)
}

/// Returns true if the authority has refused the request for what it says.
pub(super) fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::Api(_)) && !is_rate_limited(error)
}

fn is_problem(error: &Error, kind: &str) -> bool {
    matches!(error, Error::Api(problem) if problem.r#type.as_deref() == Some(kind))
}

fn said(error: &Error) -> String {
    match error {
        Error::Api(problem) => problem_words(problem),
        Error::Json(_) | Error::Str(_) => format!("the answer of the directory is not one of ACME: {error}"),
        Error::Http(_) | Error::InvalidUri(_) => format!("the directory gave a URL that cannot be used: {error}"),
        other => other.to_string(),
    }
}

/// Returns the words of a problem, and its kind without the common beginning.
pub(super) fn problem_words(problem: &Problem) -> String {
    let kind = problem.r#type.as_deref().unwrap_or("unknown");
    let kind = kind.strip_prefix("urn:ietf:params:acme:error:").unwrap_or(kind);
    match &problem.detail {
        Some(detail) => format!("{detail} ({kind})"),
        None => kind.to_owned(),
    }
}

/// Makes a request again while the directory wants another nonce. The library does so a few times only.
///
/// A request with a bad nonce had no effect, so that it is safe to repeat.
macro_rules! with_fresh_nonces {
    ($request:expr) => {{
        let mut left = $crate::acme::error::NONCES_MAX;
        loop {
            match $request.await {
                Err(error) if left > 0 && $crate::acme::error::is_bad_nonce(&error) => left -= 1,
                done => break done,
            }
        }
    }};
}
pub(super) use with_fresh_nonces;

/// The most times that a request is made again for its nonce.
pub(super) const NONCES_MAX: u32 = 20;
