//! Operators' view of single requests: those that failed lately, and a tap on those that end now.
//!
//! Invariants: a tap ends with its connection, or when the server begins to stop; its reader is told what it did not get.

use std::convert::Infallible;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::{Error, RouteId, ServiceName};
use crate::json::numbers::Digits;
use crate::json::requests::RequestView;
use crate::json::values::present;
use crate::request_log::{RequestFilter, Tap, TapLimits};

use super::caller::json;
use super::events::{head, named};
use super::extract::{Segments, UrlQuery};
use super::operator::Operator;
use super::problem::Problem;
use super::state::RestState;
use super::values::InstanceRef;

/// Returns the calls of this group with their descriptions.
pub(super) fn calls() -> OpenApiRouter<RestState> {
    OpenApiRouter::new().routes(routes!(list_requests)).routes(routes!(get_request)).routes(routes!(tap))
}

/// The id of a request, in a path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct RequestIdPath {
    /// The id, as the answer of the proxy shows it.
    #[param(value_type = String, min_length = 1, max_length = 128)]
    pub(super) id: String,
}

/// Defines a query that chooses requests, with further parameters of its own.
macro_rules! requests_query {
    ($(#[$doc:meta])* $name:ident { $($(#[$meta:meta])* $field:ident,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Deserialize, IntoParams)]
        #[serde(deny_unknown_fields)]
        #[into_params(parameter_in = Query)]
        pub(super) struct $name {
            $($(#[$meta])* #[serde(default, deserialize_with = "present")] pub(super) $field: Option<Digits>,)+
            /// Only requests for a route of this service.
            #[serde(default, deserialize_with = "present")]
            #[param(nullable = false)]
            pub(super) service: Option<ServiceName>,
            /// Only requests for a route of this instance.
            #[serde(default, deserialize_with = "present")]
            #[param(nullable = false)]
            pub(super) instance: Option<InstanceRef>,
            /// Only requests for a route with this id; ids are unique within an instance.
            #[serde(default, deserialize_with = "present")]
            #[param(nullable = false)]
            pub(super) route: Option<RouteId>,
            /// Only requests for this host.
            #[serde(default, deserialize_with = "present")]
            #[param(nullable = false)]
            pub(super) host: Option<String>,
            /// Only requests whose path begins with this text.
            #[serde(default, deserialize_with = "present")]
            #[param(nullable = false)]
            pub(super) path: Option<String>,
            /// Only requests with this status or a higher one.
            #[serde(default, deserialize_with = "present")]
            #[param(nullable = false, minimum = 1, maximum = 599, value_type = Option<u16>)]
            pub(super) status_min: Option<Digits>,
        }

        impl $name {
            fn filter(self) -> Result<RequestFilter, Problem> {
                let status_min = number("status_min", self.status_min, 0, 599)?;
                let instance = self.instance.map(|InstanceRef(service, instance)| (service, instance));
                let Self { service, route, host, path, .. } = self;
                Ok(RequestFilter { service, instance, route, host, path, status_min })
            }
        }
    };
}

requests_query! {
    /// The requests that are listed.
    RequestsQuery {
        /// The maximum number of entries.
        #[param(nullable = false, minimum = 1, maximum = 1000, default = 100, value_type = Option<u16>)]
        limit,
    }
}

requests_query! {
    /// The requests that a tap shows.
    TapQuery {
        /// The share of these requests to show, in percent. Taps with the same share show the same requests.
        #[param(nullable = false, minimum = 1, maximum = 100, default = 100, value_type = Option<u8>)]
        percent,
        /// The maximum number of requests in a second.
        #[param(nullable = false, minimum = 1, maximum = 1000, default = 100, value_type = Option<u16>)]
        per_second,
    }
}

/// The requests that failed lately.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProxiedRequests)]
pub(super) struct RequestsView<'a> {
    /// The requests, the last one first.
    items: Vec<&'a RequestView<'static>>,
}

/// A notice that a tap left requests out, because they came faster than its limits allow or than they were read.
#[derive(Debug, Serialize)]
struct Skipped {
    count: u64,
}

/// Lists the requests that failed or were refused lately
///
/// Each worker of the proxy keeps the last 512 requests that got a status of 500 or above or whose response broke off, and the
/// last 512 that were refused with another status.
#[utoipa::path(get, path = "/v1/requests", operation_id = "listRequests", tag = "operators",
    security(("operator" = [])), params(RequestsQuery),
    responses((status = 200, description = "The requests.", body = RequestsView)))]
async fn list_requests(
    State(state): State<RestState>,
    _: Operator,
    UrlQuery(asked): UrlQuery<RequestsQuery>,
) -> Result<Response, Problem> {
    let limit = number("limit", asked.limit, 100_usize, 1000)?;
    let filter = asked.filter()?;
    let all = state.settings.requests.failed();
    let items = all.iter().map(|request| &**request).filter(|request| filter.wants(request));
    Ok(json(StatusCode::OK, &RequestsView { items: items.take(limit).collect() }))
}

/// Shows a request that failed or was refused lately
#[utoipa::path(get, path = "/v1/requests/{id}", operation_id = "getRequest", tag = "operators",
    security(("operator" = [])), params(RequestIdPath),
    responses(
        (status = 200, description = "The request.", body = RequestView<'static>),
        (status = 404, description = "No request with this id failed lately."),
    ))]
async fn get_request(
    State(state): State<RestState>,
    _: Operator,
    Segments(RequestIdPath { id }): Segments<RequestIdPath>,
) -> Result<Response, Problem> {
    Ok(json(StatusCode::OK, &*state.settings.requests.get(&id)?))
}

/// Streams requests as they end
///
/// Server-sent events: `request` has a request as `data`; `skipped` (`{"count":3}`) tells of requests that were left out, because they
/// came faster than `per_second` allows or than the stream was read. After 15 s of silence the server sends a comment. `end` (a
/// problem) gives the reason for the end of the stream. At most 16 taps are open at once. A tap never slows traffic.
#[utoipa::path(get, path = "/v1/tap", operation_id = "tap", tag = "operators", security(("operator" = [])),
    params(TapQuery),
    responses(
        (status = 200, description = "The stream.", body = String, content_type = "text/event-stream"),
        (status = 429, description = "Too many taps are open."),
    ))]
async fn tap(
    State(state): State<RestState>,
    _: Operator,
    UrlQuery(asked): UrlQuery<TapQuery>,
) -> Result<Response, Problem> {
    let percent = number("percent", asked.percent, 100, 100)?;
    let per_second_max = number("per_second", asked.per_second, 100, 1000)?;
    let limits = TapLimits { percent, per_second_max };
    let tap = state.settings.requests.tap(asked.filter()?, limits).map_err(Error::from)?;
    Ok(streamed(state, tap))
}

fn streamed(state: RestState, tap: Tap) -> Response {
    let first = stream::once(async { vec![Event::default().comment("signalbox")] });
    let rest = stream::unfold(Some((state, tap)), |open| async move {
        let (state, tap) = open?;
        let (requests, skipped) = tap.next_within(state.settings.keep_alive, || is_stopping(&state)).await;
        if is_stopping(&state) {
            return Some((vec![named("end", &Problem::stopping())], None));
        }
        let mut events: Vec<Event> = requests.iter().map(|request| named("request", &**request)).collect();
        events.extend((skipped > 0).then(|| named("skipped", &Skipped { count: skipped })));
        if events.is_empty() {
            events.push(Event::default().comment(""));
        }
        Some((events, Some((state, tap))))
    });
    let events = first.chain(rest).flat_map(stream::iter).map(Ok::<_, Infallible>);
    head(Sse::new(events).into_response())
}

fn is_stopping(state: &RestState) -> bool {
    state.registry.is_draining() || state.lifecycle.stopping().is_cancelled()
}

/// Returns a number of a query, or what it is if it is left out.
fn number<N: TryFrom<u64>>(field: &str, given: Option<Digits>, left_out: N, most: u64) -> Result<N, Problem> {
    let Some(Digits(number)) = given else { return Ok(left_out) };
    let read = N::try_from(number).ok().filter(|_| (1..=most).contains(&number));
    read.ok_or_else(|| Problem::wrong(field, &format_args!("must be a whole number from 1 to {most}")))
}
