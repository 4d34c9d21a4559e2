//! Health checks of the running program, as backends and sessions see them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::server::{Client, Server, eventually};
use crate::support::backend::Backend;

/// A backend whose status can be changed, and that counts its checks.
struct Patient {
    backend: Backend,
    status: Arc<AtomicUsize>,
    checks: Arc<AtomicUsize>,
}

impl Patient {
    fn new(name: &'static str) -> Self {
        let (status, checks) = (Arc::new(AtomicUsize::new(200)), Arc::new(AtomicUsize::new(0)));
        let (told, counted) = (Arc::clone(&status), Arc::clone(&checks));
        let backend = Backend::new(move |mut wire| {
            while let Some(request) = wire.message() {
                let is_check = request.field("user-agent") == Some("signalbox");
                counted.fetch_add(usize::from(is_check), Ordering::SeqCst);
                let status = told.load(Ordering::SeqCst);
                // 0: the dead accept and never answer.
                if status == 0 {
                    wire.has_ended();
                    return;
                }
                wire.send(format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{name}", name.len()));
            }
        });
        Self { backend, status, checks }
    }

    fn address(&self) -> SocketAddr {
        self.backend.address()
    }

    fn turns(&self, status: usize) {
        self.status.store(status, Ordering::SeqCst);
    }

    fn checks(&self) -> usize {
        self.checks.load(Ordering::SeqCst)
    }
}

/// An instance of `shop` that serves `shop.example`, checked every 100 ms.
fn instance(server: &Server, instance: &str, patient: &Patient) -> (Client, String) {
    let mut client = server.connect();
    let session = client.register("shop", instance);
    for (key, value) in [("health_check_interval", "100ms"), ("health_check_timeout", "100ms")] {
        assert_eq!(client.ask(&format!("OPTIONS_SET|{session}|ALL|{key}|{value}")), "OPTIONS_OK");
    }
    client.serve(&session, "shop.example", "/", patient.address());
    (client, session)
}

fn explicit(client: &mut Client, session: &str, interval: &str) {
    assert_eq!(client.ask(&format!("HEALTH_SET|{session}|r1|/well|{interval}|{interval}")), "HEALTH_OK");
    assert_eq!(client.ask(&format!("CONFIG_APPLY|{session}")), "OK");
}

fn is_healthy(client: &mut Client, session: &str) -> bool {
    let status = client.ask(&format!("CIRCUIT_BREAKER_STATUS|{session}|r1"));
    assert!(status.starts_with("CIRCUIT_STATUS_OK|"), "{status}");
    status.contains("\"healthy\":true")
}

#[test]
fn the_first_check_is_at_once_and_asks_for_what_is_set() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let backend = Backend::named("b");
    let mut client = server.connect();
    let session = client.register("shop", "shop-1");
    client.ask(&format!("ROUTE_ADD|{session}|shop.example|/|{}/base|0", backend.url()));
    client.ask(&format!("OPTIONS_SET|{session}|r1|health_check_path|/ping"));
    client.ask(&format!("CONFIG_APPLY|{session}"));
    let heard = backend.checked();
    assert_eq!((heard.line.as_str(), heard.field("host")), ("GET /base/ping HTTP/1.1", Some("shop.example")));
    // Another check begins at once, long before the interval of 30 s is over.
    explicit(&mut client, &session, "1h");
    assert_eq!(backend.checked().target(), "/base/well");
    let other = Backend::named("c");
    client.ask(&format!("ROUTE_UPDATE|{session}|r1|backend_url|{}", other.url()));
    client.ask(&format!("CONFIG_APPLY|{session}"));
    assert_eq!(other.checked().target(), "/well");
    assert!(backend.checked_no_more());
}

#[test]
fn a_backend_given_by_name_is_checked_again_and_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let patient = Patient::new("b");
    let mut client = server.connect();
    let session = client.register("shop", "shop-1");
    let port = patient.address().port();
    client.ask(&format!("OPTIONS_SET|{session}|ALL|health_check_interval|100ms"));
    client.ask(&format!("ROUTE_ADD|{session}|shop.example|/|http://localhost:{port}|0"));
    client.ask(&format!("CONFIG_APPLY|{session}"));
    eventually("checks follow the first", || patient.checks() > 5);
    patient.turns(503);
    eventually("it is found ill", || !is_healthy(&mut client, &session));
    patient.turns(200);
    eventually("it is found well", || is_healthy(&mut client, &session));
}

#[test]
fn nobody_is_asked_more_often_than_ten_times_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect();
    let session = client.register("shop", "shop-1");
    client.ask(&format!("ROUTE_ADD|{session}|shop.example|/|http://127.0.0.1:1|0"));
    let too_short = "99ms between health checks is too short; at least 100ms is needed";
    let refused = client.ask(&format!("HEALTH_SET|{session}|r1|/|99ms|1s"));
    assert_eq!(refused, format!("ERROR|interval: {too_short}"));
    let refused = client.ask(&format!("OPTIONS_SET|{session}|ALL|health_check_interval|99ms"));
    assert_eq!(refused, format!("ERROR|health_check_interval: {too_short}"));
    assert_eq!(client.ask(&format!("HEALTH_SET|{session}|r1|/|100ms|1ms")), "HEALTH_OK");
}

#[test]
fn routes_of_the_store_are_checked_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let backend = Backend::named("b");
    let server = Server::start(folder.path());
    let mut client = server.connect();
    let session = client.register("shop", "shop-1");
    client.serve(&session, "shop.example", "/", backend.address());
    backend.checked();
    server.kill();
    let _server = Server::start(folder.path());
    assert_eq!(backend.checked().target(), "/");
}

#[test]
fn checks_stop_when_the_route_goes() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let (leaving, staying) = (Patient::new("a"), Patient::new("b"));
    let (mut client, session) = instance(&server, "shop-1", &leaving);
    let (_other, _) = instance(&server, "shop-2", &staying);
    eventually("both are checked", || leaving.checks() > 2 && staying.checks() > 2);
    assert_eq!(client.ask(&format!("ROUTE_REMOVE|{session}|r1")), "ROUTE_OK");
    assert_eq!(client.ask(&format!("CONFIG_APPLY|{session}")), "OK");
    let seen = staying.checks();
    eventually("what was under way has ended", || staying.checks() > seen + 2);
    let (left, seen) = (leaving.checks(), staying.checks());
    eventually("the other is checked on", || staying.checks() > seen + 10);
    assert_eq!(leaving.checks(), left);
}

#[test]
fn a_dead_backend_does_not_hold_up_the_checks_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let (dead, well) = (Patient::new("dead"), Patient::new("well"));
    dead.turns(0);
    let mut client = server.connect();
    let session = client.register("morgue", "morgue-1");
    for n in 1..=300 {
        client.ask(&format!("ROUTE_ADD|{session}|h{n}.example|/|http://{}|0", dead.address()));
        client.ask(&format!("HEALTH_SET|{session}|r{n}|/{n}|1h|1h"));
    }
    assert_eq!(client.ask(&format!("CONFIG_APPLY|{session}")), "OK");
    eventually("as many as may wait for the dead", || dead.checks() == 8);
    let (_client, _session) = instance(&server, "shop-1", &well);
    eventually("the others are checked", || well.checks() > 10);
    assert_eq!(dead.checks(), 8);
}

#[test]
fn a_backend_that_stops_answering_gets_no_more_requests_until_it_has_answered_two_checks() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let (a, b) = (Patient::new("a"), Patient::new("b"));
    let (mut client, session) = instance(&server, "shop-1", &a);
    let (_other, _) = instance(&server, "shop-2", &b);
    eventually("both get requests", || server.get("shop.example", "/").1 == "a");
    assert_eq!(client.ask(&format!("SUBSCRIBE|{session}|backend_health_changed")), "SUBSCRIBE_OK");
    a.turns(0);
    assert_eq!(
        client.pushed_line(),
        r#"EVENT|backend_health_changed|{"route_id":"r1","healthy":false,"reason":"no answer within 100ms"}"#
    );
    assert!(!is_healthy(&mut client, &session));
    for _ in 0..50 {
        assert_eq!(server.get("shop.example", "/"), (200, "b".to_owned()));
    }
    a.turns(200);
    assert_eq!(
        client.pushed_line(),
        r#"EVENT|backend_health_changed|{"route_id":"r1","healthy":true,"reason":"2 checks succeeded"}"#
    );
    assert!(is_healthy(&mut client, &session));
    eventually("it gets requests again", || server.get("shop.example", "/").1 == "a");
}

#[test]
fn a_route_whose_backend_was_unhealthy_is_told_healthy_with_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let (a, b) = (Patient::new("a"), Patient::new("b"));
    let (mut client, session) = instance(&server, "shop-1", &a);
    assert_eq!(client.ask(&format!("SUBSCRIBE|{session}|backend_health_changed")), "SUBSCRIBE_OK");
    a.turns(500);
    assert!(client.pushed_line().contains("\"healthy\":false"));
    assert_eq!(client.ask(&format!("ROUTE_UPDATE|{session}|r1|backend_url|http://{}", b.address())), "ROUTE_OK");
    assert_eq!(client.ask(&format!("CONFIG_APPLY|{session}")), "OK");
    assert_eq!(
        client.pushed_line(),
        r#"EVENT|backend_health_changed|{"route_id":"r1","healthy":true,"reason":"the route has another backend"}"#
    );
}

#[test]
fn the_default_check_never_refuses_the_last_member() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let a = Patient::new("a");
    let (mut client, session) = instance(&server, "shop-1", &a);
    a.turns(404);
    assert_eq!(server.get("shop.example", "/").0, 404);
    a.turns(500);
    eventually("it is unhealthy", || !is_healthy(&mut client, &session));
    assert_eq!(server.get("shop.example", "/"), (500, "a".to_owned()), "what it answers is passed on");
}

#[test]
fn an_explicit_check_refuses_when_all_members_are_unhealthy() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let (a, b) = (Patient::new("a"), Patient::new("b"));
    let (mut client, session) = instance(&server, "shop-1", &a);
    let (mut other, sister) = instance(&server, "shop-2", &b);
    explicit(&mut client, &session, "100ms");
    explicit(&mut other, &sister, "100ms");
    // Well enough for the default check, but not for one that was asked for.
    a.turns(404);
    b.turns(404);
    eventually("both are unhealthy", || !is_healthy(&mut client, &session) && !is_healthy(&mut other, &sister));
    assert_eq!(server.get("shop.example", "/").0, 503);
    b.turns(302);
    eventually("one is healthy again", || is_healthy(&mut other, &sister));
    assert_eq!(server.get("shop.example", "/").0, 302);
}
