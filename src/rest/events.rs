//! Streams of events as server-sent events (WHATWG HTML, §9.2).
//!
//! An event has its sequence as `id`, its type as `event` and its payload as `data`. A stream resumes after
//! `Last-Event-ID`. Invariants: the head is sent at once; a stream gives the reason before it ends.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{FromRequestParts, State};
use axum::http::header::{CACHE_CONTROL, HeaderName};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::{Error, EventRecord, Time, Topics};
use crate::json::numbers::Digits;
use crate::json::values::present;
use crate::registry::commands::Unsubscribe;
use crate::registry::queries::event_view::EventView;
use crate::registry::queries::views::LaggedView;
use crate::registry::{EventStream, StreamItem};

use super::caller::Caller;
use super::extract::{Segments, UrlQuery, only};
use super::operator::Operator;
use super::problem::Problem;
use super::state::RestState;
use super::values::{Topic, TopicList};

/// Returns the calls of this group with their descriptions.
pub(super) fn calls() -> OpenApiRouter<RestState> {
    OpenApiRouter::new().routes(routes!(subscribe)).routes(routes!(unsubscribe)).routes(routes!(watch))
}

/// The parameters of a session's stream.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SubscribeQuery {
    /// The types, which are added to the session's subscriptions. All types if left out.
    #[serde(default, deserialize_with = "present")]
    #[param(nullable = false)]
    pub(super) types: Option<TopicList>,
    /// Continues after the event with this `id`. `Last-Event-ID` has precedence.
    #[serde(default, deserialize_with = "present")]
    #[param(nullable = false, minimum = 0, value_type = Option<u64>)]
    pub(super) after: Option<Digits>,
}

/// The parameters of an operator's stream.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WatchQuery {
    /// Continues after the event with this `id`. `Last-Event-ID` has precedence.
    #[serde(default, deserialize_with = "present")]
    #[param(nullable = false, minimum = 0, value_type = Option<u64>)]
    pub(super) after: Option<Digits>,
}

/// A type of event, in a path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct TopicPath {
    /// The type.
    pub(super) r#type: Topic,
}

/// An event as a session gets it.
#[derive(Debug, Serialize)]
pub(super) struct Notification {
    /// Its type; also the `event`.
    pub(super) r#type: &'static str,
    /// The payload of the type.
    #[serde(flatten)]
    pub(super) payload: EventView,
}

/// An event as operators get it.
#[derive(Debug, Serialize)]
pub(super) struct Happening {
    /// Its number; also the `id`.
    pub(super) sequence: u64,
    /// The time of the event.
    pub(super) at: Time,
    /// The service; empty for an event of the whole server.
    pub(super) service_name: String,
    /// The instance; empty for an event of the whole server.
    pub(super) instance_name: String,
    /// The holder of the instance: `session`, `operator` or `file`; empty for an event of the whole server.
    pub(super) owner: &'static str,
    /// Its type; also the `event`.
    pub(super) r#type: &'static str,
    /// The payload that the session gets.
    pub(super) payload: EventView,
}

/// A notice that the events after the requested one are no longer available.
#[derive(Debug, Serialize)]
pub(super) struct Compacted {
    /// The events after this sequence are available.
    pub(super) oldest: u64,
}

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// The header that tells proxies not to buffer the stream.
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");
/// The time that a client waits before it reconnects.
const RETRY: Duration = Duration::from_secs(1);

/// The sequence in `Last-Event-ID`, and whether the stream itself is requested.
pub(super) struct Resume {
    after: Option<u64>,
    head_only: bool,
}

impl FromRequestParts<RestState> for Resume {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &RestState) -> Result<Self, Problem> {
        Ok(Self { after: last_event_id(&parts.headers)?, head_only: parts.method == Method::HEAD })
    }
}

fn last_event_id(fields: &HeaderMap) -> Result<Option<u64>, Problem> {
    match only(fields, &LAST_EVENT_ID)? {
        None | Some("") => Ok(None),
        Some(text) => {
            let number = text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
            let wrong = || Problem::wrong("Last-Event-ID", &"must be the id of an event, a number");
            number.map(Some).ok_or_else(wrong)
        }
    }
}

/// Streams the session's events
///
/// Server-sent events: `id` is the event's sequence, `event` its type, `data` its type and payload. An open stream
/// binds the session like a connection of the line protocol: the session does not expire while the stream is open. A
/// session may have 8 open streams. After 15 s of silence the server sends a comment, with the `id` after which to
/// resume. `lagged` (`{"missed":3}`) means that the client read too slowly. `compacted` (`{"oldest":17}`) means that
/// the events after the requested one are no longer known. `end` (a problem) gives the reason for the end of the
/// stream.
#[utoipa::path(get, path = "/v1/session/events", operation_id = "subscribe", tag = "events",
    security(("session" = [])),
    params(SubscribeQuery, ("Last-Event-ID" = Option<u64>, Header, description = "Continues after the event with this `id`.")),
    responses(
        (status = 200, description = "The stream.", body = String, content_type = "text/event-stream",
            example = "id: 17\nevent: config_applied\ndata: {\"type\":\"config_applied\",\"revision\":3}\n\n"),
        (status = 429, description = "Too many streams are open."),
    ))]
async fn subscribe(
    State(state): State<RestState>,
    caller: Caller,
    resume: Resume,
    UrlQuery(asked): UrlQuery<SubscribeQuery>,
) -> Result<Response, Problem> {
    if resume.head_only {
        return Ok(head(StatusCode::OK.into_response()));
    }
    let topics = asked.types.map_or_else(|| Topics::parse("all"), |types| Ok(types.0))?;
    let after = resume.after.or(asked.after.map(|after| after.0));
    let events = state.registry.session_events(caller.origin, &caller.session, topics, after).await?;
    Ok(streamed(&state, events, |record| event(record, &notification(record))))
}

/// Removes the session's subscription to a type of events
#[utoipa::path(delete, path = "/v1/session/events/{type}", operation_id = "unsubscribe", tag = "events",
    security(("session" = [])), params(TopicPath),
    responses((status = 204, description = "The session gets no more events of this type, on any stream.")))]
async fn unsubscribe(
    caller: Caller,
    Segments(TopicPath { r#type }): Segments<TopicPath>,
) -> Result<StatusCode, Problem> {
    caller.done(Unsubscribe { session: caller.session.clone(), topics: r#type.0 }).await
}

/// Streams the events of all instances
///
/// Like `subscribe`; `data` also contains the time and the instance of the event.
#[utoipa::path(get, path = "/v1/events", operation_id = "watch", tag = "operators", security(("operator" = [])),
    params(WatchQuery, ("Last-Event-ID" = Option<u64>, Header, description = "Continues after the event with this `id`.")),
    responses(
        (status = 200, description = "The stream.", body = String, content_type = "text/event-stream"),
        (status = 429, description = "Too many streams are open."),
    ))]
async fn watch(
    State(state): State<RestState>,
    _: Operator,
    resume: Resume,
    UrlQuery(asked): UrlQuery<WatchQuery>,
) -> Result<Response, Problem> {
    if resume.head_only {
        return Ok(head(StatusCode::OK.into_response()));
    }
    let events = state.registry.all_events(resume.after.or(asked.after.map(|after| after.0)))?;
    Ok(streamed(&state, events, |record| event(record, &happening(record))))
}

/// Returns a response that streams the items of `events`.
fn streamed(state: &RestState, events: EventStream, convert: fn(&EventRecord) -> Event) -> Response {
    let first = comment_with_id("signalbox", events.position()).retry(RETRY);
    let silence = state.settings.keep_alive;
    let rest = stream::unfold(Some(events), move |events| async move {
        let mut events = events?;
        match events.next_within(silence).await {
            StreamItem::Quiet { position } => Some((comment_with_id("", position), Some(events))),
            StreamItem::Event(record) => Some((convert(&record), Some(events))),
            StreamItem::Lagged { missed } => Some((named("lagged", &LaggedView { missed }), Some(events))),
            StreamItem::Compacted { oldest } => Some((named("compacted", &Compacted { oldest }), Some(events))),
            StreamItem::Ended(error) => Some((end(error), None)),
        }
    });
    let events = stream::once(async { first }).chain(rest).map(Ok::<_, Infallible>);
    head(Sse::new(events).into_response())
}

/// Returns a comment with the `id` after which to resume. A client stores the `id`, and sees no event because there is
/// no data.
fn comment_with_id(words: &str, position: Option<u64>) -> Event {
    let comment = Event::default().comment(words);
    match position {
        Some(sequence) => comment.id(sequence.to_string()),
        None => comment,
    }
}

pub(super) fn head(response: Response) -> Response {
    let kind = (axum::http::header::CONTENT_TYPE, "text/event-stream");
    ([kind, (CACHE_CONTROL, "no-store"), (UNBUFFERED, "no")], response).into_response()
}

fn notification(record: &EventRecord) -> Notification {
    Notification { r#type: record.event.kind().name(), payload: EventView::from(&record.event) }
}

fn happening(record: &EventRecord) -> Happening {
    let of = record.instance.as_ref();
    Happening {
        sequence: record.sequence,
        at: record.at,
        service_name: of.map(|of| of.service.to_string()).unwrap_or_default(),
        instance_name: of.map(|of| of.instance.to_string()).unwrap_or_default(),
        owner: of.map(|of| of.owner.word()).unwrap_or_default(),
        r#type: record.event.kind().name(),
        payload: EventView::from(&record.event),
    }
}

fn event(record: &EventRecord, data: &impl Serialize) -> Event {
    named(record.event.kind().name(), data).id(record.sequence.to_string())
}

/// Returns a named event. JSON contains no line ends, so it fits one `data` line.
pub(super) fn named(name: &str, data: &impl Serialize) -> Event {
    Event::default().event(name).data(serde_json::to_string(data).unwrap_or_default())
}

fn end(error: Error) -> Event {
    named("end", &Problem::from(error))
}
