//! The decision to compress a response, and the head that the response then has (RFC 9110 §8.4, §12.5.3).
//!
//! The body is compressed in `proxy`. Invariants: no cache in between gives a client a coding that it did not accept, or
//! joins parts of two codings.

use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH, VARY,
};
use http::{Method, StatusCode};

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentCoding {
    /// `br`.
    Brotli,
    /// `zstd`.
    Zstd,
    /// `gzip`.
    Gzip,
}

/// The plan to compress a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompressionPlan {
    /// The coding to use.
    pub coding: ContentCoding,
    /// The length of the body in bytes before it is compressed, if it is known.
    pub length: Option<u64>,
}

/// The least length in bytes of a body that is compressed: a smaller one fills one or two packets either way.
const LENGTH_MIN: u64 = 1024;

/// The codings in the order of preference among those that the client likes equally.
const CODINGS: [ContentCoding; 3] = [ContentCoding::Brotli, ContentCoding::Zstd, ContentCoding::Gzip];

/// Fields with digests of the bytes before they were compressed.
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("content-md5"),
];

impl ContentCoding {
    /// Returns the coding that a client prefers; `None` if it prefers no coding, accepts none of these, or forbids a
    /// transformation (RFC 9111 §5.2.1.6).
    pub fn wanted(request: &HeaderMap) -> Option<Self> {
        if forbids_transform(request) {
            return None;
        }
        let identity = weight(request, "identity").unwrap_or(0);
        let mut best = None;
        let mut best_weight = identity.max(1);
        for coding in CODINGS.into_iter().rev() {
            let weight = coding.weight(request).or_else(|| weight(request, "*")).unwrap_or(0);
            if weight >= best_weight {
                (best, best_weight) = (Some(coding), weight);
            }
        }
        best
    }

    fn weight(self, request: &HeaderMap) -> Option<u16> {
        let old = if self == Self::Gzip { weight(request, "x-gzip") } else { None };
        weight(request, self.name()).or(old)
    }

    /// Returns the name in header fields.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }
}

/// Returns the client's weight of a coding in thousandths; `None` if it gives none. An unreadable weight is 0.
fn weight(request: &HeaderMap, name: &str) -> Option<u16> {
    members(request, &ACCEPT_ENCODING).find_map(|member| {
        let (coding, parameters) = member.split_once(';').unwrap_or((member, ""));
        if !coding.trim().eq_ignore_ascii_case(name) {
            return None;
        }
        let parameter = parameters.trim();
        let quality = parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q="));
        Some(if parameter.is_empty() { 1000 } else { quality.and_then(thousandths).unwrap_or(0) })
    })
}

/// Reads a number from 0 to 1 with at most three decimals (RFC 9110 §12.4.2).
fn thousandths(quality: &str) -> Option<u16> {
    let (whole, decimals) = quality.trim().split_once('.').unwrap_or((quality.trim(), ""));
    let digits = decimals.len() <= 3 && decimals.bytes().all(|byte| byte.is_ascii_digit());
    let thousandths: u16 = format!("{decimals:0<3}").parse().ok().filter(|_| digits)?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

/// Returns the members of a list that may span several fields.
fn members<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','))
}

/// Decides if a response is compressed, and rewrites its head for that. `wanted` is the coding that the client prefers.
/// Returns `None` if the body stays as it is.
pub fn plan_compression(
    method: &Method,
    wanted: Option<ContentCoding>,
    status: StatusCode,
    headers: &mut HeaderMap,
) -> Option<CompressionPlan> {
    if status == StatusCode::NOT_MODIFIED {
        // A 304 must not weaken what the client's cache keeps from a compressed response.
        vary(headers);
        wanted.into_iter().for_each(|_| weaken(headers));
        return None;
    }
    let length = length(headers);
    if !may_be_compressed(status, headers) || length.is_some_and(|length| length < LENGTH_MIN) {
        return None;
    }
    vary(headers);
    let coding = wanted?;
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    headers.remove(CONTENT_LENGTH);
    headers.remove(ACCEPT_RANGES);
    drop_digests(headers);
    weaken(headers);
    // The head is the same as for `GET` (RFC 9110 §9.3.2).
    (*method != Method::HEAD).then_some(CompressionPlan { coding, length })
}

/// Removes digests of the bytes before they were compressed, from a head or from trailers.
pub fn drop_digests(fields: &mut HeaderMap) {
    for name in &DIGESTS {
        fields.remove(name);
    }
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

fn may_be_compressed(status: StatusCode, headers: &HeaderMap) -> bool {
    let bodiless = [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT].contains(&status) || status.is_informational();
    let encoded = members(headers, &CONTENT_ENCODING).any(|coding| !coding.trim().eq_ignore_ascii_case("identity"));
    !bodiless
        && status != StatusCode::PARTIAL_CONTENT
        && !headers.contains_key(CONTENT_RANGE)
        && !encoded
        && !forbids_transform(headers)
        && headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).is_some_and(is_compressible)
}

/// Returns true if a message forbids a transformation of its content.
fn forbids_transform(headers: &HeaderMap) -> bool {
    members(headers, &CACHE_CONTROL).any(|directive| directive.trim().eq_ignore_ascii_case("no-transform"))
}

/// Returns true if bodies of a media type become smaller. Media that are compressed already do not.
fn is_compressible(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence.ends_with("+json") || essence.ends_with("+xml") || essence.ends_with("+yaml") {
        return true;
    }
    match essence.split_once('/') {
        // Its events are small and are wanted at once.
        Some(("text", kind)) => kind != "event-stream",
        Some(("application", kind)) => APPLICATIONS.contains(&kind),
        Some(("font", kind)) => ["ttf", "otf", "collection", "sfnt"].contains(&kind),
        Some(("image", kind)) => ["bmp", "x-icon", "vnd.microsoft.icon"].contains(&kind),
        _ => false,
    }
}

const APPLICATIONS: &[&str] = &[
    "ecmascript",
    "graphql",
    "javascript",
    "json",
    "jsonl",
    "json-seq",
    "sql",
    "toml",
    "vnd.ms-fontobject",
    "wasm",
    "x-font-opentype",
    "x-font-otf",
    "x-font-truetype",
    "x-font-ttf",
    "x-javascript",
    "x-ndjson",
    "x-sh",
    "x-yaml",
    "xml",
    "yaml",
];

/// Tells caches that the response depends on `Accept-Encoding`.
fn vary(headers: &mut HeaderMap) {
    let covers = |name: &str| name.trim() == "*" || name.trim().eq_ignore_ascii_case("accept-encoding");
    if !members(headers, &VARY).any(covers) {
        headers.append(VARY, HeaderValue::from_static("accept-encoding"));
    }
}

/// Makes a strong entity tag weak: the bytes differ, the meaning is the same (RFC 9110 §8.8.1).
fn weaken(headers: &mut HeaderMap) {
    let Some(tag) = headers.get(ETAG).filter(|tag| tag.as_bytes().starts_with(b"\"")) else { return };
    if let Ok(weak) = HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()) {
        headers.insert(ETAG, weak);
    }
}

/// Gives the entity tags of a request the form that the backend sent, which [`plan_compression`] made weak. A weak tag never
/// matches in `If-Match` (RFC 9110 §13.1.1), and not every backend compares them correctly in `If-None-Match`.
pub fn strengthen_etags(request: &mut HeaderMap) {
    for name in [IF_MATCH, IF_NONE_MATCH] {
        if let Some(tags) = request.get(&name)
            && let Some(strong) = without_weak_marks(tags.as_bytes())
            && let Ok(strong) = HeaderValue::from_bytes(&strong)
        {
            request.insert(name, strong);
        }
    }
}

/// Returns the tags with the weak ones made strong; `None` if all are strong.
fn without_weak_marks(tags: &[u8]) -> Option<Vec<u8>> {
    let (mut strong, mut quoted, mut at) = (Vec::with_capacity(tags.len()), false, 0);
    while let Some(&byte) = tags.get(at) {
        if !quoted && tags.get(at..).is_some_and(|rest| rest.starts_with(b"W/\"")) {
            at += 2;
            continue;
        }
        quoted ^= byte == b'"';
        strong.push(byte);
        at += 1;
    }
    (strong.len() < tags.len()).then_some(strong)
}

#[cfg(test)]
mod tests;
