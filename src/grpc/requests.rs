//! Operators' view of single requests: those that failed lately, and a tap on those that end now.

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tonic::Status;

use crate::domain::{Error, Kind};
use crate::json::requests::RequestView;
use crate::request_log::{Tap, TapLimits};

use super::convert::request_filter;
use super::proto::{
    GetRequestRequest, GetRequestResponse, ListRequestsRequest, ListRequestsResponse, ProxiedRequest, TapRequest,
    TapResponse,
};
use super::state::CallState;

pub(super) async fn list_requests(
    state: &CallState,
    request: ListRequestsRequest,
) -> Result<ListRequestsResponse, Status> {
    let limit = number("limit", request.limit, 100_usize, 1000)?;
    let filter = request_filter(request.filter)?;
    let all = state.requests.failed();
    let wanted = all.iter().filter(|request| filter.wants(request)).take(limit);
    Ok(ListRequestsResponse { requests: wanted.map(|request| message(request)).collect() })
}

pub(super) async fn get_request(state: &CallState, request: GetRequestRequest) -> Result<GetRequestResponse, Status> {
    Ok(GetRequestResponse { request: Some(message(&*state.requests.get(&request.id)?)) })
}

pub(super) async fn tap(
    state: &CallState,
    request: TapRequest,
) -> Result<BoxStream<'static, Result<TapResponse, Status>>, Status> {
    let percent = number("percent", request.percent, 100, 100)?;
    let per_second_max = number("per_second", request.per_second, 100, 1000)?;
    let limits = TapLimits { percent, per_second_max };
    let tap = state.requests.tap(request_filter(request.filter)?, limits).map_err(Error::from)?;
    let next = |open: Option<(CallState, Tap)>| async move {
        let (state, tap) = open?;
        let (requests, skipped) = tap.next_within(state.keep_alive(), || state.is_stopping()).await;
        if state.is_stopping() {
            return Some((Err(Error::new(Kind::Unavailable, "the server is stopping").into()), None));
        }
        let requests = requests.iter().map(|request| message(request)).collect();
        Some((Ok(TapResponse { requests, skipped }), Some((state, tap))))
    };
    Ok(stream::unfold(Some((state.clone(), tap)), next).boxed())
}

fn message(request: &RequestView<'static>) -> ProxiedRequest {
    request.clone().into()
}

/// Returns a number of a message, or what it is if it is left out.
fn number<N: TryFrom<u32>>(field: &'static str, given: Option<u32>, left_out: N, most: u32) -> Result<N, Error> {
    let Some(number) = given else { return Ok(left_out) };
    let read = N::try_from(number).ok().filter(|_| (1..=most).contains(&number));
    read.ok_or_else(|| Error::invalid(field, format!("must be a whole number from 1 to {most}")))
}
