//! The description of all calls (OpenAPI 3.1): what stands once for all of them.
//!
//! A call says what is its own beside its handler; here is added what follows from its shape: who is
//! refused, what a body can be refused for, and what every refusal looks like. What must hold: no status is
//! answered that is not described.

use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::header::Header;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::response::Response;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, OpenApi, Ref, RefOr};
use utoipa::{OpenApi as _, PartialSchema, ToSchema};

use super::dto::numbers::Seconds;
use super::dto::values;
use super::problem::{MEDIA_TYPE, Problem, Reason};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Signalbox",
        description = "Services announce themselves and their routes, stage changes, apply them in one step, and the proxy \
                       inside carries the traffic.\n\nA service registers and sends the `session_id` it is given as its \
                       bearer token. Every change to routes and settings is staged; nothing reaches traffic before \
                       `applyConfig`. Operators and dashboards send an operator token.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    tags(
        (name = "sessions", description = "A service opens a session and keeps it alive."),
        (name = "routes", description = "Which requests go to which backend. Staged until applied."),
        (name = "settings", description = "What is set for routes. Staged until applied."),
        (name = "config", description = "What is staged, as a whole."),
        (name = "operations", description = "A running session: breakers, drain, maintenance, statistics."),
        (name = "events", description = "What happens, as it happens."),
        (name = "operators", description = "All instances, for operators and dashboards. Session ids never appear."),
    ),
)]
struct Head;

/// The description before any call is in it.
pub(super) fn head() -> OpenApi {
    let mut api = Head::openapi();
    api.info.version = env!("CARGO_PKG_VERSION").to_owned();
    let components = api.components.get_or_insert_default();
    let bearer = |words: &str| {
        SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(words)).build())
    };
    components.add_security_scheme("session", bearer("The `session_id` of the registration."));
    components.add_security_scheme(
        "operator",
        bearer("An operator token. While the server has none, operators are answered on loopback, without a token."),
    );
    add::<Problem>(components);
    add::<Reason>(components);
    // Values that only paths, query strings and other values refer to.
    add::<Seconds>(components);
    add::<values::Target>(components);
    add::<values::Places>(components);
    add::<values::HeaderName>(components);
    add::<values::OptionName>(components);
    add::<values::Route>(components);
    add::<values::Service>(components);
    add::<values::Instance>(components);
    add::<super::dto::events::TopicList>(components);
    add::<super::dto::operator::InstanceRef>(components);
    add::<super::dto::operator::RequestHost>(components);
    add::<super::dto::operator::RequestPath>(components);
    add::<super::dto::operator::Method>(components);
    add::<values::ETag>(components);
    add::<values::IfMatchTag>(components);
    api
}

fn add<T: ToSchema>(components: &mut Components) {
    components.schemas.insert(T::name().into_owned(), <T as PartialSchema>::schema());
}

/// Adds what follows from each call's shape.
pub(super) fn finish(mut api: OpenApi) -> OpenApi {
    for item in api.paths.paths.values_mut() {
        operations(item).for_each(complete);
    }
    api
}

/// The whole description, as it is served.
pub fn document() -> OpenApi {
    finish(super::calls().split_for_parts().1)
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch].into_iter().flatten()
}

fn complete(operation: &mut Operation) {
    let schemes = serde_json::to_string(&operation.security).unwrap_or_default();
    let mut refusals =
        vec![("500", "A fault of the server's own."), ("503", "The registry cannot do it now; nothing was changed.")];
    if schemes.contains("session") || schemes.contains("operator") {
        refusals.push(("401", "The bearer token is missing, malformed, or nobody's."));
    }
    if schemes.contains("operator") {
        refusals.push(("403", "This is for operators."));
    }
    if operation.parameters.is_some() || operation.request_body.is_some() {
        refusals.push(("400", "Something in the request is wrong; `field` says what, where it is known."));
    }
    if operation.request_body.is_some() {
        refusals.push(("413", "The body is too large."));
        refusals.push(("415", "The body is not `application/json`."));
    }
    let responses = &mut operation.responses.responses;
    for (status, words) in refusals {
        responses.entry(status.to_owned()).or_insert_with(|| RefOr::T(Response::new(words)));
    }
    for (status, response) in responses {
        if let RefOr::T(response) = response
            && status.as_str() >= "400"
        {
            explain(status, response);
        }
    }
}

/// What every refusal looks like.
fn explain(status: &str, response: &mut Response) {
    let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name(Problem::name()))).build();
    response.content.insert(MEDIA_TYPE.to_owned(), RefOr::T(problem));
    let header = |kind: Type, words: &str| {
        let mut header = Header::new(ObjectBuilder::new().schema_type(kind));
        header.description = Some(words.to_owned());
        RefOr::T(header)
    };
    match status {
        "401" => {
            let challenge = header(Type::String, "`Bearer`.");
            response.headers.insert("WWW-Authenticate".to_owned(), challenge);
        }
        "429" | "503" => {
            let later = header(Type::Integer, "Seconds after which it is worth trying again.");
            response.headers.insert("Retry-After".to_owned(), later);
        }
        _ => {}
    }
}
