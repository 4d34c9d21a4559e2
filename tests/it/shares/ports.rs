//! Connections of the pipe and the API port: an address has a share, idle ones make way, used ones never do.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::connect_from;
use super::http2::{Peer, request};
use crate::server::{Client, Server, eventually};
use crate::support::PATIENCE;
use crate::support::backend::Backend;
use crate::support::wire::Wire;

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
const EVENTS: &str = "GET /v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// A server both of whose ports take so many connections.
fn server(all: usize, of_address: Option<usize>, flags: &[&str]) -> (tempfile::TempDir, Server) {
    let folder = tempfile::tempdir().unwrap();
    let (all, of_address) = (all.to_string(), of_address.map(|most| most.to_string()));
    let mut given = vec!["--pipe-connections-max", &all, "--api-connections-max", &all];
    if let Some(most) = &of_address {
        given.extend(["--pipe-address-connections-max", most, "--api-address-connections-max", most]);
    }
    given.extend(flags);
    let server = Server::start_with(folder.path(), &given);
    (folder, server)
}

/// Connections that are of no use to their client, on each port.
#[derive(Clone, Copy, Debug)]
enum Waste {
    Silence,
    HalfALine,
    IdlePipe,
    SilentApi,
    HalfAHead,
    IdleHttp1,
    IdleHttp2,
}

const ALL_WASTE: [Waste; 7] = [
    Waste::Silence,
    Waste::HalfALine,
    Waste::IdlePipe,
    Waste::SilentApi,
    Waste::HalfAHead,
    Waste::IdleHttp1,
    Waste::IdleHttp2,
];

impl Waste {
    fn is_of_pipe(self) -> bool {
        matches!(self, Waste::Silence | Waste::HalfALine | Waste::IdlePipe)
    }

    /// Opens a connection from 127.0.0.`last` and has it come to this. It may be refused, or end at any time.
    fn open(self, server: &Server, last: u8) -> TcpStream {
        let port = if self.is_of_pipe() { server.pipe } else { server.api };
        let mut stream = connect_from(last, port);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let preface = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
        let http2 = [preface, request(1, "/healthz")].concat();
        let (bytes, answers): (&[u8], bool) = match self {
            Waste::Silence | Waste::SilentApi => (b"", false),
            Waste::HalfALine => (b"PING|", false),
            Waste::HalfAHead => (b"GET / HTTP/1.1\r\nx: ", false),
            Waste::IdlePipe => (b"PING|nobody\n", true),
            Waste::IdleHttp1 => (HEALTH.as_bytes(), true),
            Waste::IdleHttp2 => (&http2, true),
        };
        // One that was refused may be closed already.
        let _ = stream.write_all(bytes);
        if answers {
            let _ = stream.read(&mut [0; 4096]);
        }
        stream
    }
}

/// Returns true if the port that `waste` is of serves a new client from 127.0.0.`last`.
fn is_served(waste: Waste, server: &Server, last: u8) -> bool {
    if waste.is_of_pipe() {
        let mut client = Client::over(connect_from(last, server.pipe)).unwrap();
        return client.try_ask("PING|nobody").is_ok_and(|reply| reply.starts_with("ERROR|invalid session"));
    }
    let mut wire = Wire::over(connect_from(last, server.api));
    wire.send(HEALTH);
    wire.message().is_some_and(|answer| answer.status() == 200)
}

#[test]
fn a_crowd_from_one_address_delays_no_other_client() {
    for waste in ALL_WASTE {
        let (_folder, server) = server(8, None, &[]);
        let crowd: Vec<TcpStream> = (0..30).map(|_| waste.open(&server, 2)).collect();
        assert!(is_served(waste, &server, 3), "beside {waste:?}");
        drop(crowd);
    }
}

#[test]
fn useless_connections_make_way_for_new_ones_at_a_full_port() {
    // Unfinished connections make way after seconds, so all kinds run at once.
    let kinds = ALL_WASTE.map(|waste| std::thread::spawn(move || makes_way(waste)));
    kinds.into_iter().for_each(|kind| kind.join().unwrap());
}

fn makes_way(waste: Waste) {
    // From as many addresses as places, so that nobody is at its share.
    let (_folder, server) = server(4, Some(2), &[]);
    let mut crowd: Vec<TcpStream> = (0..4).map(|at| waste.open(&server, 10 + at)).collect();
    eventually("a new one is served", || is_served(waste, &server, 3));
    crowd.iter().for_each(|stream| stream.set_nonblocking(true).unwrap());
    eventually("one of the crowd is closed", || {
        crowd.iter_mut().any(|stream| matches!(stream.read(&mut [0; 4096]), Ok(0)))
    });
}

#[test]
fn sessions_of_one_address_fill_its_share_of_the_pipe_alone_and_why_more_are_refused_is_told() {
    let (_folder, server) = server(8, None, &[]);
    let from = |last| Client::over(connect_from(last, server.pipe)).unwrap();
    let mut crowd: Vec<Client> = (0..6).map(|_| from(2)).collect();
    let ids: Vec<String> =
        crowd.iter_mut().enumerate().map(|(at, client)| client.register("crowd", &format!("crowd-{at}"))).collect();
    let full = "too many connections from 127.0.0.2 (limit 6)";
    for _ in 0..20 {
        assert_eq!(from(2).try_reply().unwrap(), format!("ERROR|{full}; try again later"));
    }
    let mut quiet = from(3);
    quiet.register("quiet", "quiet-1");
    let log = || std::fs::read_to_string(&server.log).unwrap();
    eventually("it is told", || log().contains(&format!("connections were refused: {full}")));
    assert!(log().matches("connections were refused").count() < 20, "many are told of together");
    for (client, id) in crowd.iter_mut().zip(&ids) {
        assert_eq!(client.ask(&format!("PING|{id}")), "PONG", "nobody was cut");
    }
    crowd.pop();
    eventually("there is a place again", || from(2).try_ask("PING|x").is_ok_and(|reply| reply.contains("session")));
}

#[test]
fn streams_of_one_address_fill_its_share_of_the_api_port_alone() {
    let (_folder, server) = server(8, None, &[]);
    let stream = |last| {
        let mut wire = Wire::over(connect_from(last, server.api));
        wire.send(EVENTS);
        let status = wire.head().map(|head| head.status());
        (wire, status)
    };
    let mut crowd: Vec<_> = (0..6).map(|_| stream(2)).collect();
    assert!(crowd.iter().all(|(_, status)| *status == Some(200)));
    assert_eq!(stream(2).1, Some(503));
    let (_quiet, status) = stream(3);
    assert_eq!(status, Some(200));
    let log = || std::fs::read_to_string(&server.log).unwrap();
    eventually("it is told", || log().contains("refused: too many connections from 127.0.0.2 (limit 6)"));
    crowd.pop();
    eventually("there is a place again", || stream(2).1 == Some(200));
}

#[test]
fn refusals_of_the_proxy_are_told_too() {
    let folder = tempfile::tempdir().unwrap();
    // One worker takes them in the order in which they come.
    let server = Server::start_with(folder.path(), &["--proxy-connections-max", "1", "--proxy-workers", "1"]);
    let log = || std::fs::read_to_string(&server.log).unwrap();
    let mut half = Wire::connect(server.proxy);
    half.send("GET / HTTP/1.1\r\nx: ");
    eventually("one is refused, and that is told", || {
        let _more = Wire::connect(server.proxy);
        log().contains("connections were refused: too many connections (limit 1)")
    });
}

#[test]
fn a_pipe_connection_in_use_is_not_closed_however_many_come() {
    let (_folder, server) = server(4, Some(4), &[]);
    let silent = Backend::new(|mut wire| {
        wire.head();
        wire.has_ended();
    });
    let mut bound = server.connect();
    let session = bound.register("shop", "shop-1");
    bound.serve(&session, "shop.example", "/", silent.address());
    // One whose command is under way, and one that waits for the outcome of another.
    let mut testing = server.connect();
    let before = silent.connections();
    testing.writer.write_all(format!("BACKEND_TEST|{session}|http://{}\n", silent.address()).as_bytes()).unwrap();
    eventually("the test is under way", || silent.connections() > before);
    let mut maintaining = server.connect();
    assert_eq!(maintaining.ask(&format!("MAINT_ENTER|{session}|ALL|http://127.0.0.1:1/")), "ACK");
    let crowd: Vec<TcpStream> = (0..20)
        .map(|_| {
            eventually("a new one is served", || is_served(Waste::IdlePipe, &server, 1));
            Waste::IdlePipe.open(&server, 1)
        })
        .collect();
    assert_eq!(bound.ask(&format!("PING|{session}")), "PONG");
    assert_eq!(bound.ask(&format!("MAINT_ENTER|{session}|ALL|")), "ACK");
    let outcome = maintaining.try_reply().unwrap();
    assert!(outcome.starts_with("ERROR|") && outcome.contains("cancel"), "{outcome}");
    assert!(testing.try_reply().unwrap().starts_with("BACKEND_FAIL|"));
    drop(crowd);
}

#[test]
fn an_api_connection_in_use_is_not_closed_however_many_come_and_idle_ones_get_goaway() {
    let (_folder, server) = server(4, Some(4), &[]);
    let mut wire = Wire::connect(server.api);
    wire.send(EVENTS);
    assert_eq!(wire.head().unwrap().status(), 200);
    let mut peer = Peer::connect(server.api, 65_535);
    peer.send(&request(1, "/v1/events"));
    assert!(peer.is_answered(1));
    let mut idle = Peer::connect(server.api, 65_535);
    idle.send(&request(1, "/healthz"));
    assert!(idle.is_answered(1));
    let crowd: Vec<TcpStream> = (0..20)
        .flat_map(|_| {
            eventually("a new one is served", || is_served(Waste::IdleHttp1, &server, 1));
            [Waste::IdleHttp1.open(&server, 1), Waste::IdleHttp2.open(&server, 1)]
        })
        .collect();
    assert!(idle.was_told_to_go(), "an idle HTTP/2 connection is closed in good order");
    peer.send(&request(3, "/healthz"));
    assert!(peer.is_answered(3), "one with a stream is not");
    let mut pipe = server.connect();
    pipe.register("shop", "shop-1");
    let seen = std::iter::from_fn(|| wire.chunk()).take(100).any(|bytes| !bytes.is_empty());
    assert!(seen, "nor is a stream of HTTP/1.1");
    drop(crowd);
}

#[test]
fn trusted_proxies_speak_for_many_and_have_no_share() {
    let (_folder, server) = server(8, Some(1), &["--proxy-trusted-proxies", "127.0.0.2/32"]);
    let mut open = Vec::new();
    for at in 0..3 {
        let mut client = Client::over(connect_from(2, server.pipe)).unwrap();
        client.register("shop", &format!("shop-{at}"));
        let mut wire = Wire::over(connect_from(2, server.api));
        wire.send(EVENTS);
        assert_eq!(wire.head().unwrap().status(), 200);
        open.push((client, wire));
    }
    let mut one = Client::over(connect_from(3, server.pipe)).unwrap();
    one.register("other", "other-1");
    let refused = Client::over(connect_from(3, server.pipe)).unwrap().try_reply().unwrap();
    assert_eq!(refused, "ERROR|too many connections from 127.0.0.3 (limit 1); try again later");
}
