//! The bytes of a refusal that hyper does not write: of a head that hyper refuses itself, whose own answer would have no id, no page and no
//! line in any log; or of a client for which there is no room, or that does not speak TLS.

use std::rc::Rc;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderValue};

use crate::clock;
use crate::proxy::context::client::ClientContext;
use crate::proxy::context::worker::WorkerContext;
use crate::proxy::refusal::Refusal;
use crate::proxy::request::forward::refuse_malformed;
use crate::proxy::response::body::ProxyBody;

/// Returns the bytes of the refusal of a client, of whose request as much is told as has come.
pub(crate) fn answer(worker: &Rc<WorkerContext>, client: &Rc<ClientContext>, refusal: Refusal) -> Vec<u8> {
    let head = client.state.heads().refused();
    let (mut head, body) = refuse_malformed(worker, client, &head, false, refusal).into_parts();
    let page = match body {
        ProxyBody::Whole(page) => page.unwrap_or_default(),
        // A refusal has no other body. The answer must not be empty: the socket would ask for it again and again.
        _ => Bytes::new(),
    };
    head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
    head.headers.insert(CONTENT_LENGTH, page.len().into());
    let date = HeaderValue::try_from(clock::wall_time(clock::now()).http_date());
    date.into_iter().for_each(|date| drop(head.headers.insert(DATE, date)));
    let mut bytes = format!("HTTP/1.1 {} {}\r\n", head.status.as_u16(), refusal.title()).into_bytes();
    for (name, value) in &head.headers {
        bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    bytes.extend(b"\r\n");
    bytes.extend(page);
    bytes
}
