//! Health checks of one session are on time, whatever the backends of another session do.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::interfaces;
use crate::server::{Client, Server, eventually};
use crate::support::backend::Backend;

const INTERVAL: Duration = Duration::from_secs(1);

/// A session whose one backend is checked each second, and remembers when.
struct Quiet {
    _client: Client,
    _backend: Backend,
    checked: Arc<Mutex<Vec<Instant>>>,
}

impl Quiet {
    fn join(server: &Server) -> Self {
        let checked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&checked);
        let backend = Backend::new(move |mut wire| {
            while wire.message().is_some() {
                noted.lock().unwrap().push(Instant::now());
                wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
            }
        });
        let mut client = server.connect();
        let session = client.register("quiet", "quiet-1");
        let millis = INTERVAL.as_millis();
        assert_eq!(client.ask(&format!("OPTIONS_SET|{session}|ALL|health_check_interval|{millis}ms")), "OPTIONS_OK");
        client.serve(&session, "quiet.example", "/", backend.address());
        Self { _client: client, _backend: backend, checked }
    }

    /// The longest time from one check to the next, over so many from now on.
    fn longest_wait(&self, checks: usize) -> Duration {
        let seen = || self.checked.lock().unwrap().len();
        eventually("it is checked at all", || seen() > 0);
        let from = seen() - 1;
        // Each check has its own time to come: how many a busy machine gets done within a time is not what counts.
        for next in 1..=checks {
            eventually("it is checked again and again", || seen() > from + next);
        }
        let times = self.checked.lock().unwrap()[from..].to_vec();
        times.windows(2).map(|two| two[1] - two[0]).max().unwrap()
    }
}

/// A port of every local address that takes no connection: what is sent there is lost.
struct BlackHole {
    port: u16,
    _socket: Socket,
    _waiting: Vec<Socket>,
}

impl BlackHole {
    fn open() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([0, 0, 0, 0], 0)).into()).unwrap();
        socket.listen(0).unwrap();
        let port = socket.local_addr().unwrap().as_socket().unwrap().port();
        let waiting = (0..4).map(|_| {
            let waiting = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).unwrap();
            // It is on its way, and stays so once there is no room to wait.
            let _ = waiting.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into());
            waiting
        });
        let waiting = waiting.collect();
        Self { port, _socket: socket, _waiting: waiting }
    }
}

/// A port of every local address that takes every connection and, ten times a second, says `word` on each, for ever.
fn never_done(word: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let taken: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
    let talking = Arc::clone(&taken);
    thread::spawn(move || {
        for connection in listener.incoming().map_while(Result::ok) {
            connection.set_nonblocking(true).unwrap();
            taken.lock().unwrap().push(connection);
        }
    });
    thread::spawn(move || {
        loop {
            thread::sleep(Duration::from_millis(100));
            talking.lock().unwrap().retain_mut(|connection| match connection.write(word) {
                Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
                Ok(_) => true,
            });
        }
    });
    port
}

/// Different local addresses, all at one port.
fn addresses(port: u16, count: usize) -> impl Iterator<Item = SocketAddr> {
    (0..count).map(move |n| {
        let [_, _, high, low] = u32::try_from(n).unwrap().to_be_bytes();
        SocketAddr::from(([127, 77, high, low], port))
    })
}

/// A session with these backends, each to be waited for as long as can be said.
fn greedy(server: &Server, name: &str, backends: impl Iterator<Item = SocketAddr>) -> Client {
    let mut client = server.connect();
    let session = client.register(name, name);
    let lines = backends.zip(1..).map(|(backend, n)| {
        format!("ROUTE_ADD|{session}|h{n}.{name}.example|/|http://{backend}|0\nHEALTH_SET|{session}|r{n}|/|1h|8784h\n")
    });
    let lines: Vec<String> = lines.collect();
    for some in lines.chunks(500) {
        client.writer.write_all(some.concat().as_bytes()).unwrap();
        for _ in 0..2 * some.len() {
            let reply = client.try_reply().unwrap();
            assert!(reply.starts_with("ROUTE_OK|") || reply == "HEALTH_OK", "{reply}");
        }
    }
    assert_eq!(client.ask(&format!("CONFIG_APPLY|{session}")), "OK");
    client
}

/// Has the quiet session's checks go on beside the greedy ones, which they do not if they wait for these. Prints how
/// long they took, for whoever measures.
fn goes_on(what: &str, before: Duration, quiet: &Quiet, checks: usize) {
    let during = quiet.longest_wait(checks);
    println!("{what}: longest time between two checks {before:?} before, {during:?} during");
}

#[test]
fn five_thousand_blackholed_endpoints_of_one_session_delay_no_check_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let (quiet, hole) = (Quiet::join(&server), BlackHole::open());
    let before = quiet.longest_wait(1);
    let _greedy = greedy(&server, "greedy", addresses(hole.port, 5_000));
    goes_on("5,000 blackholed", before, &quiet, 8);
}

#[test]
fn endpoints_that_keep_a_check_waiting_delay_no_check_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let quiet = Quiet::join(&server);
    let before = quiet.longest_wait(1);
    let words: [&[u8]; 4] = [b"", b"H", b"HTTP/1.1 200 OK\r\nx: y\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"];
    let sessions = ["silent", "dripping", "headed", "interim"].into_iter().zip(words);
    let _greedy: Vec<Client> =
        sessions.map(|(name, word)| greedy(&server, name, addresses(never_done(word), 1_000))).collect();
    goes_on("silent, dripping, endless", before, &quiet, 6);
}

#[test]
fn many_greedy_sessions_delay_no_check_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let (quiet, hole) = (Quiet::join(&server), BlackHole::open());
    let before = quiet.longest_wait(1);
    let _greedy: Vec<Client> =
        (0..40).map(|n| greedy(&server, &format!("greedy-{n}"), addresses(hole.port, 200))).collect();
    goes_on("40 sessions", before, &quiet, 6);
    // A session that comes later finds room too.
    let mut late = server.connect();
    let session = late.register("late", "late-1");
    let backend = Backend::named("late");
    late.serve(&session, "late.example", "/", backend.address());
    backend.checked();
}

#[test]
fn an_endpoint_that_never_answers_is_ill_after_the_interval_or_a_minute_and_the_diff_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect();
    let session = client.register("shop", "shop-1");
    assert_eq!(client.ask(&format!("SUBSCRIBE|{session}|backend_health_changed")), "SUBSCRIBE_OK");
    client.ask(&format!("ROUTE_ADD|{session}|shop.example|/|http://127.0.0.1:{}|0", never_done(b"")));
    assert_eq!(client.ask(&format!("HEALTH_SET|{session}|r1|/|100ms|8784h")), "HEALTH_OK");
    assert_eq!(client.ask(&format!("OPTIONS_SET|{session}|ALL|health_check_timeout|2m")), "OPTIONS_OK");
    let diff = client.ask(&format!("CONFIG_DIFF|{session}"));
    let warnings = r#""warnings":["options: ALL: health_check_timeout: the timeout 2m0s acts as 30s: at most the interval and 1m0s","health: r1: the timeout 8784h0m0s acts as 100ms: at most the interval and 1m0s"]"#;
    assert!(diff.contains(warnings), "{diff}");
    assert_eq!(client.ask(&format!("CONFIG_APPLY|{session}")), "OK");
    let ill = r#"EVENT|backend_health_changed|{"route_id":"r1","healthy":false,"reason":"no answer within 100ms"}"#;
    assert_eq!(client.pushed_line(), ill);
}

#[test]
fn the_diff_of_every_interface_warns_of_a_timeout_that_acts_shorter() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    for mut interface in interfaces::all(&server) {
        let name = interface.name();
        let mut call = |verb: &str, arguments: Value| {
            interface.call(verb, &arguments).unwrap_or_else(|refusal| panic!("{name}: {verb}: {refusal:?}"))
        };
        let registered =
            call("REGISTER", json!({ "service": "shop", "instance": name, "maintenance_port": 9001, "metadata": {} }));
        let session = registered["session_id"].as_str().or(registered.as_str()).unwrap().to_owned();
        call(
            "ROUTE_ADD",
            json!({ "session": session, "domains": [format!("{}.example", name.to_lowercase())], "path": "/",
                    "backend_url": "http://127.0.0.1:9", "priority": 0 }),
        );
        call(
            "HEALTH_SET",
            json!({ "session": session, "route_id": "r1", "path": "/", "interval": "2m", "timeout": "90s" }),
        );
        call(
            "OPTIONS_SET",
            json!({ "session": session, "target": "ALL", "key": "health_check_timeout", "value": "31s" }),
        );
        let diff = call("CONFIG_DIFF", json!({ "session": session }));
        let expected = json!([
            "options: ALL: health_check_timeout: the timeout 31s acts as 30s: at most the interval and 1m0s",
            "health: r1: the timeout 1m30s acts as 1m0s: at most the interval and 1m0s",
        ]);
        assert_eq!(diff["warnings"], expected, "{name}");
        // It is accepted all the same.
        call("CONFIG_VALIDATE", json!({ "session": session }));
        call("CONFIG_APPLY", json!({ "session": session }));
    }
}
