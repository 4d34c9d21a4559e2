//! Backends that are given by name.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::server::{Server, eventually};
use crate::support::backend::Backend;

#[test]
fn a_connection_to_a_name_is_renewed_however_busy_it_is() {
    let carried = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&carried);
    // Counts the connections that carried a request for the client of a route.
    let backend = Backend::new(move |mut wire| {
        let mut is_counted = false;
        while let Some(request) = wire.message() {
            if !is_counted && request.field("host") == Some("named.example") {
                count.fetch_add(1, Ordering::SeqCst);
                is_counted = true;
            }
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let port = backend.address().port();
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_with(folder.path(), &["--proxy-workers", "1"]);
    let mut client = server.connect();
    let session = client.register("named", "named-1");
    client.ask(&format!("ROUTE_ADD|{session}|named.example|/|http://localhost:{port}|0"));
    assert_eq!(client.ask(&format!("CONFIG_APPLY|{session}")), "OK");
    // A second connection that carries requests shows that the name was asked for again: the first was never broken.
    eventually("another connection carries requests", || {
        assert_eq!(server.get("named.example", "/").0, 200);
        carried.load(Ordering::SeqCst) >= 2
    });
}
