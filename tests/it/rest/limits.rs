//! Bounds of the REST interface, and the refusals beyond them.

use serde_json::json;

use super::api::Api;
use crate::support::wire::Wire;

#[test]
fn a_body_over_the_limit_is_refused_however_it_comes() {
    let api = Api::with(&["--api-max-body", "1KiB"]);
    let session = api.register("shop", "shop-1");
    let fields = format!("authorization: Bearer {session}\r\ncontent-type: application/json\r\n");
    let large = json!({ "value": "x".repeat(2000) }).to_string();
    let said = api.send("PUT", "/v1/session/headers/ALL/X-A", &fields, &large);
    assert_eq!(said.problem(), (413, "too_large", ""));
    assert!(said.detail().contains("limit 1024 bytes"), "{said:?}");
    let mut wire = Wire::connect(api.address());
    wire.send(format!(
        "PUT /v1/session/headers/ALL/X-A HTTP/1.1\r\nhost: localhost\r\n{fields}transfer-encoding: chunked\r\n\r\n{:x}\r\n{large}\r\n0\r\n\r\n",
        large.len()
    ));
    assert_eq!(wire.message().unwrap().status(), 413);
    let exact = json!({ "value": "x".repeat(1024 - 12) }).to_string();
    assert_eq!((exact.len(), api.send("PUT", "/v1/session/headers/ALL/X-A", &fields, &exact).status), (1024, 204));
}

#[test]
fn metadata_has_a_limit_of_its_own() {
    let api = Api::start();
    let who = json!({ "service_name": "shop", "instance_name": "shop-1", "metadata": { "a": "x".repeat(17_000) } });
    let answer = api.ask("POST", "/v1/sessions", "", Some(&who));
    assert_eq!(answer.problem(), (400, "invalid", "metadata"));
}

#[test]
fn too_many_streams_are_refused_with_when_to_come_back() {
    let api = Api::with(&["--api-streams-max", "1"]);
    let session = api.register("shop", "shop-1");
    let (head, _stream) = api.stream("/v1/events", "", "");
    assert_eq!(head.status(), 200);
    let refused = api.ask("GET", "/v1/session/events", &session, None);
    assert_eq!(refused.problem(), (429, "limited", ""));
    assert!(refused.message.field("retry-after").unwrap().parse::<u32>().unwrap() > 0);
}
