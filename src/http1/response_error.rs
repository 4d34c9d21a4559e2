//! The reason why a backend gave no response, or not all of it.

use std::io;

/// The reason why a backend gave no response, or not all of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResponseError {
    /// The head, with the interim responses before it, is larger than [`super::HEAD_BYTES_MAX`], or has too many fields.
    #[error("the head of the answer is too large")]
    HeadTooLarge,
    /// The head is malformed, or another reader may give it another meaning.
    #[error("the answer is not HTTP")]
    Malformed,
    /// The body breaks its framing.
    #[error("the body of the answer is malformed: {0}")]
    MalformedBody(&'static str),
    /// The connection was closed before the end of the response.
    #[error("the connection was closed before the end of the answer")]
    Incomplete,
    /// The rest of the request cannot be sent, so that no response to all of it can come.
    #[error("the body of the request broke off")]
    RequestBroken,
    /// The connection failed.
    #[error("the connection was reset")]
    Io(#[from] io::Error),
}
