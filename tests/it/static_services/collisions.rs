//! File, operator and session that claim one place: the holder keeps it, and the other one is told who holds it.

use super::{Home, operate, problems, service, service_at, until_served};
use crate::server::{Backend, eventually};
use crate::support::wire::Wire;

fn put(server: &crate::server::Server, instance: &str, body: &str) -> (u16, String) {
    let mut wire = Wire::connect(server.api);
    let (service, instance) = instance.split_once('/').unwrap();
    wire.send(format!(
        "PUT /v1/services/{service}/instances/{instance} HTTP/1.1\r\nhost: localhost\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ));
    let answer = wire.message().unwrap();
    (answer.status(), answer.text().to_owned())
}

#[test]
fn a_session_and_an_operator_are_told_that_a_file_holds_the_place() {
    let one = Backend::start("one");
    let home = Home::new("");
    home.write("conf.d/a.toml", &service("a", &one));
    let server = home.start();
    let mut client = server.connect();
    let refused = client.ask("REGISTER|a|a|1|{}");
    assert!(refused.starts_with("ERROR|the instance a/a is held by the file conf.d/a.toml"), "{refused}");
    let session = client.register("other", "other-1");
    client.ask(&format!("ROUTE_ADD|{session}|a.example|/|http://127.0.0.1:1|0"));
    let refused = client.ask(&format!("CONFIG_APPLY|{session}"));
    assert!(refused.contains("held by service a") && refused.contains("the file conf.d/a.toml"), "{refused}");
    let body = r#"{"backend":"http://127.0.0.1:1","domains":["a.example"]}"#;
    for instance in ["a/a", "other/other-2"] {
        let (status, words) = put(&server, instance, body);
        assert!(status == 409 && words.contains("the file conf.d/a.toml"), "{instance}: {status} {words}");
    }
    assert!(server.get("a.example", "/").1.starts_with("one"));
}

#[test]
fn a_file_is_told_who_holds_its_place_and_gets_it_when_it_is_free() {
    let (one, two) = (Backend::start("one"), Backend::start("two"));
    let home = Home::new("");
    let server = home.start();
    let mut client = server.connect();
    let session = client.register("held", "held-1");
    client.serve(&session, "session.example", "/", one.address);
    let body = format!(r#"{{"backend":"http://{}","domains":["operator.example"]}}"#, one.address);
    assert_eq!(put(&server, "kept/kept-1", &body).0, 201);
    home.write("conf.d/a.toml", &service_at("a", "session.example", &two));
    home.write("conf.d/b.toml", &service_at("b", "operator.example", &two));
    home.write("conf.d/c.toml", &service("c", &two));
    until_served(&server, "c.example", Some("two"));
    eventually("operators see both", || problems(&server).len() == 2);
    let [first, second] = &problems(&server)[..] else { panic!("{:?}", problems(&server)) };
    assert!(first.starts_with("a.toml:1: ") && first.contains("held by a session from 127.0.0.1"), "{first}");
    assert!(second.starts_with("b.toml:1: ") && second.contains("held by the operators"), "{second}");
    assert!(home.log().contains("held by a session from 127.0.0.1"));
    assert!(server.get("session.example", "/").1.starts_with("one"), "the holder keeps it");
    assert_eq!(client.ask(&format!("CLIENT_SHUTDOWN|{session}")), "SHUTDOWN_OK");
    assert_eq!(operate(&server, "DELETE", "/v1/services/kept/instances/kept-1").0, 204);
    // A reload asks at once; without one the file is tried again within half a minute.
    assert_eq!(operate(&server, "POST", "/v1/reload").0, 200);
    until_served(&server, "session.example", Some("two"));
    until_served(&server, "operator.example", Some("two"));
    assert!(problems(&server).is_empty());
}

#[test]
fn two_files_that_list_one_instance_are_told_of_each_other() {
    let (one, two) = (Backend::start("one"), Backend::start("two"));
    let home = Home::new("");
    home.write("conf.d/a.toml", &service("shop", &one));
    home.write("conf.d/b.toml", &service("shop", &two));
    let server = home.start();
    let [problem] = &problems(&server)[..] else { panic!("{:?}", problems(&server)) };
    assert!(problem.starts_with("b.toml:1: ") && problem.contains("held by the file conf.d/a.toml"), "{problem}");
    assert!(server.get("shop.example", "/").1.starts_with("one"));
}
