//! Calls that stream events. A stream that its caller closes is dropped, and a session that was bound to it is
//! disconnected.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tonic::Status;

use crate::domain::Error;
use crate::registry::commands::Unsubscribe;
use crate::registry::{EventStream, StreamItem};

use super::convert::{session, subscribe_item, topics, topics_or_all, watch_item};
use super::proto::{
    SubscribeRequest, SubscribeResponse, UnsubscribeRequest, UnsubscribeResponse, WatchRequest, WatchResponse,
};
use super::state::CallState;

pub(super) async fn subscribe(
    state: &CallState,
    request: SubscribeRequest,
) -> Result<BoxStream<'static, Result<SubscribeResponse, Status>>, Status> {
    let session = session(&request.session_id)?;
    let events = {
        let topics = topics_or_all(&request.types)?;
        state.registry.session_events(state.origin.clone(), &session, topics, request.after).await?
    };
    Ok(messages(events, state.keep_alive(), subscribe_item))
}

pub(super) async fn unsubscribe(state: &CallState, request: UnsubscribeRequest) -> Result<UnsubscribeResponse, Status> {
    let session = session(&request.session_id)?;
    let topics = topics(&request.types)?;
    if topics.is_empty() {
        return Err(Error::invalid("types", "at least one is needed; EVENT_TYPE_ALL is every type").into());
    }
    state.call(Unsubscribe { session, topics }).await?;
    Ok(UnsubscribeResponse {})
}

pub(super) async fn watch(
    state: &CallState,
    request: WatchRequest,
) -> Result<BoxStream<'static, Result<WatchResponse, Status>>, Status> {
    Ok(messages(state.registry.all_events(request.after)?, state.keep_alive(), watch_item))
}

/// Converts a stream of items into messages. The last message is the reason for its end.
fn messages<T: Send + 'static>(
    events: EventStream,
    silence: Duration,
    message: fn(StreamItem) -> Result<T, Error>,
) -> BoxStream<'static, Result<T, Status>> {
    let next = move |events: Option<EventStream>| async move {
        let mut events = events?;
        match message(events.next_within(silence).await) {
            Ok(message) => Some((Ok(message), Some(events))),
            Err(ended) => Some((Err(Status::from(ended)), None)),
        }
    };
    stream::unfold(Some(events), next).boxed()
}
