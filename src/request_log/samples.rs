//! Requests for tests.

use std::time::Duration;

use super::finished::FinishedRequest;
use crate::clock;
use crate::domain::RouteId;
use crate::json::requests::AttemptView;

/// A request of which all is known, with this text in place of what a client sends.
pub(crate) fn full(evil: &str) -> FinishedRequest<'_> {
    FinishedRequest {
        trace_id: Some(0xab),
        client: "2001:db8::1".parse().unwrap(),
        query: Some(evil),
        upstream: Some(Duration::from_micros(50)),
        owner: Some(("caf\u{e9}", "shop-1")),
        route_id: Some(RouteId(17)),
        tried: vec![AttemptView {
            backend: "http://b".into(),
            instance_name: "shop-1".into(),
            route_id: RouteId(17),
            duration_ms: 0.5,
            error: Some(evil.into()),
        }],
        reason: Some(("backend_failed", evil)),
        user_agent: Some(evil.as_bytes()),
        referer: Some(evil.as_bytes()),
        ..bare(evil)
    }
}

/// A request of which little is known, with this text in place of what a client sends.
pub(crate) fn bare(evil: &str) -> FinishedRequest<'_> {
    FinishedRequest {
        began: clock::instant(),
        id: b"0af7651916cd43dd8448eb211c80319c",
        trace_id: None,
        client: "192.0.2.17".parse().unwrap(),
        method: "PROPFIND",
        is_secure: true,
        host: evil.as_bytes(),
        path: evil,
        query: None,
        protocol: "HTTP/2",
        status: 502,
        bytes_received: u64::MAX,
        bytes_sent: 0,
        duration: Duration::ZERO,
        upstream: None,
        owner: None,
        route_id: None,
        route_part: None,
        attempts: 2,
        tried: Vec::new(),
        reason: None,
        user_agent: None,
        referer: None,
        revision: 42,
    }
}
