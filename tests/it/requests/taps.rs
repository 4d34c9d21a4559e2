//! Taps: operators watch requests as they end.

use serde_json::Value;
use signalbox::grpc::proto::operator_client::OperatorClient;
use signalbox::grpc::proto::{RequestFilter, TapRequest};
use tonic::transport::Endpoint;

use crate::server::eventually;
use crate::support::backend::Backend;
use crate::support::server_harness::ServerHarness;
use crate::support::wire::Wire;

/// The reader of a tap.
struct TapReader {
    wire: Wire,
    read: String,
}

/// Opens a tap and waits until it is open.
fn tap(harness: &ServerHarness, query: &str) -> TapReader {
    let mut wire = Wire::connect(harness.server().api);
    wire.send(format!("GET /v1/tap{query} HTTP/1.1\r\nhost: localhost\r\n\r\n"));
    assert_eq!(wire.head().unwrap().status(), 200, "{query}");
    let mut reader = TapReader { wire, read: String::new() };
    reader.until(": signalbox");
    reader
}

impl TapReader {
    /// Reads up to the next such text, and drops all up to its end.
    fn until(&mut self, text: &str) -> String {
        loop {
            if let Some(at) = self.read.find(text) {
                let rest = self.read.split_off(at + text.len());
                return std::mem::replace(&mut self.read, rest);
            }
            self.read += &String::from_utf8(self.wire.chunk().expect("the stream goes on")).unwrap();
        }
    }

    /// Reads until an event with this name has come, and returns its data.
    fn event(&mut self, name: &str) -> Value {
        self.until(&format!("event: {name}\ndata: "));
        let line = self.until("\n");
        serde_json::from_str(line.trim()).unwrap_or_else(|_| panic!("{line}"))
    }
}

#[test]
fn a_tap_shows_the_requests_that_it_was_opened_for() {
    let harness = ServerHarness::open();
    let backend = Backend::named("b");
    let mut instance = harness.empty("shop-1");
    instance.add("a", "/", &backend.url());
    instance.add("a", "/other", &backend.url());
    instance.apply();
    for (query, path) in [
        ("", "/"),
        ("?service=shop", "/"),
        ("?instance=shop/shop-1&route=r2", "/other"),
        ("?path=/o", "/other"),
        ("?host=a&status_min=200", "/"),
    ] {
        let mut open = tap(&harness, query);
        harness.get_of("b", "/foreign").status();
        if path == "/other" {
            harness.get("/");
        }
        let first = if query.is_empty() { "/foreign" } else { path };
        harness.get(path);
        assert_eq!(open.event("request")["path"], *first, "{query}");
    }
}

#[test]
fn a_tap_over_grpc_shows_the_same() {
    let harness = ServerHarness::open();
    let backend = Backend::named("b");
    let _instance = harness.instance("shop-1", &backend);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut stream = runtime.block_on(async {
        let endpoint = Endpoint::from_shared(format!("http://{}", harness.server().api)).unwrap();
        let mut operator = OperatorClient::new(endpoint.connect().await.unwrap());
        let filter = Some(RequestFilter { path: Some("/wanted".to_owned()), ..<_>::default() });
        operator.tap(TapRequest { filter, percent: None, per_second: None }).await.unwrap().into_inner()
    });
    harness.get("/");
    harness.get("/wanted");
    let told = runtime.block_on(stream.message()).unwrap().unwrap();
    assert_eq!(told.requests.iter().map(|request| &*request.path).collect::<Vec<_>>(), ["/wanted"]);
}

#[test]
fn a_tap_is_bounded_and_says_what_it_left_out() {
    let harness = ServerHarness::open();
    let backend = Backend::named("b");
    let _instance = harness.instance("shop-1", &backend);
    let mut open = tap(&harness, "?per_second=1");
    let unread: Vec<TapReader> = (0..15).map(|_| tap(&harness, "?per_second=1000")).collect();
    assert_eq!(harness.operate("GET", "/v1/tap", ""), 429);
    let mut wire = harness.connect();
    for _ in 0..3000 {
        wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(wire.message().unwrap().status(), 200);
    }
    let skipped = open.event("skipped");
    assert!(skipped["count"].as_u64().unwrap() > 0, "{skipped}");
    drop(unread);
    eventually("there is room again", || {
        let mut wire = Wire::connect(harness.server().api);
        wire.send("GET /v1/tap HTTP/1.1\r\nhost: localhost\r\n\r\n");
        wire.head().is_some_and(|head| head.status() == 200)
    });
    for query in ["?percent=0", "?percent=101", "?per_second=0", "?limit=3"] {
        assert_eq!(harness.operate("GET", &format!("/v1/tap{query}"), ""), 400, "{query}");
    }
}

#[test]
fn taps_with_the_same_share_show_the_same_requests() {
    let harness = ServerHarness::open();
    let mut open = [tap(&harness, "?percent=20"), tap(&harness, "?percent=20")];
    let mut wire = harness.connect();
    for number in 0..200 {
        wire.send(format!("GET /{number} HTTP/1.1\r\nhost: a\r\n\r\n"));
        wire.message().unwrap();
    }
    let [one, other] = open.each_mut().map(|open| open.event("request")["path"].to_string());
    assert_eq!(one, other);
}

#[test]
fn a_tap_ends_when_the_server_stops() {
    let harness = ServerHarness::open();
    let mut open = tap(&harness, "");
    harness.server().signal("TERM");
    assert_eq!(open.event("end")["status"], 503);
}
