//! The HTTP/1.1 client of one connection to a backend.

use hyper::client::conn::http1;

use super::upstream_io::HEAD_BYTES_MAX;

/// What reads a backend's responses, behind a [`UpstreamIo`].
pub(crate) fn client_builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX).title_case_headers(true);
    // RFC 9112 §5.1 has a proxy take them away.
    builder.allow_spaces_after_header_name_in_responses(true);
    // Lines that are no fields are dropped; those that matter were looked at before.
    builder.ignore_invalid_headers_in_responses(true);
    builder
}
