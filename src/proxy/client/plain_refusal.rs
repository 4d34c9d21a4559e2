//! Answers that are written to the socket without hyper.

use std::pin::Pin;
use std::task::Context;

use tokio::net::TcpStream;

use crate::proxy::client::transport::ClientTransport;

/// Answers 503 to a client for which there is no room, before it has sent a request.
pub(crate) fn refuse_connection(socket: &TcpStream) {
    // The answer fits into the empty buffer of a socket, or is lost with the socket.
    let _ = socket.try_write(busy("Too many connections.\n").as_bytes());
}

/// Answers 503 to a client when there is no memory for the rest of its request.
pub(crate) fn refuse_for_memory(socket: &mut impl ClientTransport, cx: &mut Context<'_>) {
    let page = busy("There is no memory for the rest of the request.\n");
    let _ = Pin::new(socket).poll_write(cx, page.as_bytes());
}

/// Answers 400 to a client that speaks HTTP to the port of HTTPS.
pub(crate) fn refuse_plain_http(socket: &TcpStream) {
    let page = page("400 Bad Request", "", "This port speaks https, and the request came as plain http.\n");
    let _ = socket.try_write(page.as_bytes());
}

fn busy(sentence: &str) -> String {
    page("503 Service Unavailable", "Retry-After: 5\r\n", sentence)
}

fn page(status: &str, fields: &str, sentence: &str) -> String {
    let length = sentence.len();
    format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\n{fields}Content-Type: text/plain\r\n\
         Content-Length: {length}\r\n\r\n{sentence}"
    )
}
