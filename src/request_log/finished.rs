//! A request that has ended, as its worker knows it.
//!
//! It only refers to what there is: each request pays for it while there is an access log. Invariants: nothing is copied or put into words before
//! somebody wants it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::query_mask::QueryMask;
use crate::clock;
use crate::domain::{RouteId, Time};
use crate::json::requests::{AttemptView, RequestView};

/// A request that has ended. Its texts come from the client and can be anything, unless said otherwise.
#[derive(Debug)]
pub struct FinishedRequest<'a> {
    /// The time at which its head arrived.
    pub began: Instant,
    /// Its id: visible ASCII without quotes and backslashes.
    pub id: &'a [u8],
    /// The trace of its `traceparent` field.
    pub trace_id: Option<u128>,
    /// The address of the client.
    pub client: IpAddr,
    /// The method: a token (RFC 9110 §5.6.2).
    pub method: &'a str,
    /// True if the client spoke TLS with this server.
    pub is_secure: bool,
    /// The host that it was for.
    pub host: &'a [u8],
    /// The path, without the query.
    pub path: &'a str,
    /// The query.
    pub query: Option<&'a str>,
    /// The protocol: `HTTP/1.0`, `HTTP/1.1`, `HTTP/2` or `HTTP/3`.
    pub protocol: &'static str,
    /// The status of the answer, or the one that stands for none.
    pub status: u16,
    /// Bytes of the request body.
    pub bytes_received: u64,
    /// Bytes of the response body.
    pub bytes_sent: u64,
    /// The time from the head of the request to the end of the response.
    pub duration: Duration,
    /// The time until the head of the backend's response, if there was one.
    pub upstream: Option<Duration>,
    /// The names of the service whose route matched, and of the instance that was tried last.
    pub owner: Option<(&'a str, &'a str)>,
    /// The route of the instance.
    pub route_id: Option<RouteId>,
    /// The part of a line that `route_part` made of the two before.
    pub route_part: Option<&'a [u8]>,
    /// The number of attempts at backends.
    pub attempts: u32,
    /// The failed attempts, and the one after them.
    pub tried: Vec<AttemptView<'a>>,
    /// The reason for which the proxy answered itself or the response broke off: one word for programs, and a sentence.
    pub reason: Option<(&'static str, &'a str)>,
    /// The `User-Agent` field.
    pub user_agent: Option<&'a [u8]>,
    /// The `Referer` field.
    pub referer: Option<&'a [u8]>,
    /// The revision of the configuration in force when it arrived.
    pub revision: u64,
}

impl<'a> FinishedRequest<'a> {
    /// Returns the time at which its head arrived.
    pub(super) fn time(&self) -> Time {
        clock::at(self.began)
    }

    /// Returns it in words, with the values of secret parameters hidden by `mask`.
    pub(super) fn view(&self, mask: &QueryMask) -> RequestView<'a> {
        RequestView {
            time: self.time(),
            id: String::from_utf8_lossy(self.id),
            trace_id: self.trace_id.map(|trace| format!("{trace:032x}")),
            client: self.client,
            method: self.method.into(),
            scheme: if self.is_secure { "https" } else { "http" },
            host: String::from_utf8_lossy(self.host),
            path: self.path.into(),
            query: self.query.map(|query| mask.apply(query)),
            protocol: self.protocol,
            status: self.status,
            bytes_received: self.bytes_received,
            bytes_sent: self.bytes_sent,
            duration_ms: millis(self.duration),
            upstream_ms: self.upstream.map(millis),
            service_name: self.owner.map(|(service, _)| service.into()),
            instance_name: self.owner.map(|(_, instance)| instance.into()),
            route_id: self.route_id,
            attempts: self.attempts,
            tried: self.tried.clone(),
            reason: self.reason.map(|(word, _)| word),
            detail: self.reason.map(|(_, sentence)| sentence.into()),
            user_agent: self.user_agent.map(String::from_utf8_lossy),
            referer: self.referer.map(|referer| mask.apply_to_url(String::from_utf8_lossy(referer))),
            revision: self.revision,
        }
    }
}

/// Returns the whole microseconds of a span.
pub(super) fn micros(span: Duration) -> u64 {
    // 128 bits, as `as_micros` has them, take several calls.
    span.as_secs().saturating_mul(1_000_000).saturating_add(span.subsec_micros().into())
}

/// Returns milliseconds with three decimals.
#[expect(clippy::cast_precision_loss, reason = "a duration for people's eyes")]
pub fn millis(span: Duration) -> f64 {
    micros(span) as f64 / 1000.0
}
