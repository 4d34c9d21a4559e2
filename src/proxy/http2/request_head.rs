//! The head of a request on a stream, in the form that requests have on every other connection.
//!
//! `h2` has refused what RFC 9113 §8 calls malformed: names in upper case, fields of the connection, pseudo fields that are missing or twice,
//! lengths that differ. Invariants: the host that is looked up is the one that the backend gets.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use h2::RecvStream;
use h2::ext::Protocol;
use http::header::{CONNECTION, COOKIE, HOST, HeaderMap, HeaderValue, SEC_WEBSOCKET_KEY, UPGRADE};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Request, Version};
use tokio::sync::oneshot;

use crate::proxy::client::client_body::{ClientBody, StreamBody};
use crate::proxy::client::stream_tunnel::StreamTunnel;
use crate::proxy::limits::HEAD_BYTES_MAX;
use crate::proxy::refusal::Refusal;
use crate::random;
use crate::traffic::percent_encoded;

/// A request in the form that requests have on every other connection.
pub(super) struct StreamRequest {
    pub(super) request: Request<ClientBody>,
    /// The stream, if it is to carry another protocol.
    pub(super) tunnel: Option<TunnelRequest>,
}

/// A head that no request can have.
pub(super) struct MalformedHead {
    pub(super) head: Parts,
    pub(super) refusal: Refusal,
}

/// A stream that is to carry another protocol.
pub(super) struct TunnelRequest {
    pub(super) received: RecvStream,
    /// Takes the tunnel once it is open.
    pub(super) opening: oneshot::Sender<StreamTunnel>,
}

/// Returns the request with a path as its target, a `Host` field, and its cookies in one line.
///
/// # Errors
/// If `Host` names another host than the target (RFC 9113 §8.3.1), or for a protocol other than WebSocket.
pub(super) fn translate(request: Request<RecvStream>, has_body: bool) -> Result<StreamRequest, Box<MalformedHead>> {
    let (mut head, stream) = request.into_parts();
    if let Err(refusal) = to_origin_form(&mut head) {
        return Err(Box::new(MalformedHead { head, refusal }));
    }
    let Some(protocol) = head.extensions.remove::<Protocol>() else {
        let body = ClientBody::Http2(StreamBody::new(stream, has_body, &head.headers));
        return Ok(StreamRequest { request: Request::from_parts(head, body), tunnel: None });
    };
    let is_websocket = protocol.as_str().eq_ignore_ascii_case("websocket");
    let asked = if is_websocket { ask_for_websocket(&mut head) } else { Err(Refusal::NoUpgrade) };
    if let Err(refusal) = asked {
        return Err(Box::new(MalformedHead { head, refusal }));
    }
    let (opening, opened) = oneshot::channel();
    let request = Request::from_parts(head, ClientBody::Tunnel(Some(opened)));
    Ok(StreamRequest { request, tunnel: Some(TunnelRequest { received: stream, opening }) })
}

/// Gives the head a path as its target, a `Host` field, and its cookies in one line.
///
/// # Errors
/// If `Host` names another host than the target (RFC 9113 §8.3.1, RFC 9114 §4.3.1), or the head is too large.
pub(crate) fn to_origin_form(head: &mut Parts) -> Result<(), Refusal> {
    if list_bytes(&head.headers) > HEAD_BYTES_MAX {
        return Err(Refusal::HeadTooLarge);
    }
    if let Some(authority) = head.uri.authority() {
        set_host(&mut head.headers, authority.as_str())?;
    }
    let target = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    head.uri = if let Some(encoded) = percent_encoded(target) {
        PathAndQuery::try_from(encoded).map_err(|_| Refusal::BadRequest)?.into()
    } else {
        let uri = std::mem::take(&mut head.uri);
        uri.into_parts().path_and_query.unwrap_or(PathAndQuery::from_static("/")).into()
    };
    head.version = Version::HTTP_11;
    join_cookies(&mut head.headers)
}

/// Returns the size of a list of fields (RFC 9113 §6.5.2).
fn list_bytes(fields: &HeaderMap) -> usize {
    fields.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
}

/// Makes the head one that asks for WebSocket in HTTP/1 (RFC 8441 §5). The key is ours: on a stream there is none.
fn ask_for_websocket(head: &mut Parts) -> Result<(), Refusal> {
    head.method = Method::GET;
    let key = BASE64.encode(random::bits().to_ne_bytes());
    head.headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::try_from(key).map_err(|_| Refusal::BadRequest)?);
    head.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    head.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    Ok(())
}

fn set_host(fields: &mut HeaderMap, authority: &str) -> Result<(), Refusal> {
    let is_same = |host: &HeaderValue| host.as_bytes().eq_ignore_ascii_case(authority.as_bytes());
    if !fields.get_all(HOST).iter().all(is_same) {
        return Err(Refusal::BadRequest);
    }
    fields.insert(HOST, HeaderValue::try_from(authority).map_err(|_| Refusal::BadRequest)?);
    Ok(())
}

/// Joins the cookies that came in lines of their own (RFC 9113 §8.2.3).
fn join_cookies(fields: &mut HeaderMap) -> Result<(), Refusal> {
    let mut crumbs = fields.get_all(COOKIE).iter();
    let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) else { return Ok(()) };
    let mut line = first.as_bytes().to_vec();
    for crumb in std::iter::once(second).chain(crumbs) {
        line.extend_from_slice(b"; ");
        line.extend_from_slice(crumb.as_bytes());
    }
    fields.insert(COOKIE, HeaderValue::try_from(line).map_err(|_| Refusal::BadRequest)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_in_many_lines_become_one() {
        let joined = |crumbs: &[&'static str]| {
            let mut fields: HeaderMap = crumbs.iter().map(|crumb| (COOKIE, HeaderValue::from_static(crumb))).collect();
            join_cookies(&mut fields).unwrap();
            fields.get_all(COOKIE).iter().map(|line| line.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(joined(&[]), Vec::<String>::new());
        assert_eq!(joined(&["a=1"]), ["a=1"]);
        assert_eq!(joined(&["a=1", "b=2", "c=3"]), ["a=1; b=2; c=3"]);
        assert_eq!(joined(&["a=1"; 90]).concat().matches("a=1").count(), 90);
    }

    #[test]
    fn a_host_field_may_not_contradict_the_authority() {
        let hosts = |hosts: &[&'static str]| {
            let mut fields: HeaderMap = hosts.iter().map(|host| (HOST, HeaderValue::from_static(host))).collect();
            set_host(&mut fields, "shop.example:8443").map(|()| fields)
        };
        for same in [&[][..], &["shop.example:8443"], &["SHOP.example:8443"]] {
            assert_eq!(hosts(same).unwrap().get_all(HOST).iter().collect::<Vec<_>>(), ["shop.example:8443"]);
        }
        for other in [&["other.example"][..], &["shop.example"], &["shop.example:8443", "other.example"]] {
            assert_eq!(hosts(other).unwrap_err(), Refusal::BadRequest, "{other:?}");
        }
    }
}
