//! Counts the calls that the writer of the registry does not decide: queries, and commands that are refused before it.
//!
//! Invariant: a call is counted once, here or by the writer, under the name that it has on the other interfaces too.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::PathItem;

use crate::domain::Kind;
use crate::operator_auth::CallerAddresses;
use crate::registry::{CallMark, CallOrigin, Interface, OTHER_CALL, Registry, call_name};

use super::problem::Reason;

/// The beginning of all paths with calls that are counted.
const CALLS: &str = "/v1/";
/// The beginning of the paths of sessions; the others are for operators.
const SESSION_CALLS: &str = "/v1/session";

/// The names of all calls, with the registry that counts them. Cheap to clone.
#[derive(Clone)]
pub(super) struct CountedCalls {
    registry: Registry,
    paths: Arc<[KnownPath]>,
}

/// A path of the description.
struct KnownPath {
    /// Its segments; one in braces stands for any text.
    segments: Vec<String>,
    /// The names of its calls; `None` for one that is not counted.
    names: BTreeMap<Method, Option<&'static str>>,
}

impl CountedCalls {
    /// Reads the names from the description of all calls.
    pub(super) fn new(registry: &Registry, described: &OpenApi) -> Self {
        let described = described.paths.paths.iter().filter(|(path, _)| path.starts_with(CALLS));
        let mut paths: Vec<KnownPath> = described
            .map(|(path, item)| KnownPath {
                segments: path.split('/').map(str::to_owned).collect(),
                names: names_of(item),
            })
            .collect();
        // Of two paths that match, the one that names more segments is meant.
        paths.sort_by_key(|path| Reverse(path.segments.iter().filter(|segment| !is_variable(segment)).count()));
        Self { registry: registry.clone(), paths: paths.into() }
    }

    /// Returns the name under which a request is counted; `None` if it is not.
    fn name_of(&self, method: &Method, path: &str) -> Option<&'static str> {
        if !path.starts_with(CALLS) {
            return None;
        }
        // A HEAD is answered as a GET is.
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        let known = self.paths.iter().find(|known| known.covers(path));
        known.and_then(|known| known.names.get(method)).copied().unwrap_or(Some(OTHER_CALL))
    }
}

impl KnownPath {
    fn covers(&self, path: &str) -> bool {
        let is_same = |(known, asked): (&String, &str)| is_variable(known) || known == asked;
        path.split('/').count() == self.segments.len() && self.segments.iter().zip(path.split('/')).all(is_same)
    }
}

fn is_variable(segment: &str) -> bool {
    segment.starts_with('{')
}

fn names_of(item: &PathItem) -> BTreeMap<Method, Option<&'static str>> {
    let operations = [
        (Method::GET, &item.get),
        (Method::PUT, &item.put),
        (Method::POST, &item.post),
        (Method::DELETE, &item.delete),
        (Method::PATCH, &item.patch),
    ];
    let described = operations.into_iter().filter_map(|(method, operation)| {
        let id = operation.as_ref()?.operation_id.as_deref()?;
        Some((method, call_name(id)))
    });
    described.collect()
}

/// Counts a request.
pub(super) async fn count_call(State(calls): State<CountedCalls>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is_of_session = path.starts_with(SESSION_CALLS);
    let Some(name) = calls.name_of(request.method(), path) else { return next.run(request).await };
    let client = request.extensions().get::<CallerAddresses>().map(|peer| peer.client);
    let origin = CallOrigin::new(Interface::Rest, client).marked(CallMark::of_call());
    request.extensions_mut().insert(origin.mark.clone());
    let response = next.run(request).await;
    calls.registry.count_call(name, &origin, outcome(&response, is_of_session));
    response
}

fn outcome(response: &Response, is_of_session: bool) -> Result<(), Kind> {
    let Some(reason) = response.extensions().get::<Reason>() else {
        // The router itself answers to a wrong method.
        let is_wrong = response.status().is_client_error();
        return if is_wrong { Err(Kind::Invalid) } else { Ok(()) };
    };
    Err(match reason {
        Reason::Invalid | Reason::UnsupportedMediaType | Reason::MethodNotAllowed => Kind::Invalid,
        Reason::Unauthenticated | Reason::Gone if is_of_session => Kind::InvalidSession,
        Reason::Unauthenticated | Reason::Denied => Kind::Denied,
        Reason::NotFound | Reason::Gone => Kind::NotFound,
        Reason::AlreadyExists => Kind::AlreadyExists,
        Reason::Conflict => Kind::Conflict,
        Reason::Refused => Kind::Refused,
        Reason::Stale => Kind::Stale,
        Reason::TooLarge | Reason::TimedOut | Reason::Limited => Kind::Limited,
        Reason::Unavailable => Kind::Unavailable,
        Reason::Internal => Kind::Internal,
    })
}

#[cfg(test)]
mod tests {
    use super::super::router::document;
    use super::*;

    #[test]
    fn every_call_of_a_session_and_every_change_has_a_name() {
        let described = document();
        for (path, item) in described.paths.paths.iter().filter(|(path, _)| path.starts_with(CALLS)) {
            for (method, name) in names_of(item) {
                // These change the server, and nothing that the registry keeps.
                let is_of_server = ["/v1/reload", "/v1/backup"].contains(&path.as_str());
                let is_counted = path.starts_with(SESSION_CALLS) || method != Method::GET;
                assert!(name.is_some() || !is_counted || is_of_server, "{method} {path}");
            }
        }
    }
}
