//! Puts: they create and change, in one step, only what differs.

use std::path::Path;

use serde_json::{Value, json};
use signalbox::grpc::proto::operator_client::OperatorClient;
use signalbox::grpc::proto::{
    GetWholeConfigRequest, InstanceConfig, ListServicesRequest, PutInstanceRequest, RemoveInstanceRequest, RouteConfig,
};
use tonic::transport::Endpoint;

use super::{at, one, put, put_with};
use crate::rest::api::Api;
use crate::server::{Backend, eventually};

#[test]
fn a_put_serves_at_once_and_is_seen_with_its_owner() {
    let api = Api::start();
    let (first, second) = (Backend::start("first"), Backend::start("second"));
    let url = |backend: &Backend| format!("http://{}", backend.address);
    let (head, mut events) = api.stream("/v1/events", "", "");
    assert_eq!(head.status(), 200);
    let created = put(&api, "shop/shop-1", &one(&url(&first), "shop.example"));
    assert_eq!((created.status, created.message.field("etag")), (201, Some("\"1\"")), "{created:?}");
    assert!(api.server.get("shop.example", "/").1.starts_with("first"));
    let changed = put(&api, "shop/shop-1", &one(&url(&second), "shop.example"));
    assert_eq!((changed.status, &changed.json["revision"]), (200, &json!(2)));
    assert!(api.server.get("shop.example", "/").1.starts_with("second"));
    let same = put(&api, "shop/shop-1", &one(&url(&second), "shop.example"));
    assert_eq!((same.status, &same.json["revision"], &same.json["changes"]), (200, &json!(2), &json!([])));

    let listed = api.ask("GET", "/v1/instances", "", None).json;
    assert_eq!((&listed["items"][0]["owner"], &listed["items"][0]["owner_file"]), (&json!("operator"), &json!(null)));
    let services = api.ask("GET", "/v1/services", "", None).json;
    let expected = json!({
        "service_name": "shop", "instances": 1, "instances_connected": 0, "instances_draining": 0,
        "instances_in_maintenance": 0, "routes_active": 1, "owners": ["operator"],
    });
    assert_eq!(services["items"], json!([expected]));
    let audit = api.ask("GET", "/v1/audit?action=registered", "", None).json;
    assert_eq!(audit["items"][0]["actor"], json!({ "kind": "operator", "name": "loopback" }));
    assert_eq!(audit["items"][0]["details"]["owner"], "the operators");
    let told = events.event().unwrap();
    assert_eq!((told.name.as_str(), &told.data["owner"]), ("instance_registered", &json!("operator")));

    assert_eq!(api.ask("DELETE", &at("shop/shop-1"), "", None).status, 204);
    assert_eq!(api.server.get("shop.example", "/").0, 404);
    assert_eq!(api.ask("GET", &at("shop/shop-1"), "", None).problem(), (404, "not_found", ""));
    assert_eq!(api.ask("DELETE", &at("shop/shop-1"), "", None).problem(), (404, "not_found", ""));
}

#[test]
fn the_example_of_the_description_works_as_it_stands() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi/openapi.json");
    let description: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let api = Api::start();
    let created = put(&api, "shop/shop-1", &description["components"]["schemas"]["InstanceConfig"]["example"]);
    assert_eq!(created.status, 201, "{created:?}");
    let route = &description["components"]["schemas"]["RouteConfig"]["example"];
    let created = put(&api, "shop/shop-2", &json!({ "routes": [route] }));
    assert_eq!(created.status, 201, "{created:?}");
}

#[test]
fn what_is_shown_can_be_put_back_and_changes_nothing_whoever_holds_it() {
    let api = Api::start();
    let config = json!({
        "routes": [
            { "name": "cart", "backend": "http://127.0.0.1:1", "domains": ["shop.example"], "path": "/cart",
              "headers": { "x-a": "1" }, "health_check": { "path": "/h", "interval": "1m", "timeout": "1s" } },
            { "backend": "http://127.0.0.1:1", "domains": ["shop.example"], "priority": -1,
              "circuit_breaker": { "threshold": 5, "timeout": "30s", "half_open_requests": 1 } },
        ],
        "options": { "retries": 2 }, "rate_limit": { "requests": 100, "window": "1m" },
        "maintenance_port": 9001, "metadata": { "version": "1.4" },
    });
    assert_eq!(put(&api, "shop/shop-1", &config).status, 201);
    let shown = api.ask("GET", &at("shop/shop-1"), "", None);
    assert_eq!(shown.message.field("etag"), Some("\"1\""));
    assert_eq!((&shown.json["routes"][0]["name"], &shown.json["routes"][1]["name"]), (&json!("cart"), &json!("r2")));
    let again = put(&api, "shop/shop-1", &shown.json);
    assert_eq!((&again.json["revision"], &again.json["changes_total"]), (&json!(1), &json!(0)), "{again:?}");
    let session = api.register("blog", "blog-1");
    api.route(&session, "blog.example", "http://127.0.0.1:1");
    api.apply(&session);
    let shown = api.ask("GET", &at("blog/blog-1"), "", None).json;
    assert_eq!(shown["routes"][0]["domains"], json!(["blog.example"]));
    assert_eq!(api.ask("DELETE", "/v1/instances/blog/blog-1", "", None).status, 204);
    assert_eq!(put(&api, "blog/blog-1", &shown).status, 201);
    assert_eq!(api.ask("GET", &at("blog/blog-1"), "", None).json, shown);
}

#[test]
fn an_edit_of_one_of_ten_routes_leaves_statistics_and_breakers_of_the_others_alone() {
    let api = Api::start();
    let backend = Backend::start("b");
    let route = |number: usize, backend: &str| json!({ "name": format!("n{number}"), "backend": backend, "domains": [format!("h{number}.example")] });
    let url = format!("http://{}", backend.address);
    let breaker = json!({ "threshold": 1, "timeout": "1h", "half_open_requests": 1 });
    let config = |changed: &str| {
        let url = |number| match number {
            3 => "http://127.0.0.1:1",
            7 => changed,
            _ => &url,
        };
        json!({ "routes": (0..10).map(|number| route(number, url(number))).collect::<Vec<_>>(),
                "circuit_breaker": breaker })
    };
    assert_eq!(put(&api, "shop/shop-1", &config(&url)).status, 201);
    for number in 0..10 {
        let expected = if number == 3 { 502 } else { 200 };
        assert_eq!(api.server.get(&format!("h{number}.example"), "/").0, expected);
    }
    let of = |list: &str, key: &str| -> Vec<Value> {
        let items = api.ask("GET", list, "", None).json["items"].clone();
        items.as_array().unwrap().iter().map(|item| item[key].clone()).collect()
    };
    eventually("all are counted", || of("/v1/stats", "requests").iter().all(|requests| *requests == 1));
    eventually("one breaker is open", || of("/v1/routes", "state")[3] == "open");
    let edit = put(&api, "shop/shop-1", &config(&format!("{url}/base")));
    assert_eq!(edit.json["changes_total"], 1, "{edit:?}");
    assert_eq!(edit.json["changes"][0]["target"], "r8");
    let requests: Vec<Value> = (0..10).map(|number| json!(u8::from(number != 7))).collect();
    assert_eq!(of("/v1/stats", "requests"), requests);
    assert_eq!(of("/v1/routes", "state")[3], "open");
    assert!(api.server.get("h7.example", "/x").1.contains("/base/x"));
}

#[test]
fn of_two_operators_who_change_an_instance_the_second_is_told_the_revision() {
    let api = Api::start();
    let instance = "shop/shop-1";
    let new = put_with(&api, instance, "if-none-match: *", &one("http://127.0.0.1:1", "a.example"));
    assert_eq!(new.status, 201);
    let again = put_with(&api, instance, "if-none-match: *", &one("http://127.0.0.1:1", "a.example"));
    assert_eq!(again.problem(), (412, "stale", ""));
    assert_eq!(again.detail(), "the instance exists already, at revision 1");
    let first = put_with(&api, instance, "if-match: \"1\"", &one("http://127.0.0.1:1", "b.example"));
    assert_eq!((first.status, &first.json["revision"]), (200, &json!(2)));
    let second = put_with(&api, instance, "if-match: \"1\"", &one("http://127.0.0.1:1", "c.example"));
    assert_eq!(second.problem(), (412, "stale", ""));
    assert!(second.detail().contains("at revision 2"), "{second:?}");
    assert_eq!(api.send("DELETE", &at(instance), "if-match: \"1\"\r\n", "").problem(), (412, "stale", ""));
    assert_eq!(put_with(&api, instance, "if-match: *", &one("http://127.0.0.1:1", "c.example")).status, 200);
    assert_eq!(api.send("DELETE", &at(instance), "if-match: \"3\"\r\n", "").status, 204);
    assert_eq!(put_with(&api, instance, "if-match: *", &one("http://127.0.0.1:1", "c.example")).status, 412);
    let again = put_with(&api, instance, "if-none-match: *", &one("http://127.0.0.1:1", "c.example"));
    assert_eq!((again.status, again.message.field("etag")), (201, Some("\"4\"")), "no revision comes twice");
    assert_eq!(put_with(&api, instance, "if-match: \"1\"", &one("http://127.0.0.1:1", "d.example")).status, 412);
    assert_eq!(api.send("DELETE", &at(instance), "if-match: \"4\"\r\n", "").status, 204);
    for wrong in ["if-none-match: \"1\"", "if-none-match: *\r\nif-match: *", "if-match: 1"] {
        assert_eq!(put_with(&api, instance, wrong, &one("http://127.0.0.1:1", "c.example")).status, 400, "{wrong}");
    }
}

#[test]
fn a_dry_run_shows_the_changes_and_makes_none() {
    let api = Api::start();
    let dry = |config: &Value| api.ask("PUT", &format!("{}?dry_run=true", at("shop/shop-1")), "", Some(config));
    let would = dry(&one("http://127.0.0.1:1", "a.example"));
    assert_eq!((would.status, &would.json["created"], &would.json["dry_run"]), (200, &json!(true), &json!(true)));
    assert_eq!(api.ask("GET", &at("shop/shop-1"), "", None).status, 404);
    put(&api, "shop/shop-1", &one("http://127.0.0.1:1", "a.example"));
    let before = api.ask("GET", &at("shop/shop-1"), "", None).json;
    let would = dry(&json!({ "backend": "http://127.0.0.1:2", "domains": ["a.example"], "headers": { "x-a": "1" } }));
    assert_eq!((would.status, &would.json["revision"], &would.json["changes_total"]), (200, &json!(1), &json!(2)));
    assert_eq!(would.json["changes"][0]["before"], "a.example / to http://127.0.0.1:1");
    assert_eq!(would.json["changes"][0]["after"], "a.example / to http://127.0.0.1:2");
    assert_eq!(api.ask("GET", &at("shop/shop-1"), "", None).json, before);
    assert_eq!(dry(&json!({})).problem(), (400, "invalid", "backend"));
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_puts_shows_lists_and_removes_the_same() {
    let api = Api::start();
    let channel = Endpoint::from_shared(format!("http://{}", api.address())).unwrap().connect().await.unwrap();
    let mut operator = OperatorClient::new(channel);
    let (service_name, instance_name) = ("shop".to_owned(), "shop-1".to_owned());
    let route = |backend: &str| RouteConfig {
        backend_url: backend.to_owned(),
        domains: vec!["shop.example".to_owned()],
        options: [("timeout".to_owned(), "10s".to_owned())].into(),
        ..RouteConfig::default()
    };
    let request = |backend: &str| PutInstanceRequest {
        service_name: service_name.clone(),
        instance_name: instance_name.clone(),
        config: Some(InstanceConfig { routes: vec![route(backend)], ..InstanceConfig::default() }),
        expected_revision: None,
        only_new: true,
        dry_run: false,
    };
    let created = operator.put_instance(request("http://127.0.0.1:1")).await.unwrap().into_inner();
    assert_eq!((created.created, created.revision, created.changes_total), (true, 1, 2));
    let again = operator.put_instance(request("http://127.0.0.1:1")).await.unwrap_err();
    assert_eq!(again.code(), tonic::Code::Aborted);
    let wrong = operator.put_instance(request("ftp://x")).await.unwrap_err();
    assert!(wrong.message().starts_with("config.routes[0].backend_url: must begin with"), "{wrong:?}");
    let (service, instance) = (service_name.clone(), instance_name.clone());
    let whole = GetWholeConfigRequest { service_name: service, instance_name: instance };
    let shown = operator.get_whole_config(whole).await.unwrap().into_inner();
    let config = shown.config.unwrap();
    assert_eq!((shown.revision, config.routes[0].name.as_deref()), (1, Some("r1")));
    assert_eq!(config.routes[0].options["timeout"], "10s");
    let back = PutInstanceRequest { config: Some(config), only_new: false, ..request("") };
    assert_eq!(operator.put_instance(back).await.unwrap().into_inner().changes_total, 0);
    let listed = operator.list_services(ListServicesRequest::default()).await.unwrap().into_inner();
    assert_eq!((listed.services.len(), listed.services[0].owners.as_slice()), (1, &["operator".to_owned()][..]));
    let remove = RemoveInstanceRequest { service_name, instance_name, expected_revision: Some(1) };
    operator.remove_instance(remove).await.unwrap();
}

#[test]
fn a_list_of_services_in_parts_has_each_once() {
    let api = Api::start();
    for number in 0..5 {
        put(&api, &format!("s{number}/a"), &json!({ "routes": [] }));
        put(&api, &format!("s{number}/b"), &json!({ "routes": [] }));
    }
    let (mut cursor, mut names) = (String::new(), Vec::new());
    loop {
        let part = api.ask("GET", &format!("/v1/services?limit=2&cursor={cursor}"), "", None).json;
        for item in part["items"].as_array().unwrap() {
            assert_eq!(item["instances"].as_u64().unwrap(), 2, "{item}");
            names.push(item["service_name"].as_str().unwrap().to_owned());
        }
        // Of a service that was listed, one more instance comes.
        put(&api, &format!("{}/c", names.last().unwrap()), &json!({ "routes": [] }));
        match part["next_cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => break,
        }
    }
    assert_eq!(names, ["s0", "s1", "s2", "s3", "s4"]);
}
