//! The end of a command that did not succeed: its exit status, and one plain line.

use tonic::{Code, Status};

use super::text::plain;

/// The exit status of a command. The numbers are a promise of `docs/ctl.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CtlExit {
    /// Nobody reads the output any more. That is no failure.
    Closed = 0,
    /// The server refused, or the answer is no.
    Refused = 1,
    /// The words or the file of the user are wrong.
    Usage = 2,
    /// No Signalbox answers at the URL.
    Unreachable = 3,
    /// The awaited state did not come in time.
    TimedOut = 4,
    /// The revision moved, or somebody else holds it.
    Conflict = 5,
}

/// The words of the client's library about answers of HTTP that are not gRPC, with and without a body.
const NO_GRPC: [&str; 2] = ["grpc-status header missing", "invalid compression flag"];

/// A command that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CtlFailure {
    pub(super) exit: CtlExit,
    /// One line that says what to do.
    pub(super) words: String,
    /// True if the thing that the call names does not exist.
    pub(super) is_missing: bool,
}

impl CtlFailure {
    fn of(exit: CtlExit, words: impl Into<String>) -> Self {
        Self { exit, words: words.into(), is_missing: false }
    }

    pub(super) fn closed() -> Self {
        Self::of(CtlExit::Closed, "")
    }

    pub(super) fn refused(words: impl Into<String>) -> Self {
        Self::of(CtlExit::Refused, words)
    }

    pub(super) fn usage(words: impl Into<String>) -> Self {
        Self::of(CtlExit::Usage, words)
    }

    pub(super) fn unreachable(words: impl Into<String>) -> Self {
        Self::of(CtlExit::Unreachable, words)
    }

    pub(super) fn timed_out(words: impl Into<String>) -> Self {
        Self::of(CtlExit::TimedOut, words)
    }

    fn foreign(url: &str, said: &str) -> Self {
        Self::unreachable(format!("{url} does not answer as Signalbox does: {said}"))
    }

    /// Returns the failure for a status of the server at `url`; `has_token` says if a token was shown.
    pub(super) fn of_status(status: &Status, url: &str, has_token: bool) -> Self {
        let said = plain(status.message());
        if NO_GRPC.iter().any(|words| status.message().contains(words)) {
            let words = format!("{url} speaks HTTP and no gRPC; it is not the API port of Signalbox");
            return Self::unreachable(words);
        }
        match status.code() {
            Code::Unauthenticated if has_token => Self::refused(format!(
                "the server refuses the token ({said}); give another one with --token, SIGNALBOX_CTL_TOKEN or ctl.toml"
            )),
            Code::Unauthenticated => Self::refused(format!(
                "the server asks for an operator token ({said}); give one with --token, SIGNALBOX_CTL_TOKEN or ctl.toml"
            )),
            Code::Unimplemented => Self::refused(format!(
                "the server at {url} does not know this call; it is older than this ctl ({}), or another program",
                env!("CARGO_PKG_VERSION")
            )),
            Code::Aborted | Code::AlreadyExists => Self::of(CtlExit::Conflict, said),
            Code::DeadlineExceeded => Self::timed_out(said),
            Code::Unavailable => Self::unreachable(format!("the server at {url} is not available: {said}")),
            // Each status of a server of ours has details; these are of the client's library.
            Code::Internal if status.details().is_empty() => Self::foreign(url, &said),
            Code::Unknown | Code::Cancelled | Code::DataLoss => Self::foreign(url, &said),
            code => Self { is_missing: code == Code::NotFound, ..Self::refused(said) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_exit_status() {
        let exits = [
            (Code::InvalidArgument, CtlExit::Refused),
            (Code::NotFound, CtlExit::Refused),
            (Code::FailedPrecondition, CtlExit::Refused),
            (Code::PermissionDenied, CtlExit::Refused),
            (Code::Unauthenticated, CtlExit::Refused),
            (Code::ResourceExhausted, CtlExit::Refused),
            (Code::Internal, CtlExit::Unreachable),
            (Code::Unimplemented, CtlExit::Refused),
            (Code::Aborted, CtlExit::Conflict),
            (Code::AlreadyExists, CtlExit::Conflict),
            (Code::Unavailable, CtlExit::Unreachable),
            (Code::Unknown, CtlExit::Unreachable),
            (Code::DeadlineExceeded, CtlExit::TimedOut),
        ];
        for (code, exit) in exits {
            assert_eq!(CtlFailure::of_status(&Status::new(code, "no"), "http://a", true).exit, exit, "{code:?}");
        }
    }

    #[test]
    fn the_words_of_a_server_are_one_line_without_escapes() {
        let hostile = Status::new(Code::NotFound, "no\n\u{1b}[2Jroute\r");
        let failure = CtlFailure::of_status(&hostile, "http://a", false);
        assert!(!failure.words.contains(char::is_control), "{:?}", failure.words);
    }
}
