//! The head of a backend's response: its fields, and what they say of the body and the connection.
//!
//! A regular head is read where it stands. One that is irregular is normalized first. Invariants: a head that can be read in two
//! ways is an error.

use std::mem::MaybeUninit;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version};
use httparse::Status;
use hyper::ext::ReasonPhrase;

use super::normalize::{head_end, may_be_http, normalize};
use super::response_error::ResponseError;

/// The most fields of a head.
const FIELDS_MAX: usize = 1024;
/// The number of fields up to which a head is read without an allocation.
const USUAL_FIELDS_MAX: usize = 96;

/// The head of a response.
#[derive(Debug)]
pub(super) struct ResponseHead {
    pub(super) response: Response<()>,
    pub(super) framing: ResponseFraming,
    /// True if the backend keeps the connection open after the response.
    pub(super) keeps_alive: bool,
    /// The bytes of an interim head.
    pub(super) interim: Bytes,
}

/// The way in which the end of a body is found (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResponseFraming {
    Length(u64),
    Chunked,
    UntilClose,
}

impl ResponseHead {
    /// True if another head follows it (RFC 9110 §15.2).
    pub(super) fn is_interim(&self) -> bool {
        self.response.status().is_informational() && !self.is_switch()
    }

    /// True if the connection carries another protocol after it.
    pub(super) fn is_switch(&self) -> bool {
        self.response.status() == StatusCode::SWITCHING_PROTOCOLS
    }

    /// Returns the framing of the body in the answer to a request with this method (RFC 9112 §6.3).
    pub(super) fn framing_of(&self, method: &Method) -> ResponseFraming {
        let without = [StatusCode::SWITCHING_PROTOCOLS, StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED];
        let has_no_body = method == Method::HEAD || without.contains(&self.response.status());
        if has_no_body { ResponseFraming::Length(0) } else { self.framing }
    }
}

/// Takes the first head off `received`. Returns `None` if it is incomplete.
///
/// # Errors
/// If it is malformed, or has too many fields.
pub(super) fn take_head(received: &mut BytesMut) -> Result<Option<ResponseHead>, ResponseError> {
    let mut places = [FieldPlace::default(); USUAL_FIELDS_MAX];
    let mut lines = [const { MaybeUninit::uninit() }; USUAL_FIELDS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut parsed, received, &mut lines) {
        Ok(Status::Partial) => return Ok(None),
        Ok(Status::Complete(end)) if is_plainly_framed(&parsed) => {
            let summary = HeadSummary::of(&parsed, received).ok_or(ResponseError::Malformed)?;
            places.iter_mut().zip(&*parsed.headers).for_each(|(place, line)| *place = FieldPlace::of(line, received));
            let places = places.get(..parsed.headers.len()).unwrap_or_default();
            let bytes = received.split_to(end).freeze();
            return read_head(&bytes, &bytes, &summary, places).map(Some);
        }
        Ok(Status::Complete(_)) | Err(_) => {}
    }
    take_irregular_head(received)
}

/// Takes off a head that must be normalized or has very many fields.
#[cold]
fn take_irregular_head(received: &mut BytesMut) -> Result<Option<ResponseHead>, ResponseError> {
    if !may_be_http(received) {
        return Err(ResponseError::Malformed);
    }
    let Some(end) = head_end(received) else { return Ok(None) };
    let raw = received.split_to(end).freeze();
    let normalized = normalize(&raw).ok_or(ResponseError::Malformed)?;
    if normalized.fields > FIELDS_MAX {
        return Err(ResponseError::HeadTooLarge);
    }
    let head = Bytes::from(normalized.head);
    let mut lines = vec![httparse::EMPTY_HEADER; FIELDS_MAX + 1];
    let mut parsed = httparse::Response::new(&mut lines);
    let mut config = httparse::ParserConfig::default();
    // A proxy must remove the space (RFC 9112 §5.1); lines that are no fields were dropped.
    config.allow_spaces_after_header_name_in_responses(true);
    if !config.parse_response(&mut parsed, &head).is_ok_and(|status| status.is_complete()) {
        return Err(ResponseError::Malformed);
    }
    let summary = HeadSummary::of(&parsed, &head).ok_or(ResponseError::Malformed)?;
    let places: Vec<FieldPlace> = parsed.headers.iter().map(|line| FieldPlace::of(line, &head)).collect();
    read_head(&head, &raw, &summary, &places).map(Some)
}

/// True if the head has no transfer coding, or `chunked` once and nothing else. All others are normalized.
fn is_plainly_framed(head: &httparse::Response<'_, '_>) -> bool {
    let is_coding = |line: &&httparse::Header<'_>| line.name.eq_ignore_ascii_case(TRANSFER_ENCODING.as_str());
    let mut codings = head.headers.iter().filter(is_coding);
    codings.next().is_none_or(|line| head.version == Some(1) && is_chunked(line.value)) && codings.next().is_none()
}

fn is_chunked(coding: &[u8]) -> bool {
    coding.trim_ascii().eq_ignore_ascii_case(b"chunked")
}

/// A part of a head: where it begins, and its length. Heads are far shorter than what a `u32` counts.
#[derive(Clone, Copy, Default)]
struct Part(u32, u32);

impl Part {
    fn of(part: &[u8], head: &[u8]) -> Self {
        if part.is_empty() {
            // It may stand anywhere.
            return Self::default();
        }
        let from = part.as_ptr().addr().wrapping_sub(head.as_ptr().addr());
        Self(u32::try_from(from).unwrap_or(u32::MAX), u32::try_from(part.len()).unwrap_or(u32::MAX))
    }

    fn range(self) -> Range<usize> {
        self.0 as usize..self.0 as usize + self.1 as usize
    }
}

/// The places of a field's name and value in a head.
#[derive(Clone, Copy, Default)]
struct FieldPlace {
    name: Part,
    value: Part,
}

impl FieldPlace {
    fn of(line: &httparse::Header<'_>, head: &[u8]) -> Self {
        Self { name: Part::of(line.name.as_bytes(), head), value: Part::of(line.value, head) }
    }
}

/// The status line of a head.
struct HeadSummary {
    status: StatusCode,
    version: Version,
    /// The place of the reason phrase, if it is not the usual one.
    reason: Option<Part>,
}

impl HeadSummary {
    /// Returns `None` if the status is none.
    fn of(head: &httparse::Response<'_, '_>, bytes: &[u8]) -> Option<Self> {
        let status = head.code.and_then(|code| StatusCode::from_u16(code).ok())?;
        let version = if head.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
        let unusual = head.reason.filter(|reason| Some(*reason) != status.canonical_reason());
        Some(Self { status, version, reason: unusual.map(|reason| Part::of(reason.as_bytes(), bytes)) })
    }
}

/// Reads the fields of a head, and what they say of the body and the connection. `raw` is the head as it came.
fn read_head(
    head: &Bytes,
    raw: &Bytes,
    summary: &HeadSummary,
    places: &[FieldPlace],
) -> Result<ResponseHead, ResponseError> {
    let mut headers = HeaderMap::with_capacity(places.len());
    let mut connection = ConnectionFields::default();
    for place in places {
        let name = head.get(place.name.range()).unwrap_or_default();
        let name = HeaderName::from_bytes(name).map_err(|_| ResponseError::Malformed)?;
        let value = HeaderValue::from_maybe_shared(head.slice(place.value.range()));
        let value = value.map_err(|_| ResponseError::Malformed)?;
        connection.note(&name, &value)?;
        // It says nothing besides what was noted.
        if name != CONNECTION || !is_usual_connection(value.as_bytes()) {
            headers.append(name, value);
        }
    }
    let is_old = summary.version == Version::HTTP_10;
    let framing = match (connection.coding, connection.length) {
        (Some(_), _) if is_old => return Err(ResponseError::Malformed),
        (Some(true), _) => ResponseFraming::Chunked,
        (None, Some(length)) => ResponseFraming::Length(length),
        (Some(false), _) | (None, None) => ResponseFraming::UntilClose,
    };
    let mut response = Response::new(());
    (*response.status_mut(), *response.version_mut(), *response.headers_mut()) =
        (summary.status, summary.version, headers);
    if let Some(reason) = summary.reason {
        let reason = ReasonPhrase::try_from(head.slice(reason.range())).map_err(|_| ResponseError::Malformed)?;
        response.extensions_mut().insert(reason);
    }
    let keeps_alive = !connection.closes && (!is_old || connection.keeps_alive);
    let mut head = ResponseHead { response, framing, keeps_alive, interim: Bytes::new() };
    if head.is_interim() {
        head.interim = raw.clone();
    }
    Ok(head)
}

/// True if a `Connection` line only says if the connection goes on.
fn is_usual_connection(line: &[u8]) -> bool {
    line.eq_ignore_ascii_case(b"keep-alive") || line.eq_ignore_ascii_case(b"close")
}

/// The meaning of the fields of a head for the body and the connection.
#[derive(Default)]
struct ConnectionFields {
    closes: bool,
    keeps_alive: bool,
    length: Option<u64>,
    // True if the last transfer coding is `chunked`.
    coding: Option<bool>,
}

impl ConnectionFields {
    fn note(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<(), ResponseError> {
        if *name == CONTENT_LENGTH {
            // The same length may be said more than once (RFC 9112 §6.3).
            for length in value.as_bytes().split(|byte| *byte == b',') {
                let length = parse_length(length.trim_ascii()).ok_or(ResponseError::Malformed)?;
                if self.length.is_some_and(|before| before != length) {
                    return Err(ResponseError::Malformed);
                }
                self.length = Some(length);
            }
        } else if *name == CONNECTION {
            let has = |wanted: &[u8]| {
                value
                    .as_bytes()
                    .split(|byte| *byte == b',')
                    .any(|token| token.trim_ascii().eq_ignore_ascii_case(wanted))
            };
            self.closes |= has(b"close");
            self.keeps_alive |= has(b"keep-alive");
        } else if *name == TRANSFER_ENCODING {
            self.coding = value.as_bytes().rsplit(|byte| *byte == b',').next().map(is_chunked);
        }
        Ok(())
    }
}

/// Reads a length: digits and nothing else (RFC 9110 §8.6).
fn parse_length(digits: &[u8]) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()
}
