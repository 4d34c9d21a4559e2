//! Every REST call once, with its purpose.

use serde_json::{Value, json};

use super::api::Api;
use super::description;
use crate::server::{Backend, eventually};

const TOKEN: &str = "0123456789abcdef";

/// The streams, and what is not JSON: they are read in `events`, `metrics` and `backup`.
const STREAMS: [&str; 5] = ["subscribe", "tap", "watch", "getMetrics", "backup"];

#[test]
fn a_service_does_all_it_can_and_an_operator_too() {
    let api = Api::with(&["--api-operator-tokens", TOKEN]);
    let backend = Backend::start("shop");
    let url = format!("http://{}", backend.address);
    let session = api.register("shop", "shop-1");
    staging(&api, &session, &url);
    assert_eq!(api.server.get("shop.example", "/").0, 200);
    running(&api, &session, &url);
    operating(&api);
    undoing(&api);
    ending(&api, &session);
    let called = api.called.borrow();
    let missed: Vec<String> = description::operations()
        .into_iter()
        .filter(|name| !called.contains(name) && !STREAMS.contains(&&**name))
        .collect();
    assert!(missed.is_empty(), "never called: {missed:?}");
}

fn staging(api: &Api, session: &str, url: &str) {
    let ask = |method: &str, target: &str, body: Option<&Value>| api.ask(method, target, session, body);
    assert_eq!(ask("POST", "/v1/session/ping", None).status, 204);
    assert_eq!(ask("POST", "/v1/session/reconnect", None).status, 204);
    assert_eq!(api.route(session, "shop.example", url), "r1");
    let two = json!([
        { "domains": ["a.example"], "path": "/a", "backend_url": url, "priority": -1 },
        { "domains": ["*.b.example", "b.example"], "path": "/b", "backend_url": url },
    ]);
    let added = ask("POST", "/v1/session/routes/bulk", Some(&two));
    assert_eq!(added.json, json!([{ "route_id": "r2", "status": "ok" }, { "route_id": "r3", "status": "ok" }]));
    let change = json!({ "priority": 7, "path": "/aa", "domains": ["aa.example"], "backend_url": url });
    assert_eq!(ask("PATCH", "/v1/session/routes/r2", Some(&change)).status, 204);
    assert_eq!(ask("DELETE", "/v1/session/routes/r3", None).status, 204);
    let listed = ask("GET", "/v1/session/routes", None).json;
    assert_eq!((&listed[1]["path"], &listed[1]["priority"]), (&json!("/aa"), &json!(7)));
    assert_eq!(listed.as_array().unwrap().len(), 2);

    assert_eq!(ask("PUT", "/v1/session/headers/ALL/X-Served-By", Some(&json!({ "value": "us" }))).status, 204);
    assert_eq!(ask("DELETE", "/v1/session/headers/r1/X-Other", None).status, 204);
    assert_eq!(ask("PUT", "/v1/session/options/r1/timeout", Some(&json!({ "value": "10s" }))).status, 204);
    assert_eq!(ask("DELETE", "/v1/session/options/ALL/retries", None).status, 204);
    let check = json!({ "path": "/", "interval": "1m", "timeout": 2 });
    assert_eq!(ask("PUT", "/v1/session/health-checks/r1", Some(&check)).status, 204);
    let limit = json!({ "requests": 1000, "window": "1m" });
    assert_eq!(ask("PUT", "/v1/session/rate-limits/ALL", Some(&limit)).status, 204);
    let breaker = json!({ "threshold": 5, "timeout": "30s", "half_open_requests": 1 });
    assert_eq!(ask("PUT", "/v1/session/circuit-breakers/r1", Some(&breaker)).status, 204);
    for policy in ["health-checks/r2", "rate-limits/r1", "circuit-breakers/ALL"] {
        assert_eq!(ask("DELETE", &format!("/v1/session/{policy}"), None).status, 204, "{policy}");
    }

    let diff = ask("GET", "/v1/session/config/diff", None);
    assert_eq!(diff.json["routes"]["added"], json!(["r1", "r2"]));
    assert_eq!(diff.message.field("etag"), Some("\"0\""));
    assert_eq!(ask("POST", "/v1/session/config/validate", None).status, 204);
    let routes_first = json!({ "scopes": ["routes", "circuit"] });
    assert_eq!(
        ask("POST", "/v1/session/config/apply", Some(&routes_first)).json,
        json!({ "revision": 1, "number": 1 })
    );
    let shown = ask("GET", "/v1/session/config", None);
    assert_eq!(shown.message.field("etag"), Some("\"1\""));
    assert_eq!(shown.json["active"]["headers"], json!([]));
    assert_eq!(shown.json["staged"]["headers"][0]["name"], "x-served-by");
    assert_eq!(shown.json["staged"]["health_checks"][0]["interval"], "1m0s");
    assert_eq!(api.apply(session), 2);
    api.route(session, "never.example", url);
    assert_eq!(ask("POST", "/v1/session/config/rollback", None).status, 204);
    let info = ask("GET", "/v1/session", None);
    assert_eq!((info.message.field("etag"), &info.json["routes_staged"]), (Some("\"2\""), &json!(0)));
    assert_eq!(info.json["session_id"], session);
}

fn running(api: &Api, session: &str, url: &str) {
    let ask = |method: &str, target: &str, body: Option<&Value>| api.ask(method, target, session, body);
    assert_eq!(ask("GET", "/v1/session/circuit-breakers/r1", None).json["state"], "closed");
    assert_eq!(ask("POST", "/v1/session/circuit-breakers/r1/reset", None).status, 204);
    let drain = ask("PUT", "/v1/session/drain", Some(&json!({ "duration": "1h" })));
    assert!(drain.json["completes_at"].is_string(), "{drain:?}");
    assert_eq!(ask("GET", "/v1/session/drain", None).json["duration_seconds"], 3600);
    assert_eq!(ask("DELETE", "/v1/session/drain", None).status, 204);

    // A path that varies is one segment, so its `/` are encoded.
    assert_eq!(ask("PUT", "/v1/session/maintenance/r1,%2Faa", Some(&json!({ "page_url": url }))).status, 202);
    assert_eq!(ask("GET", "/v1/session/maintenance", None).json["in_maintenance"], json!(["r1", "r2"]));
    assert_eq!(ask("DELETE", "/v1/session/maintenance/ALL", None).status, 202);
    eventually("the backends answer", || {
        ask("GET", "/v1/session/maintenance", None).json["in_maintenance"] == json!([])
    });

    // One shape, whether one route is asked for or all.
    let one = || ask("GET", "/v1/session/stats?target=r1", None).json;
    eventually("the request is counted", || one()[0]["requests"] == 1);
    assert_eq!(one().as_array().map(Vec::len), Some(1));
    let all = ask("GET", "/v1/session/stats", None).json;
    assert_eq!((&all[0], all.as_array().map(Vec::len)), (&one()[0], Some(2)));
    assert_eq!(ask("GET", "/v1/session/stats?target=ALL", None).json, all);
    let test = json!({ "backend_url": url });
    assert_eq!(ask("POST", "/v1/session/backend-tests", Some(&test)).json["reachable"], true);
    let test = json!({ "backend_url": "http://127.0.0.1:1" });
    assert_eq!(ask("POST", "/v1/session/backend-tests", Some(&test)).json["reachable"], false);
    assert_eq!(ask("DELETE", "/v1/session/events/all", None).status, 204);
}

fn operating(api: &Api) {
    let ask = |method: &str, target: &str, body: Option<&Value>| api.ask(method, target, TOKEN, body);
    let overview = ask("GET", "/v1/overview", None).json;
    assert_eq!((&overview["instances"], &overview["routes_active"]), (&json!(1), &json!(2)));
    assert_eq!(overview["certificate_expires_at"], json!(null));
    assert_eq!(ask("GET", "/v1/certificates", None).json["items"], json!([]));
    assert_eq!(api.server.get("nowhere.example", "/").0, 404);
    let refused = ask("GET", "/v1/requests?host=nowhere.example", None).json["items"][0].clone();
    assert_eq!(refused["reason"], "no_route");
    let id = refused["id"].as_str().unwrap();
    assert_eq!(ask("GET", &format!("/v1/requests/{id}"), None).json, refused);
    let exported = ask("GET", "/v1/export", None).json;
    assert_eq!(exported["instances"][0]["owner"], "session");
    assert_eq!(ask("POST", "/v1/import?dry_run=true", Some(&exported)).json["refused"], 1);
    assert_eq!(ask("POST", "/v1/reload", None).json, json!({ "changed": [], "needs_restart": [], "problems": [] }));
    assert_eq!(ask("GET", "/v1/instances", None).json["items"][0]["instance_name"], "shop-1");
    assert_eq!(ask("GET", "/v1/routes?instance=shop/shop-1&limit=1", None).json["items"][0]["route_id"], "r1");
    assert_eq!(ask("GET", "/v1/stats", None).json["items"][1]["route_id"], "r2");
    let explained =
        ask("GET", "/v1/explain?host=shop.example:8080&path=/x%3Fy&method=GET&staged=shop/shop-1", None).json;
    assert_eq!((&explained["outcome"], &explained["path"]), (&json!("forwarded"), &json!("/x")));

    let of_operators = "/v1/services/paper/instances/paper-1";
    let config = json!({ "backend": "http://127.0.0.1:1", "domains": ["paper.example"] });
    assert_eq!(ask("PUT", of_operators, Some(&config)).status, 201);
    assert_eq!(ask("GET", of_operators, None).json["routes"][0]["name"], "r1");
    assert_eq!(ask("GET", "/v1/services?limit=1", None).json["items"][0]["service_name"], "paper");
    assert_eq!(ask("DELETE", of_operators, None).status, 204);

    let at = |rest| format!("/v1/instances/shop/shop-1{rest}");
    assert_eq!(ask("PUT", &at("/drain"), Some(&json!({ "duration": 60 }))).status, 200);
    assert_eq!(ask("GET", &at(""), None).json["drain"]["duration_seconds"], 60);
    assert_eq!(ask("DELETE", &at("/drain"), None).status, 204);
    assert_eq!(ask("PUT", &at("/maintenance"), None).status, 202);
    assert_eq!(ask("GET", &at(""), None).json["maintenance"]["in_maintenance"], json!(["r1", "r2"]));
    assert_eq!(ask("DELETE", &at("/maintenance?target=r1"), None).status, 202);
    eventually("the backend answers", || {
        ask("GET", &at(""), None).json["maintenance"]["in_maintenance"] == json!(["r2"])
    });
    staged_by_another(api);
    api.register("shop", "shop-2");
    assert_eq!(ask("DELETE", "/v1/instances/shop/shop-2", None).status, 204);
    assert_eq!(ask("GET", "/v1/instances/shop/shop-2", None).problem(), (404, "not_found", ""));
    let audit = ask("GET", "/v1/audit?service=shop&instance=shop-2&actor=operator&limit=1", None).json;
    assert_eq!(audit["items"][0]["action"], "evicted");
    assert_eq!(ask("GET", "/v1/audit?since=2020-01-01T00:00:00Z", None).json["next_cursor"], Value::Null);
}

/// An operator shows, checks, applies and drops what a session has staged.
fn staged_by_another(api: &Api) {
    let ask =
        |method: &str, rest: &str| api.ask(method, &format!("/v1/instances/shop/shop-3/config{rest}"), TOKEN, None);
    let session = api.register("shop", "shop-3");
    let stage = |domain: &str| api.route(&session, domain, "http://127.0.0.1:1");
    stage("staged.example");
    assert_eq!(ask("GET", "").json["staged"]["routes"][0]["domains"], json!(["staged.example"]));
    let diff = ask("GET", "/diff");
    assert_eq!((&diff.json["routes"]["added"], diff.message.field("etag")), (&json!(["r1"]), Some("\"0\"")));
    assert_eq!(ask("POST", "/validate").status, 204);
    let fields = format!("authorization: Bearer {TOKEN}\r\nif-match: \"7\"\r\n");
    let stale = api.send("POST", "/v1/instances/shop/shop-3/config/apply", &fields, "");
    assert_eq!(stale.problem(), (412, "stale", ""));
    assert_eq!(ask("POST", "/apply").json["revision"], 1);
    stage("dropped.example");
    assert_eq!(ask("POST", "/rollback").status, 204);
    assert_eq!(ask("GET", "").json["staged"], Value::Null);
    let audit = api.ask("GET", "/v1/audit?service=shop&instance=shop-3&actor=operator", TOKEN, None).json;
    let actions: Vec<&Value> = audit["items"].as_array().unwrap().iter().map(|record| &record["action"]).collect();
    assert_eq!(actions, ["rolled_back", "applied"]);
}

/// A service and an operator look at revisions and restore them; an apply is confirmed, another is taken back.
fn undoing(api: &Api) {
    let session = api.register("shop", "shop-4");
    let ask = |method: &str, rest: &str, body: Option<&Value>| {
        api.ask(method, &format!("/v1/session/config{rest}"), &session, body)
    };
    let waiting = |domain: &str| {
        api.route(&session, domain, "http://127.0.0.1:1");
        let applied = ask("POST", "/apply", Some(&json!({ "confirm_within": "1h" })));
        format!("/v1/confirmations/{}", applied.json["confirmation"]["id"].as_str().unwrap())
    };
    assert_eq!(api.ask("POST", &waiting("kept.example"), "", None).status, 204);
    assert_eq!(api.ask("DELETE", &waiting("taken-back.example"), "", None).status, 204);
    let actions = |listed: &Value| -> Vec<String> {
        listed["items"].as_array().unwrap().iter().map(|item| item["action"].as_str().unwrap().to_owned()).collect()
    };
    let listed = ask("GET", "/history", None).json;
    assert_eq!(actions(&listed), ["cancelled", "applied", "applied"]);
    let second = ask("GET", "/history/2", None).json;
    assert_eq!(second["config"]["routes"][1]["domains"], json!(["taken-back.example"]));
    let reverted = ask("POST", "/history/2/revert", Some(&json!({ "reason": "it was right" })));
    assert_eq!(reverted.json, json!({ "revision": 4, "number": 4 }));

    let operate =
        |method: &str, rest: &str| api.ask(method, &format!("/v1/instances/shop/shop-4/history{rest}"), TOKEN, None);
    assert_eq!(operate("GET", "/2").json["config"], second["config"]);
    assert_eq!(operate("POST", "/1/revert").json["number"], 5);
    assert_eq!(actions(&operate("GET", "?limit=2").json), ["reverted", "reverted"]);
    assert_eq!(api.ask("DELETE", &waiting("operated.example"), TOKEN, None).status, 204);
    let by = operate("GET", "?limit=1").json["items"][0]["actor"].clone();
    assert_eq!(by["kind"], "operator", "a token names who takes it back");
}

fn ending(api: &Api, session: &str) {
    assert_eq!(api.ask("DELETE", "/v1/session", session, None).status, 204);
    assert_eq!(api.server.get("shop.example", "/").0, 404, "routes go at once");
    assert_eq!(api.ask("GET", "/v1/session", session, None).problem(), (401, "unauthenticated", ""));
    assert_eq!(api.ask("POST", "/v1/session/reconnect", session, None).problem(), (410, "gone", ""));
}

#[test]
fn an_apply_takes_place_only_at_the_revision_that_was_seen() {
    let api = Api::start();
    let session = api.register("shop", "shop-1");
    let counter = std::cell::Cell::new(1);
    let apply = |if_match: &str| {
        // Something else each time, or there would be nothing to apply.
        let limit = json!({ "requests": counter.replace(counter.get() + 1), "window": "1m" });
        assert_eq!(api.ask("PUT", "/v1/session/rate-limits/ALL", &session, Some(&limit)).status, 204);
        let fields = format!("authorization: Bearer {session}\r\nif-match: {if_match}\r\n");
        api.send("POST", "/v1/session/config/apply", &fields, "")
    };
    assert_eq!(apply("\"0\"").message.field("etag"), Some("\"1\""));
    let stale = apply("\"0\"");
    assert_eq!(stale.problem(), (412, "stale", ""));
    assert!(stale.detail().contains("revision 1, not 0"), "{stale:?}");
    assert_eq!(api.ask("POST", "/v1/session/config/rollback", &session, None).status, 204);
    assert_eq!(apply("\"1\"").json["revision"], 2);
    assert_eq!(api.ask("POST", "/v1/session/config/rollback", &session, None).status, 204);
    assert_eq!(apply("*").json["revision"], 3);
}

#[test]
fn a_change_of_several_fields_is_made_whole_or_not_at_all() {
    let api = Api::launch(|folder| {
        let config = folder.join("signalbox.toml");
        // `printf %s s3cret | sha256sum`
        let digest = "1ec1c26b50d5d3c58d9583181af8076655fe00756bf7285940ba3670f99fcba0";
        std::fs::write(
            &config,
            format!("[[tokens]]\nname = \"team-a\"\nsha256 = \"{digest}\"\ndomains = [\"*.a.example\"]\n"),
        )
        .unwrap();
        crate::server::Server::start_with(folder, &["--config", config.to_str().unwrap()])
    });
    let who = json!({ "service_name": "shop", "instance_name": "shop-1" });
    assert_eq!(api.ask("POST", "/v1/sessions", "", Some(&who)).problem(), (403, "denied", ""));
    let who = json!({ "service_name": "shop", "instance_name": "shop-1", "token": "s3cret" });
    let session = api.ask("POST", "/v1/sessions", "", Some(&who)).json["session_id"].as_str().unwrap().to_owned();
    api.route(&session, "x.a.example", "http://127.0.0.1:1");
    let change = json!({ "priority": 5, "domains": ["b.example"] });
    assert_eq!(
        api.ask("PATCH", "/v1/session/routes/r1", &session, Some(&change)).problem(),
        (403, "denied", "domains")
    );
    assert_eq!(api.ask("GET", "/v1/session/routes", &session, None).json[0]["priority"], 0);
}
