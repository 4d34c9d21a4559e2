//! Lines that stage routes, and the one that lists them.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Number, Value};

use crate::domain::{BackendUrl, Error, Host, Kind, PathPrefix};
use crate::registry::commands::{NewRoute, RouteAdd, RouteAddBulk, RouteField, RouteRemove, RouteUpdate};
use crate::registry::{Call, Query};

use super::fields::{CommandRow, Fields, Split};
use super::request::{Form, LineRefusal, Parsed, Request, split};

/// The commands of this group, in the order of the protocol.
pub(super) const TABLE: &[CommandRow] = &[
    ("ROUTE_ADD", add),
    ("ROUTE_ADD_BULK", add_bulk),
    ("ROUTE_UPDATE", update),
    ("ROUTE_REMOVE", remove),
    ("ROUTE_LIST", list),
];

fn add<'a>(fields: Fields<'a, '_>) -> Parsed<'a> {
    let names = ["domains", "path", "backend_url", "priority"];
    fields.command("ROUTE_OK", names, |session, [domains, path, backend, priority]| {
        let route = NewRoute {
            domains: Host::parse_list(domains)?,
            path: PathPrefix::parse(path)?,
            backend: BackendUrl::parse(backend)?,
            priority: self::priority(priority)?,
        };
        Ok(RouteAdd { session, route })
    })
}

fn priority(text: &str) -> Result<i32, Error> {
    if text.is_empty() { Ok(0) } else { text.parse().map_err(|_| bad_priority()) }
}

fn bad_priority() -> Error {
    Error::invalid("priority", "must be a whole number from -2147483648 to 2147483647")
}

const ADD_BULK: &str =
    r#"session_id|[{"domains":["shop.example"],"path":"/","backend_url":"http://127.0.0.1:3000","priority":0}]"#;
/// The maximum length of an entry of a bulk reply, with its comma.
const BULK_ENTRY_BYTES: usize = r#"{"route_id":"r4294967295","status":"ok"},"#.len();
/// The maximum length of the rest of a bulk reply: word, transaction id, brackets, line end.
const BULK_REST_BYTES: usize = 300;

/// Returns the maximum number of routes whose bulk reply fits `reply_max` bytes in any case. More routes are refused
/// before any is staged.
pub(super) const fn bulk_max(reply_max: usize) -> usize {
    reply_max.saturating_sub(BULK_REST_BYTES) / BULK_ENTRY_BYTES
}

/// Reads `ROUTE_ADD_BULK`. The JSON extends to the end of the line; a field before it that does not begin with `[` is a
/// transaction id.
fn add_bulk<'a>(mut fields: Fields<'a, '_>) -> Parsed<'a> {
    let (session, payload) = fields.rest().map(split).unwrap_or_default();
    let Some(payload) = payload else { return Err(fields.usage(ADD_BULK)) };
    let (transaction, json) = match split(payload) {
        (id, Some(json)) if !payload.trim_start().starts_with('[') => (Some(id), json),
        _ => (None, payload),
    };
    // No JSON ends with `|`: it comes from an empty field after the JSON.
    let json = json.strip_suffix('|').unwrap_or(json);
    let most = fields.bulk_max();
    let line = fields.line(session, transaction, [("routes", json)], json)?;
    let routes = new_routes(line.fields, most).map_err(|error| LineRefusal::Wrong { transaction, error })?;
    let command = RouteAddBulk { session: line.session, routes };
    Ok(Request { transaction, word: "ROUTE_BULK_OK", call: Call::Command(command.into()), form: Form::Plain })
}

/// A route of a bulk line. Unknown keys are ignored.
#[derive(Deserialize)]
struct BulkEntry {
    #[serde(default)]
    domains: Value,
    #[serde(default)]
    path: Value,
    #[serde(default)]
    backend_url: Value,
    #[serde(default)]
    priority: Value,
}

fn new_routes(json: &str, most: usize) -> Result<Vec<NewRoute>, Error> {
    let entries: Vec<&RawValue> = serde_json::from_str(json).map_err(|error| not_json("routes", &error))?;
    if entries.is_empty() {
        return Err(Error::invalid("routes", "the array is empty; at least one route is needed"));
    }
    if entries.len() > most {
        let message = format!("routes: {} are too many for one line; at most {most}", entries.len());
        return Err(Error::new(Kind::Limited, message));
    }
    let numbered = entries.iter().zip(1..);
    numbered.map(|(entry, number)| new_route(entry).map_err(|error| error.within(&format!("route {number}")))).collect()
}

fn new_route(entry: &RawValue) -> Result<NewRoute, Error> {
    let text = entry.get();
    if !text.starts_with('{') {
        return Err(Error::new(Kind::Invalid, "must be a JSON object"));
    }
    let entry: BulkEntry = serde_json::from_str(text).map_err(|error| Error::new(Kind::Invalid, cause(&error)))?;
    Ok(NewRoute {
        domains: domains(&entry.domains)?,
        path: PathPrefix::parse(string("path", &entry.path)?)?,
        backend: BackendUrl::parse(string("backend_url", &entry.backend_url)?)?,
        priority: json_priority(&entry.priority)?,
    })
}

/// Reads an array of host names, or one string with commas.
fn domains(value: &Value) -> Result<Vec<Host>, Error> {
    let Value::Array(names) = value else { return Host::parse_list(string("domains", value)?) };
    let names = names.iter().map(|name| name.as_str().ok_or_else(|| Error::invalid("domains", "must be strings")));
    Host::gather(names.collect::<Result<Vec<&str>, Error>>()?)
}

fn string<'a>(field: &'static str, value: &'a Value) -> Result<&'a str, Error> {
    match value {
        Value::String(text) if !text.is_empty() => Ok(text),
        Value::String(_) => Err(Error::invalid(field, "is empty")),
        Value::Null => Err(Error::invalid(field, "is missing")),
        _ if field == "domains" => Err(Error::invalid(field, "must be an array of strings")),
        _ => Err(Error::invalid(field, "must be a string")),
    }
}

/// Reads a number as clients of many languages write it: `5`, `5.0`, `"5"`.
fn json_priority(value: &Value) -> Result<i32, Error> {
    match value {
        Value::Null => Ok(0),
        Value::String(text) => match serde_json::from_str(text.trim()) {
            Ok(Value::Number(number)) => whole(&number).ok_or_else(bad_priority),
            _ => priority(text.trim()),
        },
        Value::Number(number) => whole(number).ok_or_else(bad_priority),
        _ => Err(bad_priority()),
    }
}

fn whole(number: &Number) -> Option<i32> {
    if let Some(whole) = number.as_i64() {
        return i32::try_from(whole).ok();
    }
    let float = number.as_f64().filter(|float| float.fract() == 0.0)?;
    let in_range = (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&float);
    #[expect(clippy::cast_possible_truncation, reason = "it is whole and in the range")]
    in_range.then_some(float as i32)
}

fn not_json(field: &'static str, error: &serde_json::Error) -> Error {
    Error::invalid(field, format!("needs a JSON array of objects, [{{...}}, {{...}}]: {}", cause(error)))
}

/// Returns the message of the JSON reader in terms of JSON, without the line number, which is always 1.
fn cause(error: &serde_json::Error) -> String {
    let words = error.to_string().replace("invalid type: map, expected a sequence", "it is an object");
    let words = words.split(" at line ").next().unwrap_or_default();
    let shown: String = words.chars().take(200).collect();
    format!("{shown} at column {}", error.column())
}

fn update<'a>(fields: Fields<'a, '_>) -> Parsed<'a> {
    fields.command("ROUTE_OK", ["route_id", "field", "value"], |session, [id, field, value]| {
        Ok(RouteUpdate { session, id: id.parse()?, field: route_field(field, value)? })
    })
}

fn route_field(field: &str, value: &str) -> Result<RouteField, Error> {
    match field {
        "backend_url" => BackendUrl::parse(value).map(RouteField::Backend),
        "priority" => priority(value).map(RouteField::Priority),
        "domains" => Host::parse_list(value).map(RouteField::Domains),
        "path" => PathPrefix::parse(value).map(RouteField::Path),
        _ => Err(Error::invalid("field", "must be backend_url, priority, domains or path")),
    }
}

fn remove<'a>(fields: Fields<'a, '_>) -> Parsed<'a> {
    fields.command("ROUTE_OK", ["route_id"], |session, [id]| Ok(RouteRemove { session, id: id.parse()? }))
}

/// Reads `ROUTE_LIST`. `compressed` is never a transaction id.
fn list<'a>(mut fields: Fields<'a, '_>) -> Parsed<'a> {
    let all = fields.split_all();
    let (session, transaction, form) = match all.as_ref().map_or(&[][..], Split::trimmed) {
        [session] => (*session, None, Form::Plain),
        [session, "compressed"] => (*session, None, Form::Compressed),
        [session, transaction] => (*session, Some(*transaction), Form::Plain),
        [session, transaction, "compressed"] => (*session, Some(*transaction), Form::Compressed),
        _ => return Err(fields.usage("session_id[|compressed]")),
    };
    let line = fields.line(session, transaction, [], ())?;
    Ok(Request { transaction, word: "ROUTE_LIST_OK", call: Call::Query(Query::RouteList(line.session)), form })
}
