//! Answers that are written to the socket without hyper.

use tokio::net::TcpStream;

/// Answers 503 to a client for which there is no room, before it has sent a request.
pub(crate) fn refuse_connection(socket: &TcpStream) {
    refuse(socket, "Too many connections.\n");
}

/// Answers 503 to a client when there is no memory for the rest of its request.
pub(crate) fn refuse_for_memory(socket: &TcpStream) {
    refuse(socket, "There is no memory for the rest of the request.\n");
}

fn refuse(socket: &TcpStream, sentence: &str) {
    let length = sentence.len();
    let page = format!(
        "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\n\
         Content-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{sentence}"
    );
    // The answer fits into the empty buffer of a socket, or is lost with the socket.
    let _ = socket.try_write(page.as_bytes());
}
