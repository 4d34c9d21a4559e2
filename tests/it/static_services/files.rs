//! Files that are written, changed, mistyped and removed while the server runs.

use serde_json::json;

use super::{Home, operate, problems, service, service_at, until_served};
use crate::server::{Backend, eventually};

#[test]
fn services_of_the_file_and_of_the_folder_serve_from_the_start_and_say_who_holds_them() {
    let (shop, blog) = (Backend::start("shop"), Backend::start("blog"));
    let home = Home::new(&service("shop", &shop));
    home.write("conf.d/blog.toml", &service("blog", &blog));
    assert_eq!(home.check().0, Some(0));
    let server = home.start();
    assert!(server.get("shop.example", "/").1.starts_with("shop"), "the first request is served");
    assert!(server.get("blog.example", "/").1.starts_with("blog"));
    let (_, instances) = operate(&server, "GET", "/v1/instances");
    let seen: Vec<_> = instances["items"].as_array().unwrap().iter().collect();
    let owners: Vec<_> =
        seen.iter().map(|item| (&item["instance_name"], &item["owner"], &item["owner_file"])).collect();
    let file = json!("file");
    assert_eq!(
        owners,
        [(&json!("blog"), &file, &json!("conf.d/blog.toml")), (&json!("shop"), &file, &json!("signalbox.toml"))]
    );
    assert!(seen.iter().all(|item| item["lease"] == "permanent" && item["expires_at"].is_null()), "{seen:?}");
    assert_eq!(problems(&server), Vec::<String>::new());
    assert_eq!(operate(&server, "DELETE", "/v1/instances/shop/shop").0, 409, "the file would bring it back");
}

#[test]
fn every_setting_of_a_session_can_stand_in_a_file() {
    let backend = Backend::start("up");
    let address = backend.address;
    let home = Home::new(&format!(
        r#"
        [[services]]
        name = "shop"
        [[services.instances]]
        name = "shop-1"
        headers = {{ "X-Frame-Options" = "DENY" }}
        options = {{ timeout = "5s", retries = 2, compression = true }}
        rate_limit = {{ requests = 1000, window = "1m" }}
        maintenance_port = 9001
        metadata = {{ version = "1.4" }}
        [[services.instances.routes]]
        name = "cart"
        backend = "http://{address}"
        domains = ["shop.example"]
        path = "/cart"
        priority = 5
        health_check = {{ path = "/", interval = "10s", timeout = "1s" }}
        circuit_breaker = {{ threshold = 5, timeout = "30s", half_open_requests = 1 }}
        [[services.instances]]
        name = "shop-2"
        backend = "http://{address}"
        domains = ["shop.example", "*.shop.example"]
        "#
    ));
    let server = home.start();
    assert_eq!(server.get("shop.example", "/cart").0, 200);
    assert_eq!(server.get("a.shop.example", "/").0, 200);
    let (_, shown) = operate(&server, "GET", "/v1/instances/shop/shop-1");
    assert_eq!((&shown["maintenance_port"], &shown["metadata"]), (&json!(9001), &json!({ "version": "1.4" })));
    let (_, routes) = operate(&server, "GET", "/v1/routes");
    assert_eq!(routes["items"][0]["priority"], 5);
}

#[test]
fn a_changed_file_changes_its_services_alone_and_the_log_has_the_difference() {
    let (one, two) = (Backend::start("one"), Backend::start("two"));
    let home = Home::new("");
    home.write("conf.d/a.toml", &service("a", &one));
    home.write("conf.d/b.toml", &service("b", &one));
    let server = home.start();
    home.write("conf.d/a.toml", &format!("{}{}", service("a", &two), service("new", &two)));
    until_served(&server, "a.example", Some("two"));
    until_served(&server, "new.example", Some("two"));
    assert!(server.get("b.example", "/").1.starts_with("one"));
    home.remove("conf.d/a.toml");
    until_served(&server, "a.example", None);
    until_served(&server, "new.example", None);
    assert!(server.get("b.example", "/").1.starts_with("one"));
    let log = home.log();
    for words in
        ["added by the file", "changed by the file", "removed by the file", "modified routes r1: ", "conf.d/a.toml"]
    {
        assert!(log.contains(words), "{words}: {log}");
    }
    let (_, applied) = operate(&server, "GET", "/v1/audit?service=b&action=applied");
    assert_eq!(applied["items"].as_array().unwrap().len(), 1, "the other file's instance was left alone");
}

#[test]
fn a_mistyped_file_keeps_its_last_good_version_and_stops_no_other() {
    let (one, two) = (Backend::start("one"), Backend::start("two"));
    let home = Home::new("");
    home.write("conf.d/a.toml", &service("a", &one));
    home.write("conf.d/b.toml", &service("b", &one));
    let server = home.start();
    home.write("conf.d/a.toml", &service("a", &two).replace("domains", "domain"));
    home.write("conf.d/b.toml", &service("b", &two));
    until_served(&server, "b.example", Some("two"));
    assert!(server.get("a.example", "/").1.starts_with("one"), "its last good version");
    eventually("operators see the fault", || !problems(&server).is_empty());
    let [problem] = &problems(&server)[..] else { panic!("{:?}", problems(&server)) };
    assert!(problem.starts_with("a.toml:4: there is no `domain` here; did you mean `domains`?"), "{problem}");
    let (code, said) = home.check();
    assert!(code == Some(1) && said.contains("conf.d/a.toml:4:1: there is no `domain` here"), "{said}");
    let (status, reloaded) = operate(&server, "POST", "/v1/reload");
    assert_eq!((status, &reloaded["problems"][0]["line"]), (200, &json!(4)), "{reloaded}");
    assert_eq!(home.log().matches("did you mean `domains`").count(), 1, "it is logged once");
    home.write("conf.d/a.toml", "");
    eventually("an empty file is a fault", || problems(&server).iter().any(|problem| problem.contains("is empty")));
    assert!(server.get("a.example", "/").1.starts_with("one"));
    home.write("conf.d/a.toml", &service("a", &two));
    until_served(&server, "a.example", Some("two"));
    eventually("the fault is gone", || problems(&server).is_empty());
}

#[test]
fn a_fault_in_the_configuration_file_refuses_the_file_as_a_whole() {
    let one = Backend::start("one");
    let home = Home::new(&service("a", &one));
    let server = home.start();
    home.write(
        "signalbox.toml",
        &format!("[session]\nroutes_max = 1\n{}", service("a", &one).replace("http:", "htp:")),
    );
    eventually("operators see the fault", || !problems(&server).is_empty());
    let [problem] = &problems(&server)[..] else { panic!("{:?}", problems(&server)) };
    assert!(problem.contains("signalbox.toml:5:11: ") && problem.contains("must begin with http://"), "{problem}");
    assert!(server.get("a.example", "/").1.starts_with("one"));
    assert_eq!(home.check().0, Some(1));
    home.write("signalbox.toml", &service_at("a", "b.example", &one));
    until_served(&server, "b.example", Some("one"));
    until_served(&server, "a.example", None);
    eventually("the fault is gone", || problems(&server).is_empty());
    home.write("signalbox.toml", "");
    until_served(&server, "b.example", None);
}

#[test]
fn a_file_in_which_two_instances_claim_one_place_changes_nothing() {
    let one = Backend::start("one");
    let home = Home::new("");
    home.write("conf.d/a.toml", &service("a", &one));
    let server = home.start();
    home.write("conf.d/a.toml", &format!("{}{}", service("new", &one), service_at("other", "new.example", &one)));
    eventually("operators see the fault", || !problems(&server).is_empty());
    let [problem] = &problems(&server)[..] else { panic!("{:?}", problems(&server)) };
    assert!(problem.starts_with("a.toml:5: other/other: ") && problem.contains("held by service new"), "{problem}");
    assert_eq!((server.get("a.example", "/").0, server.get("new.example", "/").0), (200, 404), "all or nothing");
}
