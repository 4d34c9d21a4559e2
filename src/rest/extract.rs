//! Extractors: bodies, path segments, query strings and preconditions, read into types that cannot be wrong.
//!
//! It knows no call. Invariants: every request is read or refused with a problem; no body is read beyond its limit.

use std::error::Error as _;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use axum::extract::rejection::{QueryRejection, RawPathParamsRejection};
use axum::extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, IF_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use bytes::Bytes;
use http_body_util::LengthLimitError;
use serde::de::value::{MapAccessDeserializer, MapDeserializer};
use serde::de::{DeserializeOwned, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use tokio::time::timeout;

use super::problem::Problem;
use super::state::RestState;
use crate::memory_budget::MemoryFull;

/// The time within which a body must arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// The maximum number of characters of a reader's message that a problem repeats.
const WORDS_MAX: usize = 300;

/// A body that is one JSON object.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<RestState> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &RestState) -> Result<Self, Problem> {
        let bytes = bytes_of(request, state.settings.max_body).await?.ok_or_else(no_body)?;
        read::<Object<T>>(&bytes).map(|object| Self(object.0))
    }
}

/// A body that is one JSON object. If it is missing, it has its defaults.
#[derive(Debug)]
pub(super) struct BodyOrDefault<T>(pub(super) T);

impl<T: DeserializeOwned + Default> FromRequest<RestState> for BodyOrDefault<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &RestState) -> Result<Self, Problem> {
        match bytes_of(request, state.settings.max_body).await? {
            Some(bytes) => read::<Object<T>>(&bytes).map(|object| Self(object.0)),
            None => Ok(Self(T::default())),
        }
    }
}

/// A body that is a JSON array of at least one object.
#[derive(Debug)]
pub(super) struct Bodies<T>(pub(super) Vec<T>);

impl<T: DeserializeOwned> FromRequest<RestState> for Bodies<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &RestState) -> Result<Self, Problem> {
        let bytes = bytes_of(request, state.settings.max_body).await?.ok_or_else(no_body)?;
        let Array(objects) = read::<Array<T>>(&bytes)?;
        if objects.is_empty() {
            return Err(Problem::invalid("the array is empty; at least one object is needed"));
        }
        Ok(Self(objects))
    }
}

fn no_body() -> Problem {
    Problem::invalid("a JSON body is needed, and there is none")
}

/// Returns the bytes of a body whose content type is JSON; `None` if it is empty.
async fn bytes_of(request: Request, limit: usize) -> Result<Option<Bytes>, Problem> {
    let (parts, body) = request.into_parts();
    let said = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if said.is_some_and(|length| length > limit) {
        return Err(Problem::too_large(limit));
    }
    if parts.headers.contains_key(CONTENT_TYPE) && !is_json(&parts.headers) {
        return Err(Problem::not_json());
    }
    let whole = timeout(BODY_TIMEOUT, axum::body::to_bytes(body, limit)).await;
    let bytes = whole.map_err(|_| Problem::too_slow(BODY_TIMEOUT))?.map_err(|error| {
        if is_full(&error) {
            return Problem::no_memory();
        }
        let too_large = error.source().is_some_and(<dyn std::error::Error>::is::<LengthLimitError>);
        if too_large { Problem::too_large(limit) } else { Problem::invalid("the body broke off") }
    })?;
    match bytes.is_empty() {
        true => Ok(None),
        false if is_json(&parts.headers) => Ok(Some(bytes)),
        false => Err(Problem::not_json()),
    }
}

/// Returns true if a body was not read because the memory budget is used up.
fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    error.is::<MemoryFull>() || error.source().is_some_and(is_full)
}

/// Returns true for `application/json` and `application/x+json`, with any parameters.
fn is_json(fields: &HeaderMap) -> bool {
    let said = fields.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = said.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let subtype = media_type.strip_prefix("application/");
    subtype.is_some_and(|subtype| subtype == "json" || subtype.ends_with("+json"))
}

/// Reads JSON. The problem names the place of an error.
fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let place = error.path().to_string();
        misread(&place, error.inner())
    })?;
    reader.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

fn malformed(error: &serde_json::Error) -> Problem {
    Problem::invalid(format!("the body is not JSON: {error}"))
}

fn misread(place: &str, error: &serde_json::Error) -> Problem {
    if !error.is_data() {
        return malformed(error);
    }
    // The message uses the terms of JSON, not those of the library.
    let words = error.to_string().replace("invalid type: map,", "invalid type: object,");
    let words = words.replace("invalid type: sequence,", "invalid type: array,");
    let words = words.replace("expected a sequence", "expected an array");
    let position = format!(" at line {} column {}", error.line(), error.column());
    let unplaced = words.strip_suffix(&position).unwrap_or(&words);
    // For the body as a whole there is no field to name.
    let is_whole = place == "." && unplaced.starts_with("invalid type");
    placed(place, if is_whole { &words } else { unplaced })
}

/// Returns the problem for a reader's message about `place`. The message alone names a field that is missing or
/// repeated.
fn placed(place: &str, words: &str) -> Problem {
    let words = shortened(words);
    let named = |beginning| words.strip_prefix(beginning).and_then(|rest: &str| rest.strip_suffix('`'));
    let (field, what) = match (named("missing field `"), named("duplicate field `")) {
        (Some(field), _) => (field, "is missing"),
        (_, Some(field)) => (field, "stands twice"),
        (None, None) => return Problem::wrong(place, &words),
    };
    match place {
        "." => Problem::wrong(field, &what),
        place => Problem::wrong(&format!("{place}.{field}"), &what),
    }
}

fn shortened(words: &str) -> String {
    words.chars().take(WORDS_MAX).collect()
}

/// A JSON object. An array of its values is refused.
#[derive(Debug)]
struct Object<T>(T);

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(ObjectVisitor(PhantomData)).map(Self)
    }
}

/// A JSON array of objects.
#[derive(Debug)]
struct Array<T>(Vec<T>);

struct ArrayVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ArrayVisitor<T> {
    type Value = Vec<T>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON array of objects, [{...}, {...}],")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Vec<T>, A::Error> {
        let mut objects = Vec::new();
        while let Some(Object(object)) = array.next_element()? {
            objects.push(object);
        }
        Ok(objects)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Array<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(ArrayVisitor(PhantomData)).map(Self)
    }
}

/// The variable segments of a path.
#[derive(Debug)]
pub(super) struct Segments<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<RestState> for Segments<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &RestState) -> Result<Self, Problem> {
        let segments = RawPathParams::from_request_parts(parts, state).await.map_err(|refused| match refused {
            RawPathParamsRejection::InvalidUtf8InPathParam(_) => Problem::invalid("the path is not valid UTF-8"),
            _ => Problem::fault(),
        })?;
        let named = MapDeserializer::<_, serde::de::value::Error>::new(segments.iter());
        let read = serde_path_to_error::deserialize(named);
        read.map(Self).map_err(|error| {
            let place = error.path().to_string();
            placed(&place, &error.inner().to_string())
        })
    }
}

/// The parameters of a query string.
#[derive(Debug)]
pub(super) struct UrlQuery<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<RestState> for UrlQuery<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &RestState) -> Result<Self, Problem> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(QueryRejection::FailedToDeserializeQueryString(failed)) => Err(bad_query(&failed.body_text())),
            Err(_) => Err(Problem::fault()),
        }
    }
}

fn bad_query(words: &str) -> Problem {
    let words = words.strip_prefix("Failed to deserialize query string: ").unwrap_or(words);
    match words.split_once(": ") {
        Some((field, rest)) if field.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') => {
            placed(field, rest)
        }
        _ => placed(".", words),
    }
}

/// The revisions that the caller accepts as the present one (RFC 9110 §13.1.1); `None` for any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IfMatch(pub(super) Option<Vec<u64>>);

impl FromRequestParts<RestState> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &RestState) -> Result<Self, Problem> {
        if_match(&parts.headers).map(Self).map_err(Problem::from)
    }
}

impl From<Malformed> for Problem {
    fn from(_: Malformed) -> Self {
        let words = "must be * or ETags as they were given, separated by commas, such as \"3\", \"4\"";
        Problem::wrong("If-Match", &words)
    }
}

/// The error for an `If-Match` that is not a list of entity tags.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Returns the revisions in all lines of `If-Match`; `None` if any revision is accepted.
pub(super) fn if_match(fields: &HeaderMap) -> Result<Option<Vec<u64>>, Malformed> {
    // Several lines are one list (RFC 9110 §5.3).
    let lines: Vec<&[u8]> = fields.get_all(IF_MATCH).iter().map(|line| line.as_bytes().trim_ascii()).collect();
    match lines.as_slice() {
        [] | [b"*"] => Ok(None),
        lines => {
            let mut revisions = Vec::new();
            lines.iter().try_for_each(|line| read_tags(line, &mut revisions)).ok_or(Malformed)?;
            Ok(Some(revisions))
        }
    }
}

/// Reads a list of entity tags (RFC 9110 §8.8.3), and adds the revisions of the strong tags. A weak tag never matches;
/// a tag that is no revision does not match either.
fn read_tags(mut line: &[u8], revisions: &mut Vec<u64>) -> Option<()> {
    loop {
        line = line.trim_ascii_start();
        // A list may have empty members (RFC 9110 §5.6.1.2).
        if let Some(rest) = line.strip_prefix(b",") {
            line = rest;
            continue;
        }
        if line.is_empty() {
            return Some(());
        }
        let (weak, opaque) = match line.strip_prefix(b"W/") {
            Some(opaque) => (true, opaque),
            None => (false, line),
        };
        let text = opaque.strip_prefix(b"\"")?;
        let end = memchr::memchr(b'"', text)?;
        let (tag, rest) = text.split_at_checked(end)?;
        if !tag.iter().all(|byte| matches!(byte, 0x21..=0x7E | 0x80..)) {
            return None;
        }
        line = rest.get(1..)?.trim_ascii_start();
        if !matches!(line.first(), None | Some(b',')) {
            return None;
        }
        revisions.extend(revision(tag).filter(|_| !weak));
    }
}

fn revision(digits: &[u8]) -> Option<u64> {
    let plain = digits.iter().all(u8::is_ascii_digit) && (digits == b"0" || !digits.starts_with(b"0"));
    if plain { std::str::from_utf8(digits).ok()?.parse().ok() } else { None }
}

/// Returns the value of a header field that may appear only once.
pub(super) fn only<'a>(fields: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = fields.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(Problem::wrong(name.as_str(), &"must stand once")),
        (Some(value), None) => {
            value.to_str().map(Some).map_err(|_| Problem::wrong(name.as_str(), &"must be visible ASCII"))
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;

    use super::super::routes::{NewRoute, RouteChange};
    use super::*;
    use crate::json::settings::RateLimit;

    async fn said(problem: Problem) -> (String, String) {
        let body = axum::body::to_bytes(problem.into_response().into_body(), 4096).await.unwrap();
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let text = |key: &str| json[key].as_str().unwrap_or_default().to_owned();
        (text("field"), text("detail"))
    }

    async fn limit(json: &str) -> (String, String) {
        said(read::<Object<RateLimit>>(json.as_bytes()).map(|_| ()).unwrap_err()).await
    }

    #[tokio::test]
    async fn invalid_json_is_named_with_its_line_and_column() {
        let (field, detail) = limit("{\n  \"requests\": ,\n}").await;
        assert_eq!((field.as_str(), detail.as_str()), ("", "the body is not JSON: expected value at line 2 column 15"));
        let (_, detail) = limit("{\"requests\":1,\"window\":\"1s\"} x").await;
        assert_eq!(detail, "the body is not JSON: trailing characters at line 1 column 30");
        let (_, detail) = limit("{\"requests\"").await;
        assert!(detail.contains("EOF while parsing an object at line 1 column 11"), "{detail}");
    }

    #[tokio::test]
    async fn a_wrong_value_is_said_with_its_field() {
        for (json, field, words) in [
            (r#"{"requests":0,"window":"1s"}"#, "requests", "must be a whole number from 1 to 1000000"),
            (r#"{"requests":1.5,"window":"1s"}"#, "requests", "must be a whole number from 1 to 1000000"),
            (r#"{"requests":"x","window":"1s"}"#, "requests", "expected a whole number from 1 to 1000000"),
            (r#"{"requests":1,"window":"1x"}"#, "window", "`1x` is not a positive duration"),
            (r#"{"requests":1}"#, "window", "is missing"),
            (r#"{"requests":1,"requests":1}"#, "requests", "stands twice"),
            (r#"{"requests":1,"window":"1s","foo":1}"#, "foo", "unknown field `foo`"),
            ("[1,\"1s\"]", "", "expected a JSON object"),
            ("null", "", "expected a JSON object"),
        ] {
            let (place, detail) = limit(json).await;
            assert_eq!(place, field, "{json}: {detail}");
            assert!(detail.contains(words), "{json}: {detail}");
        }
    }

    #[tokio::test]
    async fn a_wrong_value_in_a_list_is_said_with_its_place() {
        let json = r#"[{"domains":["a"],"path":"/","backend_url":"http://b"},{"domains":["a:1"],"path":"/","backend_url":"http://b"}]"#;
        let (field, detail) = said(read::<Array<NewRoute>>(json.as_bytes()).unwrap_err()).await;
        assert_eq!(field, "[1].domains", "{detail}");
        let (field, _) = said(read::<Array<NewRoute>>(b"[{\"path\":\"/\"}]").unwrap_err()).await;
        assert_eq!(field, "[0].domains");
        let (field, detail) = said(read::<Array<NewRoute>>(b"[[[\"a\"],\"/\",\"http://b\",0]]").unwrap_err()).await;
        assert_eq!((field.as_str(), detail.contains("a JSON object")), ("[0]", true), "{detail}");
    }

    #[tokio::test]
    async fn an_object_in_the_place_of_a_list_is_told_the_form_and_the_place() {
        let (field, detail) = said(read::<Array<NewRoute>>(b"\n {\"routes\":[]}").unwrap_err()).await;
        assert_eq!(field, "");
        assert!(
            detail.contains("object, expected a JSON array of objects, [{...}, {...}], at line 2 column"),
            "{detail}"
        );
    }

    #[tokio::test]
    async fn a_field_that_is_left_out_is_not_a_field_that_is_null() {
        assert!(read::<Object<RouteChange>>(b"{}").is_ok());
        let (field, _) = said(read::<Object<RouteChange>>(b"{\"priority\":null}").unwrap_err()).await;
        assert_eq!(field, "priority");
    }

    fn matches(lines: &[&str]) -> Result<Option<Vec<u64>>, Malformed> {
        if_match(&lines.iter().map(|line| (IF_MATCH, line.parse().unwrap())).collect())
    }

    #[test]
    fn entity_tags_are_read_as_a_list() {
        assert_eq!([matches(&[]), matches(&["*"]), matches(&[" * "])], [Ok(None), Ok(None), Ok(None)]);
        for (lines, revisions) in [
            (&["\"0\""][..], vec![0]),
            (&["\"17\""], vec![17]),
            (&["\"3\", \"4\""], vec![3, 4]),
            (&["\"3\",\"4\"\t, \"5\""], vec![3, 4, 5]),
            (&["\"3\"", "\"4\", \"5\""], vec![3, 4, 5]),
            (&[", \"3\",,"], vec![3]),
            (&["W/\"3\""], vec![]),
            (&["W/\"3\", \"4\""], vec![4]),
            (&["\"\"", "\"x,y\", \"03\", \"é\", \"99999999999999999999\""], vec![]),
            (&[""], vec![]),
            (&[","], vec![]),
        ] {
            assert_eq!(matches(lines), Ok(Some(revisions)), "{lines:?}");
        }
    }

    #[test]
    fn a_wrong_list_of_entity_tags_is_refused() {
        for lines in [
            &["3"][..],
            &["\""],
            &["\"3"],
            &["3\""],
            &["\"3\" \"4\""],
            &["\"3\"\"4\""],
            &["\"3\"; x"],
            &["w/\"3\""],
            &["W/3"],
            &["W/ \"3\""],
            &["\"a b\""],
            &["'3'"],
            &["*, \"3\""],
            &["\"3\", *"],
            &["*", "\"3\""],
            &["*", "*"],
            &["**"],
        ] {
            assert_eq!(matches(lines), Err(Malformed), "{lines:?}");
        }
    }
}
