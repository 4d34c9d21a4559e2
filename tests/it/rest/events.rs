//! Event streams over REST.

use serde_json::json;

use super::api::Api;
use crate::server::eventually;
use crate::support::backend::Backend;

#[test]
fn a_session_hears_what_it_subscribed_to_under_the_number_that_resumes_it() {
    let (api, backend) = (Api::start(), Backend::named("b"));
    let session = api.register("shop", "shop-1");
    let (head, mut stream) = api.stream("/v1/session/events?types=config_applied,maintenance_changed", &session, "");
    assert_eq!((head.status(), head.field("content-type")), (200, Some("text/event-stream")));
    assert_eq!((head.field("cache-control"), head.field("x-accel-buffering")), (Some("no-store"), Some("no")));
    assert!(stream.block().unwrap().contains(": signalbox"), "the stream begins at once");
    api.route(&session, "shop.example", &backend.url());
    api.apply(&session);
    let first = stream.event().unwrap();
    assert_eq!(
        (first.name.as_str(), &first.data),
        ("config_applied", &json!({ "type": "config_applied", "revision": 1 }))
    );
    drop(stream);
    assert_eq!(api.ask("PUT", "/v1/session/maintenance/r1", &session, None).status, 202);

    for fields in ["last-event-id: {}\r\n", ""] {
        let id = first.id.unwrap().to_string();
        let target = if fields.is_empty() {
            format!("/v1/session/events?after={id}")
        } else {
            "/v1/session/events?after=0".to_owned()
        };
        let (_, mut resumed) = api.stream(&target, &session, &fields.replace("{}", &id));
        let next = resumed.event().unwrap();
        assert_eq!((next.name.as_str(), &next.data["target"]), ("maintenance_changed", &json!("r1")));
        assert!(next.id > first.id);
    }
}

#[test]
fn an_open_stream_is_the_sessions_connection() {
    let api = Api::start();
    let session = api.register("shop", "shop-1");
    let connected = || api.ask("GET", "/v1/instances/shop/shop-1", "", None).json["connected"] == true;
    assert!(!connected());
    let (_, stream) = api.stream("/v1/session/events", &session, "");
    assert!(connected());
    drop(stream);
    // The server learns of it when it next writes, or when the connection is seen to be gone.
    eventually("the session is disconnected", || !connected());
}

#[test]
fn a_stream_that_another_takes_over_says_so_before_it_ends() {
    let api = Api::start();
    let session = api.register("shop", "shop-1");
    let (_, mut first) = api.stream("/v1/session/events", &session, "");
    let mut pipe = api.server.connect();
    assert_eq!(pipe.ask(&format!("RECONNECT|{session}")), "OK");
    let end = first.event().unwrap();
    assert_eq!((end.name.as_str(), &end.data["kind"], end.id), ("end", &json!("conflict"), None));
    assert_eq!(first.event(), None);
    let (_, mut second) = api.stream("/v1/session/events", &session, "");
    assert_eq!(api.ask("DELETE", "/v1/session", &session, None).status, 204);
    let end = second.event().unwrap();
    assert_eq!((end.name.as_str(), &end.data["kind"]), ("end", &json!("unauthenticated")));
    assert_eq!(second.event(), None);
}

#[test]
fn streams_end_with_the_server_and_say_why() {
    let api = Api::start();
    let session = api.register("shop", "shop-1");
    let (_, mut own) = api.stream("/v1/session/events", &session, "");
    let (_, mut all) = api.stream("/v1/events", "", "");
    api.server.signal("TERM");
    for stream in [&mut own, &mut all] {
        let mut last = None;
        while let Some(event) = stream.event() {
            last = Some(event);
        }
        let end = last.unwrap();
        assert_eq!((end.name.as_str(), &end.data["kind"]), ("end", &json!("unavailable")));
    }
    assert!(api.server.wait().success());
}

#[test]
fn operators_hear_of_everybody_and_where_they_left_off() {
    let api = Api::start();
    let (_, mut stream) = api.stream("/v1/events", "", "");
    api.register("shop", "shop-1");
    let event = stream.event().unwrap();
    assert_eq!(event.name, "instance_registered");
    assert_eq!((&event.data["service_name"], &event.data["instance_name"]), (&json!("shop"), &json!("shop-1")));
    assert_eq!((&event.data["sequence"], &event.data["type"]), (&json!(event.id), &json!("instance_registered")));
    api.register("till", "till-1");
    let (_, mut resumed) = api.stream("/v1/events", "", &format!("last-event-id: {}\r\n", event.id.unwrap()));
    assert_eq!(resumed.event().unwrap().data["service_name"], "till");
    let (_, mut future) = api.stream("/v1/events?after=999999", "", "");
    let compacted = future.event().unwrap();
    assert_eq!(compacted.name, "compacted");
    assert!(compacted.data["oldest"].is_u64());
}

#[test]
fn a_wrong_request_for_a_stream_gets_none() {
    let api = Api::start();
    let session = api.register("shop", "shop-1");
    let fields = format!("authorization: Bearer {session}\r\nlast-event-id: x\r\n");
    assert_eq!(api.send("GET", "/v1/session/events", &fields, "").problem(), (400, "invalid", "Last-Event-ID"));
    assert_eq!(api.ask("GET", "/v1/session/events?types=foo", &session, None).problem(), (400, "invalid", "types"));
    assert_eq!(api.ask("GET", "/v1/session/events?after=-1", &session, None).problem(), (400, "invalid", "after"));
    assert_eq!(api.ask("GET", "/v1/session/events", "nobody", None).problem(), (401, "unauthenticated", ""));
}

#[test]
fn a_head_request_opens_no_stream() {
    let api = Api::start();
    let session = api.register("shop", "shop-1");
    let (head, _) = api.stream("/v1/session/events", &session, "");
    assert_eq!(head.status(), 200);
    let mut wire = crate::support::wire::Wire::connect(api.address());
    wire.send("HEAD /v1/events HTTP/1.1\r\nhost: localhost\r\n\r\nGET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert_eq!(wire.head().unwrap().field("content-type"), Some("text/event-stream"));
    assert_eq!(wire.message().unwrap().text(), "ok", "the connection goes on");
}
