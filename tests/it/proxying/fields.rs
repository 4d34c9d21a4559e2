//! Header fields: what is taken away, added and set.

use signalbox::domain::{RouteId, Target};

use crate::support::backend::Backend;
use crate::support::town::{Town, header};

#[test]
fn what_belongs_to_one_connection_does_not_cross_to_the_other() {
    let backend = Backend::answering(
        "HTTP/1.1 200 OK\r\nconnection: keep-alive, x-theirs\r\nx-theirs: 1\r\nkeep-alive: timeout=5\r\n\
         proxy-connection: x\r\nx-kept: 1\r\ncontent-length: 0\r\n\r\n",
    );
    let town = Town::serving(&backend.url(), &[]);
    let answer = town.ask(
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: x-mine, close\r\nx-mine: 1\r\nkeep-alive: 1\r\nte: gzip\r\n\
         proxy-connection: keep-alive\r\nupgrade: thing\r\nx-kept: 1\r\n\r\n",
    );
    let heard = backend.heard();
    for gone in ["connection", "x-mine", "keep-alive", "te", "proxy-connection", "upgrade"] {
        assert_eq!(heard.field(gone), None, "{gone}");
    }
    assert_eq!(heard.field("x-kept"), Some("1"));
    for gone in ["x-theirs", "keep-alive", "proxy-connection"] {
        assert_eq!(answer.field(gone), None, "{gone}");
    }
    assert_eq!(answer.field("x-kept"), Some("1"));
}

#[test]
fn a_backend_hears_who_the_client_is_and_not_what_it_claims() {
    let backend = Backend::named("b");
    let town = Town::serving(&backend.url(), &[]);
    town.ask(
        "GET / HTTP/1.1\r\nhost: a.example\r\nx-forwarded-for: 6.6.6.6\r\nx-forwarded-proto: https\r\n\
         x-forwarded-host: evil\r\nx-real-ip: 6.6.6.6\r\nforwarded: for=6.6.6.6\r\nvia: 1.1 mine\r\n\r\n",
    );
    let heard = backend.heard();
    assert_eq!(heard.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(heard.field("x-real-ip"), Some("127.0.0.1"));
    assert_eq!(heard.field("x-forwarded-proto"), Some("http"));
    assert_eq!(heard.field("x-forwarded-host"), Some("a.example"));
    assert_eq!(heard.field("forwarded"), None);
    assert_eq!(heard.all("via").collect::<Vec<_>>(), ["1.1 mine", "1.1 signalbox"]);
}

#[test]
fn a_trusted_proxys_word_about_the_client_is_passed_on() {
    let backend = Backend::named("b");
    let mut town = Town::with(|settings| settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()]);
    town.serve("shop", "shop-1", &backend.url(), &[]);
    town.ask(
        "GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 6.6.6.6\r\nx-forwarded-proto: https\r\n\
         x-forwarded-host: outer\r\nx-real-ip: 6.6.6.6\r\n\r\n",
    );
    let heard = backend.heard();
    assert_eq!(heard.field("x-forwarded-for"), Some("6.6.6.6, 127.0.0.1"));
    assert_eq!(heard.field("x-forwarded-proto"), Some("https"));
    assert_eq!(heard.field("x-forwarded-host"), Some("outer"));
    assert_eq!(heard.field("x-real-ip"), Some("6.6.6.6"));
}

#[test]
fn the_clients_host_or_the_backends_own_is_sent() {
    let backend = Backend::named("b");
    Town::serving(&backend.url(), &[]).get("shop.example:8080", "/");
    assert_eq!(backend.heard().field("host"), Some("shop.example:8080"));
    Town::serving(&backend.url(), &[("preserve_host", "false")]).get("shop.example", "/");
    let heard = backend.heard();
    assert_eq!(heard.field("host"), Some(&*backend.address().to_string()));
    assert_eq!(heard.field("x-forwarded-host"), Some("shop.example"));
}

#[test]
fn set_headers_replace_the_backends_and_a_routes_own_beats_all() {
    let backend = Backend::answering(
        "HTTP/1.1 200 OK\r\nx-a: backend\r\nx-a: twice\r\nx-b: backend\r\ncontent-length: 0\r\n\r\n",
    );
    let mut town = Town::new();
    let key = town.serve("shop", "shop-1", &backend.url(), &[]);
    let own = Target::Route(RouteId(1));
    town.apply(
        key,
        vec![header(Target::All, "x-a", "all"), header(Target::All, "x-b", "all"), header(own, "x-b", "own")],
    );
    let answer = town.get("a", "/");
    assert_eq!((answer.field("x-a"), answer.field("x-b")), (Some("all"), Some("own")));
}

#[test]
fn a_request_that_goes_in_a_circle_is_stopped() {
    let (mut town, mut next) = (Town::new(), Town::new());
    let (here, there) = (format!("http://{}", town.address()), format!("http://{}", next.address()));
    town.serve("shop", "shop-1", &there, &[]);
    next.serve("shop", "shop-1", &here, &[]);
    assert_eq!(town.get("a", "/").status(), 508);
}

#[test]
fn a_length_that_is_said_several_times_over_is_passed_on_once() {
    let backend = Backend::answering("HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok");
    let answer = Town::serving(&backend.url(), &[]).get("a", "/");
    assert_eq!((answer.field("content-length"), answer.text()), (Some("2"), "ok"));
}
