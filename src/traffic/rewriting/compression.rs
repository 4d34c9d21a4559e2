//! True if a response is compressed on its way to the client, how, and what its head then says (RFC 9110 §8.4, §12.5.3).
//!
//! What it is not: the compressing, which is `proxy`'s. What must hold: a cache in between never gives a client a coding
//! that the client did not accept, nor joins parts of two codings.

use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH, VARY,
};
use http::{Method, StatusCode};

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentCoding {
    /// `br`
    Brotli,
    /// `zstd`
    Zstd,
    /// `gzip`
    Gzip,
}

/// How a body is to be compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompressionPlan {
    /// Into what.
    pub coding: ContentCoding,
    /// The time that the body is before, if that is known.
    pub length: Option<u64>,
}

/// Smaller bodies gain nothing: with their head they fill a packet or two either way.
const LENGTH_MIN: u64 = 1024;

/// In the order in which they are taken when the client likes them the same.
const CODINGS: [ContentCoding; 3] = [ContentCoding::Brotli, ContentCoding::Zstd, ContentCoding::Gzip];

/// They speak of bytes that the client does not get.
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("content-md5"),
];

impl ContentCoding {
    /// What a client wants above all; `None` if that is no coding at all, or none of these, or that nothing be changed
    /// (RFC 9111 §5.2.1.6).
    pub fn wanted(request: &HeaderMap) -> Option<Self> {
        if is_to_stay(request) {
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

    /// As fields name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }
}

/// How much a client likes a coding, in thousandths; `None` if it does not say. What cannot be read is not liked.
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

/// Of a number from 0 to 1 with at most three decimals (RFC 9110 §12.4.2).
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

/// The members of a list, however many fields it is spread over.
fn members<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','))
}

/// Decides on a response to a request with `method` from a client that wants `wanted`, and makes its head say so.
/// `None` if its body stays as it is.
pub fn plan_compression(
    method: &Method,
    wanted: Option<ContentCoding>,
    status: StatusCode,
    headers: &mut HeaderMap,
) -> Option<CompressionPlan> {
    if status == StatusCode::NOT_MODIFIED {
        // It must not loosen what the client's cache holds from an answer that was compressed.
        vary(headers);
        wanted.into_iter().for_each(|_| weaken(headers));
        return None;
    }
    let length = length(headers);
    if !may_be_recoded(status, headers) || length.is_some_and(|length| length < LENGTH_MIN) {
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

/// Drops what speaks of the bytes before they were compressed, from a head or from trailers.
pub fn drop_digests(fields: &mut HeaderMap) {
    for name in &DIGESTS {
        fields.remove(name);
    }
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

fn may_be_recoded(status: StatusCode, headers: &HeaderMap) -> bool {
    let bodiless = [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT].contains(&status) || status.is_informational();
    let encoded = members(headers, &CONTENT_ENCODING).any(|coding| !coding.trim().eq_ignore_ascii_case("identity"));
    !bodiless
        && status != StatusCode::PARTIAL_CONTENT
        && !headers.contains_key(CONTENT_RANGE)
        && !encoded
        && !is_to_stay(headers)
        && headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).is_some_and(is_compressible)
}

/// True if a message asks that content be left as it is.
fn is_to_stay(headers: &HeaderMap) -> bool {
    members(headers, &CACHE_CONTROL).any(|directive| directive.trim().eq_ignore_ascii_case("no-transform"))
}

/// True if what such a body holds becomes smaller; media that are compressed by themselves do not.
fn is_compressible(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence.ends_with("+json") || essence.ends_with("+xml") || essence.ends_with("+yaml") {
        return true;
    }
    match essence.split_once('/') {
        // Its events are small and wanted at once.
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

/// Tells caches that the answer depends on what the client accepts.
fn vary(headers: &mut HeaderMap) {
    let covers = |name: &str| name.trim() == "*" || name.trim().eq_ignore_ascii_case("accept-encoding");
    if !members(headers, &VARY).any(covers) {
        headers.append(VARY, HeaderValue::from_static("accept-encoding"));
    }
}

/// The bytes are others, the meaning is the same (RFC 9110 §8.8.1).
fn weaken(headers: &mut HeaderMap) {
    let Some(tag) = headers.get(ETAG).filter(|tag| tag.as_bytes().starts_with(b"\"")) else { return };
    if let Ok(weak) = HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()) {
        headers.insert(ETAG, weak);
    }
}

/// Makes entity tags of a request those of the backend again, as they were before [`plan_compression`] made them weak: a weak one never
/// matches in `If-Match` (RFC 9110 §13.1.1), and not every backend compares them as it should in `If-None-Match`.
pub fn strengthen_etags(request: &mut HeaderMap) {
    for name in [IF_MATCH, IF_NONE_MATCH] {
        if let Some(tags) = request.get(&name)
            && let Some(strong) = without_weakness(tags.as_bytes())
            && let Ok(strong) = HeaderValue::from_bytes(&strong)
        {
            request.insert(name, strong);
        }
    }
}

/// The same tags, the weak ones made strong; `None` if all are.
fn without_weakness(tags: &[u8]) -> Option<Vec<u8>> {
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
mod tests {
    use super::*;

    fn head(fields: &[(&str, &str)]) -> HeaderMap {
        let field = |(name, value): &(&str, &str)| (HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        fields.iter().map(field).fold(HeaderMap::new(), |mut all, (name, value)| {
            all.append(name, value);
            all
        })
    }

    #[test]
    fn the_coding_that_the_client_likes_best_is_taken() {
        use ContentCoding::{Brotli, Gzip, Zstd};
        let wanted = |accept: &str| ContentCoding::wanted(&head(&[("accept-encoding", accept)]));
        for (accept, coding) in [
            ("gzip, deflate, br, zstd", Some(Brotli)),
            ("gzip, zstd", Some(Zstd)),
            ("gzip", Some(Gzip)),
            ("X-GZIP", Some(Gzip)),
            ("br;q=0.5, gzip;q=0.8", Some(Gzip)),
            ("br ; q=0.5 , zstd;Q=0.51", Some(Zstd)),
            ("*", Some(Brotli)),
            ("*;q=0.1, br;q=0", Some(Zstd)),
            ("identity, gzip;q=0.5", None),
            ("identity;q=0.5, gzip;q=0.5", Some(Gzip)),
            ("identity;q=0, gzip;q=0.001", Some(Gzip)),
            ("gzip;q=0", None),
            ("gzip;q=0.000", None),
            ("gzip;q=2", None),
            ("gzip;q=0.1234", None),
            ("gzip;level=9", None),
            ("deflate", None),
            ("gzipped", None),
            ("", None),
        ] {
            assert_eq!(wanted(accept), coding, "{accept}");
        }
        assert_eq!(ContentCoding::wanted(&HeaderMap::new()), None, "who says nothing gets nothing");
        let as_it_is = head(&[("accept-encoding", "gzip"), ("cache-control", "max-age=0, no-transform")]);
        assert_eq!(ContentCoding::wanted(&as_it_is), None);
        let spread = head(&[("accept-encoding", "gzip;q=0.5"), ("accept-encoding", "zstd")]);
        assert_eq!(ContentCoding::wanted(&spread), Some(Zstd));
    }

    /// What becomes of a response with these fields, when the client wants zstd.
    fn recoded(status: u16, fields: &[(&str, &str)]) -> (Option<CompressionPlan>, HeaderMap) {
        let mut headers = head(fields);
        let status = StatusCode::from_u16(status).unwrap();
        let recoding = plan_compression(&Method::GET, Some(ContentCoding::Zstd), status, &mut headers);
        (recoding, headers)
    }

    const TEXT: (&str, &str) = ("content-type", "text/html; charset=utf-8");

    #[test]
    fn the_head_tells_what_the_body_has_become() {
        let before = [
            TEXT,
            ("content-length", "5000"),
            ("etag", "\"x\""),
            ("accept-ranges", "bytes"),
            ("digest", "sha-256=x"),
            ("repr-digest", "x"),
            ("vary", "Origin"),
        ];
        let (recoding, headers) = recoded(200, &before);
        assert_eq!(recoding, Some(CompressionPlan { coding: ContentCoding::Zstd, length: Some(5000) }));
        let after =
            [TEXT, ("etag", "W/\"x\""), ("vary", "Origin"), ("vary", "accept-encoding"), ("content-encoding", "zstd")];
        assert_eq!(headers, head(&after));
    }

    #[test]
    fn what_cannot_or_must_not_be_compressed_stays_as_it_is() {
        let same = |status: u16, fields: &[(&str, &str)]| {
            let (recoding, headers) = recoded(status, fields);
            assert_eq!((recoding, &headers), (None, &head(fields)), "{status} {fields:?}");
        };
        same(200, &[TEXT, ("content-encoding", "gzip")]);
        same(200, &[TEXT, ("content-length", "1023")]);
        same(200, &[TEXT, ("cache-control", "public, No-Transform")]);
        same(200, &[TEXT, ("content-range", "bytes 0-9/100")]);
        for status in [206, 204, 205, 101] {
            same(status, &[TEXT]);
        }
        same(200, &[]);
        for media_type in ["text/event-stream", "image/png", "font/woff2", "application/octet-stream", "video/mp4"] {
            same(200, &[("content-type", media_type)]);
        }
    }

    #[test]
    fn what_can_be_compressed_varies_also_when_it_is_not() {
        let varying = |method: Method, wanted| {
            let mut headers = head(&[TEXT, ("content-length", "1024"), ("etag", "\"x\"")]);
            assert_eq!(plan_compression(&method, wanted, StatusCode::OK, &mut headers), None);
            assert_eq!(
                (&headers["vary"], &headers["etag"]),
                (&"accept-encoding".parse().unwrap(), &"\"x\"".parse().unwrap())
            );
        };
        varying(Method::GET, None);
        varying(Method::HEAD, None);
        let (_, headers) = recoded(200, &[TEXT, ("vary", "Origin, Accept-Encoding")]);
        assert_eq!(headers.get_all("vary").iter().count(), 1);
    }

    #[test]
    fn the_head_alone_is_the_one_of_the_compressed_answer() {
        let fields = [TEXT, ("content-length", "5000"), ("etag", "\"x\"")];
        let (mut alone, mut whole) = (head(&fields), head(&fields));
        assert_eq!(plan_compression(&Method::HEAD, Some(ContentCoding::Gzip), StatusCode::OK, &mut alone), None);
        assert!(plan_compression(&Method::GET, Some(ContentCoding::Gzip), StatusCode::OK, &mut whole).is_some());
        assert_eq!(alone, whole);
    }

    #[test]
    fn tags_that_were_made_weak_are_made_strong_again() {
        for (tags, strong) in [
            ("W/\"x\"", "\"x\""),
            ("\"x\"", "\"x\""),
            ("W/\"x\", \"y\" ,W/\"W/\"", "\"x\", \"y\" ,\"W/\""),
            ("\"aW/\",\"b\"", "\"aW/\",\"b\""),
            ("*", "*"),
            ("W/", "W/"),
        ] {
            let mut request = head(&[("if-match", tags), ("if-none-match", tags)]);
            strengthen_etags(&mut request);
            assert_eq!(request, head(&[("if-match", strong), ("if-none-match", strong)]), "{tags}");
        }
    }

    #[test]
    fn a_304_fits_the_answer_that_was_compressed() {
        let (recoding, headers) = recoded(304, &[("etag", "\"x\"")]);
        assert_eq!(recoding, None);
        assert_eq!(headers, head(&[("etag", "W/\"x\""), ("vary", "accept-encoding")]));
    }

    #[test]
    fn kinds_are_told_by_their_essence() {
        let kinds = ["text/plain", "Application/JSON", "application/problem+json", "image/svg+xml", "application/wasm"];
        assert!(kinds.into_iter().all(is_compressible));
        assert!(
            ["application/zip", "nonsense", "", "multipart/x-mixed-replace"]
                .into_iter()
                .all(|kind| !is_compressible(kind))
        );
    }
}
