//! The description of all calls (`OpenAPI` 3.1): the parts that they share.
//!
//! A handler describes what is specific to its call. This module adds what follows from the form of the call: the
//! callers and bodies that are refused, and the form of refusals. Invariant: every status that can be answered is
//! described.

use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::header::Header;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::response::Response;
use utoipa::openapi::schema::{Object, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, OpenApi, Ref, RefOr};
use utoipa::{OpenApi as _, PartialSchema, ToSchema};

use crate::domain::{HeaderKey, InstanceName, RouteId, ServiceName, Target};
use crate::json::numbers::Seconds;
use crate::registry::audit::AuditAction;

use super::problem::{MEDIA_TYPE, Problem, Reason};
use super::{call_order, refusal_examples, values};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Signalbox",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    servers((url = "/", description = "The server of this description.")),
    tags(
        (name = "sessions", description = "A service opens a session and keeps it alive."),
        (name = "routes", description = "Routes assign requests to backends. Changes are staged until applied."),
        (name = "settings", description = ""),
        (name = "config", description = "The staged and the active configuration."),
        (name = "operations", description = "Operations on a running session: breakers, drain, maintenance, statistics."),
        (name = "events", description = "Streams of events."),
        (name = "operators", description = "Calls about all instances, for operators and dashboards. No response contains a session id."),
    ),
)]
struct DescriptionHead;

/// Returns the description without calls.
pub(super) fn head() -> OpenApi {
    let mut api = DescriptionHead::openapi();
    env!("CARGO_PKG_VERSION").clone_into(&mut api.info.version);
    api.info.description = Some(call_order::INTRODUCTION.to_owned());
    api.tags.iter_mut().flatten().filter(|tag| tag.name == "settings").for_each(|tag| {
        tag.description = Some(call_order::settings());
    });
    api.extensions.get_or_insert_default().insert("x-call-order".to_owned(), call_order::ORDER.into());
    let components = api.components.get_or_insert_default();
    let bearer = |words: &str| {
        SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(words)).build())
    };
    components.add_security_scheme("session", bearer("The `session_id` of the registration."));
    components.add_security_scheme(
        "operator",
        bearer("An operator token. While the server has none, operators are answered on loopback, without a token."),
    );
    for (status, name, words) in REFUSALS {
        let mut response = Response::new(words);
        explain(status, &mut response, None);
        components.responses.insert(name.to_owned(), RefOr::T(response));
    }
    add::<Problem>(components);
    add::<Reason>(components);
    // These values are used only by paths, query strings and other values.
    add::<Seconds>(components);
    add::<Target>(components);
    add::<values::Places>(components);
    add::<HeaderKey>(components);
    add::<values::OptionName>(components);
    add::<RouteId>(components);
    add::<values::Topic>(components);
    add::<ServiceName>(components);
    add::<InstanceName>(components);
    add::<values::TopicList>(components);
    add::<values::InstanceRef>(components);
    add::<values::ActorText>(components);
    add::<AuditAction>(components);
    add::<values::RequestHost>(components);
    add::<values::RequestPath>(components);
    add::<values::Method>(components);
    add::<values::ETag>(components);
    add::<values::IfMatchTag>(components);
    api
}

fn add<T: ToSchema>(components: &mut Components) {
    components.schemas.insert(T::name().into_owned(), <T as PartialSchema>::schema());
}

/// Adds what follows from the form of each call.
pub(super) fn finish(mut api: OpenApi) -> OpenApi {
    for item in api.paths.paths.values_mut() {
        operations(item).for_each(complete);
    }
    api.components.iter_mut().flat_map(|components| components.schemas.values_mut()).for_each(merge_objects);
    api
}

/// Makes one object of a choice of objects: the keys of a payload stand side by side, also where several Rust types hold
/// them.
fn merge_objects(schema: &mut RefOr<Schema>) {
    let RefOr::T(Schema::AllOf(all)) = schema else { return };
    let parts = all.items.iter().map(|item| match item {
        RefOr::T(Schema::Object(object)) => Some(object),
        _ => None,
    });
    let Some(parts) = parts.collect::<Option<Vec<_>>>() else { return };
    let mut merged = Object::default();
    for part in parts {
        merged.properties.extend(part.properties.clone());
        merged.required.extend(part.required.clone());
    }
    merged.description.clone_from(&all.description);
    *schema = RefOr::T(Schema::Object(merged));
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch].into_iter().flatten()
}

/// The refusals that mean the same for all calls: name, status and description.
const REFUSALS: [(&str, &str, &str); 8] = [
    ("400", "Invalid", "The request is invalid; `field` names the wrong part, if it is known."),
    ("401", "Unauthenticated", "The bearer token is missing, malformed or unknown."),
    ("403", "Denied", "The call is for operators, or the request names a host that is not allowed."),
    ("408", "TimedOut", "The body did not arrive in time."),
    ("413", "TooLarge", "The body is too large."),
    ("415", "UnsupportedMediaType", "The body is not `application/json`."),
    ("500", "Internal", "An error inside the server."),
    ("503", "Unavailable", "The registry is not available now; nothing was changed."),
];

fn complete(operation: &mut Operation) {
    operation.parameters.iter_mut().flatten().for_each(|parameter| match parameter {
        RefOr::T(parameter) => parameter.schema.iter_mut().for_each(not_null),
        RefOr::Ref(_) => {}
    });
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        let schemas = body.content.values_mut().filter_map(|content| match content {
            RefOr::T(content) => content.schema.as_mut(),
            RefOr::Ref(_) => None,
        });
        schemas.for_each(not_null);
    }
    let schemes = serde_json::to_string(&operation.security).unwrap_or_default();
    let body = operation.request_body.is_some();
    let responses = &mut operation.responses.responses;
    for (status, name, _) in REFUSALS {
        let given = match status {
            "401" => schemes.contains("session") || schemes.contains("operator"),
            "408" | "413" | "415" => body,
            _ => true,
        };
        if given {
            responses.entry(status.to_owned()).or_insert_with(|| Ref::from_response_name(name).into());
        }
    }
    let call = operation.operation_id.as_deref().unwrap_or_default();
    for (status, response) in responses.iter_mut().filter(|(status, _)| status.as_str() >= "400") {
        let own = refusal_examples::of(call, status);
        if let (RefOr::Ref(_), Some(_)) = (&*response, &own) {
            let words = REFUSALS.iter().find(|row| row.0 == status).map_or("", |row| row.2);
            *response = RefOr::T(Response::new(words));
        }
        if let RefOr::T(response) = response {
            explain(status, response, own);
        }
    }
}

/// Removes `null` from the schema of an optional value: it may be left out, but not be `null`.
fn not_null(schema: &mut RefOr<Schema>) {
    let only = match schema {
        RefOr::T(Schema::OneOf(choice)) => {
            choice
                .items
                .retain(|item| !matches!(item, RefOr::T(Schema::Object(object)) if is_null(&object.schema_type)));
            if choice.items.len() == 1 { choice.items.pop() } else { None }
        }
        RefOr::T(Schema::Object(object)) => {
            if let SchemaType::Array(kinds) = &mut object.schema_type {
                kinds.retain(|kind| *kind != Type::Null);
                if let [only] = kinds.as_slice() {
                    object.schema_type = SchemaType::Type(only.clone());
                }
            }
            None
        }
        _ => None,
    };
    if let Some(only) = only {
        *schema = only;
    }
}

fn is_null(kind: &SchemaType) -> bool {
    matches!(kind, SchemaType::Type(Type::Null))
}

/// Describes a refusal as a problem, with an example of its own if there is one.
fn explain(status: &str, response: &mut Response, own: Option<serde_json::Value>) {
    let of_status = || serde_json::to_value(Problem::example(status, &response.description)?).ok();
    let example = own.or_else(of_status);
    let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name(Problem::name()))).example(example).build();
    response.content.insert(MEDIA_TYPE.to_owned(), RefOr::T(problem));
    let header = |schema: ObjectBuilder, words: &str| {
        let mut header = Header::new(schema);
        header.description = Some(words.to_owned());
        RefOr::T(header)
    };
    match status {
        "401" => {
            let challenge = header(ObjectBuilder::new().schema_type(Type::String), "`Bearer`.");
            response.headers.insert("WWW-Authenticate".to_owned(), challenge);
        }
        "429" | "503" => {
            let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
            let later = header(seconds, "Seconds after which it is worth trying again.");
            response.headers.insert("Retry-After".to_owned(), later);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use axum::http::StatusCode;
    use serde_json::Value;

    use super::super::router::document;
    use super::*;

    /// The command that writes the description in the repository.
    const REGENERATE: &str = "SIGNALBOX_REGENERATE=1 cargo test --lib rest::openapi";

    #[test]
    fn the_description_that_is_checked_in_is_the_one_that_is_served() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi/openapi.json");
        let served = serde_json::to_string_pretty(&document()).unwrap() + "\n";
        if std::env::var_os("SIGNALBOX_REGENERATE").is_some() {
            std::fs::write(&path, &served).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == served, "openapi/openapi.json is not what is served; run `{REGENERATE}` and look at the diff");
    }

    /// Returns every operation with its method and path.
    fn operations() -> Vec<(String, Value)> {
        let api = serde_json::to_value(document()).unwrap();
        let paths = api["paths"].as_object().unwrap().clone();
        let of = |(path, item): (String, Value)| {
            let methods = item.as_object().unwrap().clone();
            methods.into_iter().map(move |(method, operation)| (format!("{method} {path}"), operation))
        };
        paths.into_iter().flat_map(of).collect()
    }

    #[test]
    fn every_operation_has_a_name_a_summary_a_tag_and_says_who_may_call_it() {
        let mut names = std::collections::BTreeSet::new();
        for (place, operation) in operations() {
            let name = operation["operationId"].as_str().unwrap().to_owned();
            assert!(names.insert(name), "{place}: its name is another's too");
            assert!(operation["summary"].as_str().is_some_and(|summary| !summary.ends_with('.')), "{place}");
            assert_eq!(operation["tags"].as_array().map(Vec::len), Some(1), "{place}");
            assert!(operation["security"].is_array(), "{place}");
        }
        assert!(names.len() > 40, "{names:?}");
    }

    #[test]
    fn every_refusal_is_described_as_a_problem() {
        let api = serde_json::to_value(document()).unwrap();
        for (place, operation) in operations() {
            for (status, response) in operation["responses"].as_object().unwrap() {
                let named = response["$ref"].as_str().and_then(|name| api.pointer(name.trim_start_matches('#')));
                let response = named.unwrap_or(response);
                let problem = response["content"][MEDIA_TYPE]["schema"]["$ref"].as_str();
                assert_eq!(problem.is_some(), status.as_str() >= "400", "{place} {status}");
            }
        }
    }

    #[test]
    fn every_example_of_a_refusal_is_one_of_its_status() {
        let api = serde_json::to_value(document()).unwrap();
        assert!(api["components"]["schemas"]["Problem"]["example"].is_null(), "one for all statuses fits only one");
        let named = api["components"]["responses"].as_object().unwrap();
        let named = REFUSALS.map(|(status, name, _)| (name.to_owned(), status.to_owned(), named[name].clone()));
        let own = operations().into_iter().flat_map(|(place, operation)| {
            let responses = operation["responses"].as_object().unwrap().clone();
            let own = responses.into_iter().filter(|(_, response)| response["$ref"].is_null());
            own.map(move |(status, response)| (place.clone(), status, response)).collect::<Vec<_>>()
        });
        for (place, status, response) in named.into_iter().chain(own).filter(|(_, status, _)| status.as_str() >= "400")
        {
            let example = &response["content"][MEDIA_TYPE]["example"];
            assert_eq!(example["status"].to_string(), status, "{place}: {example}");
            let title = StatusCode::from_bytes(status.as_bytes()).unwrap();
            assert_eq!(example["title"].as_str(), title.canonical_reason(), "{place} {status}");
            // `tests/it/rest/refusals.rs` checks the kinds of real answers.
            let kinds: &[&str] = match status.as_str() {
                "400" => &["invalid"],
                "401" => &["unauthenticated"],
                "403" => &["denied"],
                "404" => &["not_found"],
                "408" => &["timed_out"],
                "409" => &["already_exists", "conflict", "refused"],
                "410" => &["gone"],
                "412" => &["stale"],
                "413" => &["too_large"],
                "415" => &["unsupported_media_type"],
                "429" => &["limited"],
                "500" => &["internal"],
                "503" => &["unavailable"],
                other => panic!("{place}: no kind is known for {other}"),
            };
            assert!(kinds.contains(&example["kind"].as_str().unwrap()), "{place} {status}: {example}");
            assert!(example["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{place} {status}");
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let api = serde_json::to_value(document()).unwrap();
        let text = api.to_string();
        for part in text.split("\"$ref\":\"#").skip(1) {
            let pointer = part.split('"').next().unwrap();
            assert!(api.pointer(pointer).is_some(), "{pointer}");
        }
    }

    #[test]
    fn no_schema_has_a_name_that_a_generated_client_gives_to_something_else() {
        let api = serde_json::to_value(document()).unwrap();
        let names: Vec<&String> = api["components"]["schemas"].as_object().unwrap().keys().collect();
        // Classes of the runtimes of generators, and keywords of their languages.
        let taken = [
            "Any",
            "ApiClient",
            "ApiError",
            "ApiException",
            "ApiKey",
            "ApiResponse",
            "Array",
            "BaseApi",
            "Blob",
            "Client",
            "ClientOptions",
            "Config",
            "Configuration",
            "Date",
            "Error",
            "Exception",
            "File",
            "FetchError",
            "Map",
            "Model",
            "Object",
            "Promise",
            "Record",
            "Request",
            "RequestOptions",
            "RequiredError",
            "Response",
            "ResponseError",
            "Set",
            "String",
            "Type",
            "Unset",
        ];
        for name in &names {
            assert!(
                !taken.iter().any(|word| word.eq_ignore_ascii_case(name)),
                "{name} is a class of a generator's own"
            );
            // Go has a function `NewX` and a type `NullableX` for every schema X.
            let made = ["New", "Nullable"].into_iter().find_map(|prefix| name.strip_prefix(prefix));
            assert!(
                !names.iter().any(|other| Some(other.as_str()) == made),
                "{name} collides with what Go makes of {made:?}"
            );
        }
    }
}
