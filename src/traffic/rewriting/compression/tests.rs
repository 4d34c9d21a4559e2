//! Tests of the choice of a coding and of the rewritten heads.

use super::*;

fn head(fields: &[(&str, &str)]) -> HeaderMap {
    let field = |(name, value): &(&str, &str)| (HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
    fields.iter().map(field).fold(HeaderMap::new(), |mut all, (name, value)| {
        all.append(name, value);
        all
    })
}

#[test]
fn the_coding_with_the_highest_weight_is_taken() {
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
    assert_eq!(ContentCoding::wanted(&HeaderMap::new()), None, "without the field nothing is compressed");
    let as_it_is = head(&[("accept-encoding", "gzip"), ("cache-control", "max-age=0, no-transform")]);
    assert_eq!(ContentCoding::wanted(&as_it_is), None);
    let spread = head(&[("accept-encoding", "gzip;q=0.5"), ("accept-encoding", "zstd")]);
    assert_eq!(ContentCoding::wanted(&spread), Some(Zstd));
}

/// Returns the plan and the head of a response with these fields for a client that wants zstd.
fn planned(status: u16, fields: &[(&str, &str)]) -> (Option<CompressionPlan>, HeaderMap) {
    let mut headers = head(fields);
    let status = StatusCode::from_u16(status).unwrap();
    let plan = plan_compression(&Method::GET, Some(ContentCoding::Zstd), status, &mut headers);
    (plan, headers)
}

const TEXT: (&str, &str) = ("content-type", "text/html; charset=utf-8");

#[test]
fn the_head_describes_the_compressed_body() {
    let before = [
        TEXT,
        ("content-length", "5000"),
        ("etag", "\"x\""),
        ("accept-ranges", "bytes"),
        ("digest", "sha-256=x"),
        ("repr-digest", "x"),
        ("vary", "Origin"),
    ];
    let (plan, headers) = planned(200, &before);
    assert_eq!(plan, Some(CompressionPlan { coding: ContentCoding::Zstd, length: Some(5000) }));
    let after =
        [TEXT, ("etag", "W/\"x\""), ("vary", "Origin"), ("vary", "accept-encoding"), ("content-encoding", "zstd")];
    assert_eq!(headers, head(&after));
}

#[test]
fn a_response_that_must_not_be_compressed_stays_as_it_is() {
    let same = |status: u16, fields: &[(&str, &str)]| {
        let (plan, headers) = planned(status, fields);
        assert_eq!((plan, &headers), (None, &head(fields)), "{status} {fields:?}");
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
fn a_compressible_response_varies_even_if_it_is_not_compressed() {
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
    let (_, headers) = planned(200, &[TEXT, ("vary", "Origin, Accept-Encoding")]);
    assert_eq!(headers.get_all("vary").iter().count(), 1);
}

#[test]
fn the_head_for_head_is_that_of_the_compressed_response() {
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
fn a_304_gets_the_head_of_the_compressed_response() {
    let (plan, headers) = planned(304, &[("etag", "\"x\"")]);
    assert_eq!(plan, None);
    assert_eq!(headers, head(&[("etag", "W/\"x\""), ("vary", "accept-encoding")]));
}

#[test]
fn media_types_are_judged_without_their_parameters() {
    let kinds = ["text/plain", "Application/JSON", "application/problem+json", "image/svg+xml", "application/wasm"];
    assert!(kinds.into_iter().all(is_compressible));
    assert!(
        ["application/zip", "nonsense", "", "multipart/x-mixed-replace"].into_iter().all(|kind| !is_compressible(kind))
    );
}
