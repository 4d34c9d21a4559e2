//! A session id is shown to its owner only.

use serde_json::json;

use super::api::Api;

#[test]
fn a_session_id_is_told_to_its_owner_and_to_nobody_else() {
    let api = Api::with(&["--log-level", "trace"]);
    let session = api.register("shop", "shop-1");
    let secret = session.rsplit('-').next().unwrap().to_owned();
    assert_eq!(secret.len(), 32);
    let (_, mut everything) = api.stream("/v1/events?after=0", "", "");
    let (_, mut own) = api.stream("/v1/session/events", &session, "");
    api.route(&session, "shop.example", "http://127.0.0.1:1");
    api.apply(&session);
    let heard = [everything.event(), everything.event(), own.event()];
    assert!(!format!("{heard:?}").contains(&secret), "{heard:?}");
    for target in ["/v1/overview", "/v1/instances", "/v1/instances/shop/shop-1", "/v1/routes", "/v1/stats"] {
        let answer = api.ask("GET", target, "", None);
        assert_eq!(answer.status, 200);
        assert!(!answer.json.to_string().contains(&secret), "{target}");
    }
    for (method, target, body) in [
        ("GET", "/v1/session/drain", None),
        ("DELETE", "/v1/session/routes/r9", None),
        ("PUT", "/v1/session/rate-limits/ALL", Some(json!({}))),
        ("GET", "/v1/session/config", None),
        ("GET", "/v1/session/nothing", None),
        ("PATCH", "/v1/session", None),
    ] {
        let answer = api.ask(method, target, &session, body.as_ref());
        assert!(!answer.json.to_string().contains(&secret), "{target}");
    }
    assert_eq!(api.ask("DELETE", "/v1/session", &session, None).status, 204);
    let gone = api.ask("GET", "/v1/session", &session, None);
    assert!(!gone.json.to_string().contains(&secret));
    assert!(!std::fs::read_to_string(&api.server.log).unwrap().contains(&secret), "the log");
}
