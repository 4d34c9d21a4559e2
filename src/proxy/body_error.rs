//! The reasons why a message body ends before its time.

use std::io;

use crate::http1::ResponseError;

/// The reason why a body broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// The request body grew past `max_body_size`.
    #[error("the body is larger than allowed")]
    TooLarge,
    /// The response came to its end and did not need the rest of the request body.
    #[error("nobody wants the rest of the body")]
    Abandoned,
    /// The client went away or broke the framing.
    #[error(transparent)]
    Source(#[from] hyper::Error),
    /// The other side reset the stream, or its connection ended.
    #[error(transparent)]
    Stream(#[from] h2::Error),
    /// The same for a stream of HTTP/3; and a body without the length that its head says.
    #[error(transparent)]
    #[cfg_attr(not(feature = "http3"), expect(dead_code, reason = "only HTTP/3 has it"))]
    Client(Box<dyn std::error::Error + Send + Sync>),
    /// The backend broke the response off.
    #[error(transparent)]
    Backend(#[from] ResponseError),
    /// The body could not be compressed.
    #[error(transparent)]
    Encoder(#[from] io::Error),
}

impl BodyError {
    /// True if a response broke off because the rest of its request could not be sent, which the backend has not caused.
    pub(crate) fn is_of_request(&self) -> bool {
        match self {
            Self::Backend(error) => matches!(error, ResponseError::RequestBroken),
            // This server resets the stream of a request whose body breaks off.
            Self::Stream(error) => error.is_reset() && !error.is_remote() && !error.is_library(),
            Self::TooLarge | Self::Abandoned | Self::Source(_) | Self::Client(_) | Self::Encoder(_) => false,
        }
    }
}
