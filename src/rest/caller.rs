//! The caller of a request: a session with its bearer token, and the registry as that session uses it.
//!
//! Invariants: a session id is read only from `Authorization`; it is given only to its owner.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::domain::{Origin, SessionId};
use crate::operator_auth::CallerAddresses;
use crate::registry::{CallMark, CallOrigin, CommandCall, Interface, Query, QueryCall, Registry};

use super::problem::Problem;
use super::state::RestState;

/// A bearer token, which may be a session id.
pub(super) struct Bearer(pub(super) SessionId);

impl FromRequestParts<RestState> for Bearer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &RestState) -> Result<Self, Problem> {
        let token = bearer(&parts.headers)?;
        token.map(|token| Self(SessionId::restore(token))).ok_or_else(|| {
            Problem::unauthenticated(
                "Authorization is missing; it must be `Bearer` and the session_id of the registration",
            )
        })
    }
}

/// Returns the token of `Authorization` (RFC 6750 §2.1). It is UTF-8, because names in session ids may contain other
/// characters than ASCII.
pub(super) fn bearer(fields: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut values = fields.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let malformed = || Problem::unauthenticated("Authorization must stand once, as `Bearer` and a token");
    let (scheme, token) = std::str::from_utf8(value.as_bytes())
        .ok()
        .filter(|_| values.next().is_none())
        .and_then(|text| text.trim().split_once(' '))
        .ok_or_else(malformed)?;
    if !scheme.eq_ignore_ascii_case("bearer") || token.trim().is_empty() {
        return Err(malformed());
    }
    Ok(Some(token.trim()))
}

/// A session that makes a request. It existed when the request came; every call checks again that it still exists.
pub(super) struct Caller {
    pub(super) session: SessionId,
    pub(super) registry: Registry,
    pub(super) origin: CallOrigin,
}

impl FromRequestParts<RestState> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &RestState) -> Result<Self, Problem> {
        let Bearer(session) = Bearer::from_request_parts(parts, state).await?;
        // The session is checked first, so that a caller without a session does not learn which input is valid.
        state.registry.answer(&Query::Ping(session.clone()))?;
        Ok(Self { session, registry: state.registry.clone(), origin: call_origin(parts) })
    }
}

/// Returns the origin of a call.
pub(super) fn call_origin(parts: &Parts) -> CallOrigin {
    let client = parts.extensions.get::<CallerAddresses>().map(|peer| peer.client);
    let mark = parts.extensions.get::<CallMark>().cloned().unwrap_or_default();
    CallOrigin::new(Interface::Rest, client).marked(mark)
}

/// The origin of a request without a session, and the address by which the client's share is counted.
pub(super) struct CameFrom(pub(super) CallOrigin, pub(super) Option<Origin>);

impl FromRequestParts<RestState> for CameFrom {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &RestState) -> Result<Self, Infallible> {
        let counted = parts.extensions.get::<CallerAddresses>().map(|peer| Origin::of(peer.address.ip()));
        Ok(Self(call_origin(parts), counted))
    }
}

impl Caller {
    /// Executes a command, and returns its reply.
    pub(super) async fn run<C: CommandCall>(&self, command: C) -> Result<C::Reply, Problem> {
        Ok(self.registry.call(self.origin.clone(), command).await?)
    }

    /// Executes a command without a reply.
    pub(super) async fn done<C: CommandCall<Reply = ()>>(&self, command: C) -> Result<StatusCode, Problem> {
        self.run(command).await.map(|()| StatusCode::NO_CONTENT)
    }

    /// Answers a query with its reply as JSON.
    pub(super) async fn ask<Q: QueryCall<Reply: Serialize>>(&self, query: Q) -> Result<Response, Problem> {
        self.ask_as(query, |reply| json(StatusCode::OK, &reply)).await
    }

    /// Answers a query with the response that `view` makes from its reply.
    pub(super) async fn ask_as<Q: QueryCall>(
        &self,
        query: Q,
        view: impl FnOnce(Q::Reply) -> Response,
    ) -> Result<Response, Problem> {
        Ok(self.registry.ask(query, view).await?)
    }

    /// Answers a query whose reply grows with the session, as JSON.
    pub(super) async fn answer_long_read<Q: QueryCall<Reply: Serialize>>(&self, query: Q) -> Result<Response, Problem> {
        self.answer_long_read_with(query, |reply| json(StatusCode::OK, &reply)).await
    }

    /// Answers a query whose reply grows with the session, with the response that `view` makes from its reply.
    pub(super) async fn answer_long_read_with<Q: QueryCall>(
        &self,
        query: Q,
        view: impl FnOnce(Q::Reply) -> Response,
    ) -> Result<Response, Problem> {
        let reading = self.registry.permit_large_read(&self.session)?;
        let mut response = self.registry.ask(query, view).await?;
        // The response keeps the permit until the client has read it.
        reading.into_iter().for_each(|reading| drop(response.extensions_mut().insert(Arc::new(reading))));
        Ok(response)
    }

    /// Returns the session's revision, which is the `ETag` of its configuration.
    pub(super) fn revision(&self) -> Result<u64, Problem> {
        Ok(self.registry.catalog().session(self.session.reveal())?.record.revision)
    }
}

/// Returns a response with a JSON body.
pub(super) fn json<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => (status, [(CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => {
            tracing::error!(%error, "an answer has no JSON form");
            Problem::fault().into_response()
        }
    }
}

/// Returns the entity tag of a revision (RFC 9110 §8.8.3).
pub(super) fn etag(revision: u64) -> HeaderValue {
    // A quoted number is a valid header value.
    HeaderValue::try_from(format!("\"{revision}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(values: &[&[u8]]) -> HeaderMap {
        values.iter().map(|value| (AUTHORIZATION, HeaderValue::from_bytes(value).unwrap())).collect()
    }

    #[test]
    fn a_bearer_token_is_read_from_its_one_place() {
        let token = |values: &[&[u8]]| bearer(&fields(values)).map(|token| token.map(str::to_owned)).ok();
        assert_eq!(token(&[]), Some(None));
        assert_eq!(token(&[b"Bearer a-1"]), Some(Some("a-1".to_owned())));
        assert_eq!(token(&[b"bearer  a-1 "]), Some(Some("a-1".to_owned())));
        assert_eq!(token(&["Bearer ä-1".as_bytes()]), Some(Some("ä-1".to_owned())));
        for bad in [&b"Bearer"[..], b"Bearer ", b"Basic YTpi", b"a-1", b"", b"Bearer \xff"] {
            assert_eq!(token(&[bad]), None, "{bad:?}");
        }
        assert_eq!(token(&[b"Bearer a", b"Bearer a"]), None);
    }
}
