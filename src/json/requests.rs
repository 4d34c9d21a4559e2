//! A request that the proxy has finished, as the access log and the interfaces tell it.
//!
//! One type serves both: a worker writes it to the log with borrowed text, and keeps it with text of its own. Invariant: text that comes from
//! a client is at most [`TEXT_BYTES_MAX`] bytes long once it is kept.

use std::borrow::Cow;
use std::net::IpAddr;

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{RouteId, Time};

/// The most bytes of each text of a client in a request that is kept.
pub const TEXT_BYTES_MAX: usize = 1024;

/// A request that the proxy has finished.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = ProxiedRequest)]
pub struct RequestView<'a> {
    /// The time at which its head arrived.
    #[schema(value_type = String, format = DateTime)]
    pub time: Time,
    /// Its id, which its answer and its backend got in `X-Request-Id`.
    pub id: Cow<'a, str>,
    /// The trace of its `traceparent` field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The address of the client.
    #[schema(value_type = String)]
    pub client: IpAddr,
    /// The method.
    pub method: Cow<'a, str>,
    /// `http` or `https`, as the client spoke with this server.
    pub scheme: &'static str,
    /// The host that it was for, as the client wrote it.
    pub host: Cow<'a, str>,
    /// The path, without the query.
    pub path: Cow<'a, str>,
    /// The query. The values of secret parameters are replaced with `***`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<Cow<'a, str>>,
    /// The protocol: `HTTP/1.0`, `HTTP/1.1`, `HTTP/2` or `HTTP/3`.
    pub protocol: &'static str,
    /// The status of the answer; 499 if the client went away before it.
    pub status: u16,
    /// Bytes of the request body.
    pub bytes_received: u64,
    /// Bytes of the response body.
    pub bytes_sent: u64,
    /// Milliseconds from the head of the request to the end of the response.
    pub duration_ms: f64,
    /// Milliseconds until the head of the backend's response; `null` if no backend responded.
    #[schema(required)]
    pub upstream_ms: Option<f64>,
    /// The service whose route matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_name: Option<Cow<'a, str>>,
    /// The instance that answered, or was tried last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_name: Option<Cow<'a, str>>,
    /// The route of the instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub route_id: Option<RouteId>,
    /// The number of attempts at backends.
    pub attempts: u32,
    /// The failed attempts, and the one after them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<AttemptView<'a>>,
    /// The reason for which the proxy answered itself or the response broke off: one word for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// The same in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<Cow<'a, str>>,
    /// The `User-Agent` field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<Cow<'a, str>>,
    /// The `Referer` field. The values of secret parameters of its query are replaced with `***`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub referer: Option<Cow<'a, str>>,
    /// The revision of the configuration in force when it arrived.
    pub revision: u64,
}

/// An attempt at a backend.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = RequestAttempt)]
pub struct AttemptView<'a> {
    /// The backend.
    pub backend: Cow<'a, str>,
    /// The instance that the backend belongs to.
    pub instance_name: Cow<'a, str>,
    /// The route of the instance.
    #[schema(value_type = String)]
    pub route_id: RouteId,
    /// The time that it took, in milliseconds.
    pub duration_ms: f64,
    /// The reason of its failure; `null` if the backend responded.
    #[schema(required)]
    pub error: Option<Cow<'a, str>>,
}

impl RequestView<'_> {
    /// Returns the same with text of its own.
    pub fn kept(&self) -> RequestView<'static> {
        RequestView {
            time: self.time,
            id: kept(&self.id),
            trace_id: self.trace_id.clone(),
            client: self.client,
            method: kept(&self.method),
            scheme: self.scheme,
            host: kept(&self.host),
            path: kept(&self.path),
            query: self.query.as_deref().map(kept),
            protocol: self.protocol,
            status: self.status,
            bytes_received: self.bytes_received,
            bytes_sent: self.bytes_sent,
            duration_ms: self.duration_ms,
            upstream_ms: self.upstream_ms,
            service_name: self.service_name.as_deref().map(kept),
            instance_name: self.instance_name.as_deref().map(kept),
            route_id: self.route_id,
            attempts: self.attempts,
            tried: self.tried.iter().map(AttemptView::kept).collect(),
            reason: self.reason,
            detail: self.detail.as_deref().map(kept),
            user_agent: self.user_agent.as_deref().map(kept),
            referer: self.referer.as_deref().map(kept),
            revision: self.revision,
        }
    }
}

impl AttemptView<'_> {
    /// Returns the same with text of its own.
    fn kept(&self) -> AttemptView<'static> {
        AttemptView {
            backend: kept(&self.backend),
            instance_name: kept(&self.instance_name),
            route_id: self.route_id,
            duration_ms: self.duration_ms,
            error: self.error.as_deref().map(kept),
        }
    }
}

/// Returns the beginning of a text, in memory of its own.
fn kept(text: &str) -> Cow<'static, str> {
    if text.len() <= TEXT_BYTES_MAX {
        return Cow::Owned(text.to_owned());
    }
    let end = text.floor_char_boundary(TEXT_BYTES_MAX);
    Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_kept_is_bounded_and_stays_text() {
        let long = "\u{e9}".repeat(TEXT_BYTES_MAX);
        let short = kept(&long);
        assert!(short.len() <= TEXT_BYTES_MAX + '…'.len_utf8() && short.ends_with('…') && short.starts_with('\u{e9}'));
        assert_eq!(kept("a"), "a");
    }
}
