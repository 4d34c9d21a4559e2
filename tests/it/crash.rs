//! No acknowledged command is lost, however the server ends.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::model::{Expect, Model};
use crate::server::{Backend, Client, Dice, Server, eventually, get};
use crate::support::backend::closed_port;

/// A client that pipelines commands of one session until the server dies, and knows every state it went through.
struct Worker {
    key: (String, String),
    number: u64,
    dice: Dice,
    /// The state after the last acknowledged line comes first, then those after each line sent since.
    states: Vec<Model>,
    acknowledged: usize,
}

impl Worker {
    fn new(number: u64) -> Self {
        let key = (format!("service-{number}"), "1".to_owned());
        let states = vec![Self::nothing(number)];
        Self { key, number, dice: Dice(number), states, acknowledged: 0 }
    }

    /// Each worker has domains of its own, so that none is in another's way.
    fn nothing(number: u64) -> Model {
        let domains = ["a", "*.b", "c"].map(|name| format!("{name}.w{number}.example"));
        Model::new(domains.each_ref().map(String::as_str))
    }

    fn now(&self) -> &Model {
        self.states.last().expect("there is always a state")
    }

    fn session(&self) -> Option<String> {
        self.now().sessions.get(&self.key).map(|session| session.id.clone())
    }

    /// Works until the connection breaks.
    fn work(&mut self, pipe: SocketAddr, backend: SocketAddr) {
        let Ok(mut client) = Client::try_connect(pipe) else { return };
        while self.session().is_none() {
            let Ok(reply) = client.try_ask(&format!("REGISTER|{}|{}|1|", self.key.0, self.key.1)) else { return };
            let mut model = Self::nothing(self.number);
            model.registered(&self.key, reply.strip_prefix("ACK|").expect("registered"));
            self.acknowledge_all(model);
        }
        while self.window(&mut client, backend).is_ok() {}
    }

    /// Sends some lines at once and reads their answers.
    fn window(&mut self, client: &mut Client, backend: SocketAddr) -> std::io::Result<()> {
        let last = self.now().clone();
        self.acknowledge_all(last);
        let expected: Vec<(String, Expect)> = (0..=self.dice.below(8)).map(|_| self.line(backend)).collect();
        let text: String = expected.iter().map(|(line, _)| format!("{line}\n")).collect();
        std::io::Write::write_all(&mut client.writer, text.as_bytes())?;
        for (line, expected) in expected {
            let reply = client.try_reply()?;
            match expected {
                Expect::Exactly(text) => assert_eq!(reply, text, "{line}"),
                Expect::Begins(text) => assert!(reply.starts_with(&text), "{line}\n{reply}"),
                Expect::Error => assert!(reply.starts_with("ERROR|"), "{line}\n{reply}"),
                Expect::Session(_) => unreachable!(),
            }
            self.acknowledged += 1;
        }
        Ok(())
    }

    /// A random line that changes or asks; what has an outcome of its own is left to other tests.
    fn line(&mut self, backend: SocketAddr) -> (String, Expect) {
        loop {
            let mut model = self.now().clone();
            let (line, expected) = model.step(&self.key, &mut self.dice, backend);
            let verb = line.split('|').next().unwrap();
            if !["REGISTER", "CLIENT_SHUTDOWN", "MAINT_ENTER", "MAINT_EXIT", "BACKEND_TEST"].contains(&verb) {
                self.states.push(model);
                return (line, expected);
            }
        }
    }

    fn acknowledge_all(&mut self, model: Model) {
        self.states = vec![model];
        self.acknowledged = 0;
    }

    /// After a restart: what is found must be a state at or after the last acknowledged line.
    fn find(&mut self, client: &mut Client) {
        let Some(sid) = self.session() else { return };
        assert_eq!(client.ask(&format!("RECONNECT|{sid}")), "OK", "an acknowledged session is found");
        let list = client.ask(&format!("ROUTE_LIST|{sid}"));
        let diff = client.ask(&format!("CONFIG_DIFF|{sid}"));
        let info = client.ask(&format!("SESSION_INFO|{sid}"));
        let drains = client.ask(&format!("DRAIN_STATUS|{sid}")).starts_with("DRAIN_STATUS_OK");
        let possible = &self.states[self.acknowledged..];
        let found = possible.iter().find(|model| {
            model.seen().iter().all(|(routes, staged, revision, drain)| {
                list == format!("ROUTE_LIST_OK|{routes}")
                    && diff == format!("DIFF_OK|{staged}")
                    && info.contains(&format!("\"revision\":{revision},"))
                    && drains == *drain
            })
        });
        let Some(found) = found.cloned() else {
            panic!("an acknowledged command is missing:\n{list}\n{diff}\n{info}\n{:#?}", possible[0].seen());
        };
        let least = possible[0].next_route();
        self.resync(client, &sid, found, least);
    }

    /// States can look alike and differ in the next route's number, which a new route tells.
    fn resync(&mut self, client: &mut Client, sid: &str, mut model: Model, least: u32) {
        assert_eq!(client.ask(&format!("CONFIG_ROLLBACK|{sid}")), "OK");
        let domain = format!("probe.w{}.example", self.number);
        let reply = client.ask(&format!("ROUTE_ADD|{sid}|{domain}|/|http://127.0.0.1:1|0"));
        let id: u32 = reply.strip_prefix("ROUTE_OK|r").expect("added").parse().unwrap();
        assert!(id >= least, "r{id} was given out before the crash");
        model.resync(id, &domain, "http://127.0.0.1:1");
        self.acknowledge_all(model);
    }
}

/// Answers 200 to all that comes to an address where nobody listened so far.
fn begin_to_answer(address: SocketAddr) {
    let listener = TcpListener::bind(address).unwrap();
    thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            let _ = socket.read(&mut [0; 4096]);
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
        }
    });
}

#[test]
fn maintenance_requests_that_wait_when_the_process_is_killed_are_resumed() {
    let (folder, page, backend) = (tempfile::tempdir().unwrap(), closed_port(), closed_port());
    let server = Server::start(folder.path());
    let mut client = server.connect();
    let session = client.register("shop", "shop-1");
    client.serve(&session, "a.example", "/", backend);
    client.serve(&session, "b.example", "/", backend);
    client.serve(&session, "c.example", "/", backend);
    for (line, at_once) in [("MAINT_ENTER|{}|r1,r3|", true), ("MAINT_EXIT|{}|r1", false)] {
        assert_eq!(client.ask(&line.replace("{}", &session)), "ACK");
        if at_once {
            assert_eq!(client.pushed_line(), "MAINT_OK|r1,r3");
        }
    }
    let enter = format!("MAINT_ENTER|{session}|r2|http://{page}/");
    assert_eq!((client.ask(&enter), client.ask(&enter)), ("ACK".to_owned(), "ACK".to_owned()));
    assert!(client.try_reply().unwrap().starts_with("ERROR|cancelled"), "the newer one took its place");
    // Twice, so that what was resumed is resumed again.
    server.kill();
    Server::start(folder.path()).kill();
    let server = Server::start(folder.path());
    let mut client = server.connect();
    assert_eq!(client.ask(&format!("RECONNECT|{session}")), "OK");
    begin_to_answer(page);
    assert!(client.ask(&format!("MAINT_STATUS|{session}")).contains(r#""in_maintenance":["r1","r2","r3"]"#));
    begin_to_answer(backend);
    // The connections that asked are gone, and no other hears of it.
    let status = format!("MAINT_STATUS|{session}");
    eventually("r1 is back", || client.ask(&status).contains(r#""in_maintenance":["r2","r3"]"#));
    assert!(client.ask(&format!("MAINT_STATUS|{session}")).contains(r#""in_maintenance":["r2","r3"]"#));
    // A request with an outcome is finished.
    server.kill();
    let server = Server::start(folder.path());
    let mut client = server.connect();
    assert_eq!(client.ask(&format!("RECONNECT|{session}")), "OK");
    assert_eq!(client.ask(&format!("MAINT_ENTER|{session}|r1|")), "ACK");
    assert_eq!(client.pushed_line(), "MAINT_OK|r1");
    assert!(client.told.is_empty());
}

#[test]
fn every_acknowledged_command_survives_a_kill_at_any_moment() {
    acknowledged_commands_survive(6);
}

#[test]
#[ignore = "storm: minutes"]
fn storm_of_fifty_kills_loses_no_acknowledged_command() {
    acknowledged_commands_survive(50);
}

fn acknowledged_commands_survive(kills: usize) {
    let backend = Backend::start("crash");
    let folder = tempfile::tempdir().unwrap();
    let mut dice = Dice(77);
    let mut workers: Vec<Worker> = (0..4).map(Worker::new).collect();
    for _ in 0..kills {
        let server = Server::start(folder.path());
        let mut client = server.connect();
        workers.iter_mut().for_each(|worker| worker.find(&mut client));
        let (pipe, address) = (server.pipe, backend.address);
        let working: Vec<_> = workers
            .into_iter()
            .map(|mut worker| {
                thread::spawn(move || {
                    worker.work(pipe, address);
                    worker
                })
            })
            .collect();
        // Not waiting for anything: the moment is meant to be any.
        thread::sleep(Duration::from_millis(10 + dice.below(150) as u64));
        server.kill();
        workers = working.into_iter().map(|worker| worker.join().expect("the worker saw nothing wrong")).collect();
    }
    let server = Server::start(folder.path());
    let mut client = server.connect();
    workers.iter_mut().for_each(|worker| worker.find(&mut client));
}

#[test]
fn stored_routes_serve_at_once_after_a_kill_and_reconnect_answers_ok() {
    let backend = Backend::start("one");
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect();
    let session = client.register("shop", "shop-1");
    client.serve(&session, "shop.example", "/", backend.address);
    assert_eq!(server.get("shop.example", "/x").0, 200);
    client.ask(&format!("ROUTE_ADD|{session}|late.example|/|http://{}|0", backend.address));
    server.kill();

    let server = Server::start(folder.path());
    assert_eq!(server.get("shop.example", "/x"), (200, "one: GET /x HTTP/1.1".to_owned()));
    assert_eq!(server.once(&format!("RECONNECT|{session}")), "OK");
    let mut client = server.connect();
    let next = client.ask(&format!("ROUTE_ADD|{session}|more.example|/|http://{}|0", backend.address));
    assert_eq!(next, "ROUTE_OK|r3", "the staged route is still there, and ids go on");
    assert_eq!(client.ask(&format!("CONFIG_APPLY|{session}")), "OK");
    assert_eq!(server.get("late.example", "/").0, 200);
}

#[test]
fn a_disk_that_takes_no_more_refuses_commands_and_changes_nothing() {
    let backend = Backend::start("full");
    let folder = tempfile::tempdir().unwrap();
    let mut limited = Command::new("sh");
    let plain = Server::command(folder.path());
    // Files of at most 1,024 blocks of 512 bytes. Writing more is an error; the signal that comes with it ends nothing.
    limited.args(["-c", "ulimit -f 1024; exec \"$0\" \"$@\""]).arg(plain.get_program()).args(plain.get_args());
    limited.args(["--log-level", "off"]);
    let server = Server::launch(limited, folder.path());
    let mut client = server.connect();
    let session = client.register("shop", "shop-1");
    client.serve(&session, "shop.example", "/", backend.address);

    let (mut added, mut refused) = (1, 0);
    // A refusal makes room once: the store is opened anew, and its log is taken in. It is full when that is of no more use.
    while refused < 5 {
        let reply = client.ask(&format!("ROUTE_ADD|{session}|h{added}.example|/|http://{}|0", backend.address));
        if reply == format!("ROUTE_OK|r{}", added + 1) {
            (added, refused) = (added + 1, 0);
        } else {
            assert_eq!(reply, "ERROR|the registry cannot store changes now; nothing was changed, try again");
            refused += 1;
        }
        assert!(added < 20_000, "the limit is never reached");
    }
    let apply = client.ask(&format!("CONFIG_APPLY|{session}"));
    assert!(apply.starts_with("ERROR|the registry cannot store"), "{apply}");

    let info = client.ask(&format!("SESSION_INFO|{session}"));
    let counts = format!("\"routes_active\":1,\"routes_staged\":{}", added - 1);
    assert!(info.contains(&counts), "memory holds what was acknowledged: {info}");
    assert_eq!(server.get("shop.example", "/").0, 200, "traffic flows on");
    assert_eq!(server.get("h1.example", "/").0, 404, "what was refused serves nothing");
    server.kill();

    let server = Server::start(folder.path());
    let info = server.once(&format!("SESSION_INFO|{session}"));
    assert!(info.contains(&counts), "the disk holds what was acknowledged: {info}");
    assert_eq!(server.once(&format!("CONFIG_APPLY|{session}")), "OK", "and goes on where there is room");
    assert_eq!(server.get("h1.example", "/").0, 200);
}

#[test]
fn a_second_process_on_the_same_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let second = Server::command(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && said.contains("in use"), "{said}");
    assert_eq!(
        server.once("PING|x"),
        "ERROR|invalid session: it has ended or never was; REGISTER again",
        "the first is not disturbed"
    );
}

#[test]
fn a_database_that_is_not_ours_stops_the_start_and_stays_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("signalbox.db");
    let text = "this is no database, but somebody's notes\n".repeat(100);
    std::fs::write(&path, &text).unwrap();
    let refused = Server::command(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("signalbox.db"), "{said}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn a_stop_lets_requests_in_flight_finish_and_tells_bound_connections() {
    let backend = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect();
    let session = client.register("slow", "slow-1");
    client.serve(&session, "slow.example", "/", backend.local_addr().unwrap());
    let _check = backend.accept().unwrap();
    let proxy = server.proxy;
    let asking = thread::spawn(move || get(proxy, "slow.example", "/"));
    let (mut upstream, _) = backend.accept().unwrap();
    server.signal("TERM");
    eventually("the stop has begun", || get(server.api, "localhost", "/readyz").unwrap().0 == 503);
    assert_eq!(client.ask(&format!("PING|{session}")), "PONG", "all is served as long as a request is in flight");
    std::io::Write::write_all(&mut upstream, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate").unwrap();
    assert_eq!(asking.join().unwrap().unwrap(), (200, "late".to_owned()));
    assert_eq!(client.pushed_line(), "SHUTDOWN");
    assert!(client.is_closed());
    assert!(server.wait().success());
}

/// The work of one client until the server stopped. It behaves as the deployed client: the next line is the answer, and for an apply
/// everything but an error is success.
struct Deployed {
    session: String,
    name: String,
    applied: usize,
}

impl Deployed {
    /// Adds a route and applies, again and again, with so long a pause between two commands.
    fn run(name: String, pipe: SocketAddr, pause: Duration) -> Self {
        let mut client = Client::connect(pipe);
        let session = client.register(&name, "one");
        let mut deployed = Self { session, name, applied: 0 };
        let mut ask = |line: String| -> Option<String> {
            thread::sleep(pause);
            // A write into a connection that is closed is not looked at; reading tells.
            let _ = client.writer.write_all(format!("{line}\n").as_bytes());
            client.try_line().ok()
        };
        loop {
            let number = deployed.applied + 1;
            let (session, name) = (&deployed.session, &deployed.name);
            match ask(format!("ROUTE_ADD|{session}|h{number}.{name}.example|/|http://127.0.0.1:1|0")) {
                Some(reply) if reply.starts_with("ROUTE_OK|") => {}
                _ => return deployed,
            }
            match ask(format!("CONFIG_APPLY|{session}")) {
                Some(reply) if !reply.starts_with("ERROR") => deployed.applied = number,
                _ => return deployed,
            }
        }
    }
}

/// Sends many lines at once, again and again, and reads on another thread: the number of lines that were answered.
fn pipeline(pipe: SocketAddr, name: &str) -> (String, usize) {
    let mut client = Client::connect(pipe);
    let session = client.register(name, "many");
    let mut writer = client.writer.try_clone().unwrap();
    let lines = format!("ROUTE_ADD|{session}|many.{name}.example|/|http://127.0.0.1:1|0\n").repeat(20);
    let sending = thread::spawn(move || {
        while writer.write_all(lines.as_bytes()).is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    });
    let mut answered = 0;
    while let Ok(reply) = client.try_line() {
        // The word of the stop counts as an answer here, as it does for a client that counts replies.
        answered += usize::from(!reply.starts_with("ERROR"));
    }
    drop(client);
    sending.join().unwrap();
    (session, answered)
}

/// At a stop each command is executed and answered, or its client sees the end of the connection.
#[test]
fn commands_that_a_client_takes_for_done_at_a_stop_are_stored() {
    stops_leave_every_answered_command_stored(1);
}

#[test]
#[ignore = "storm: minutes"]
fn storm_of_stops_leaves_nothing_undone_that_a_client_takes_for_done() {
    stops_leave_every_answered_command_stored(4);
}

fn stops_leave_every_answered_command_stored(stops: u64) {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..stops {
        let server = Server::start(folder.path());
        let pipe = server.pipe;
        let pauses = [0, 0, 1, 7, 60, 150, 230, 400];
        let deployed: Vec<_> = (0..)
            .zip(pauses)
            .map(|(number, pause)| {
                let name = format!("s{round}-{number}");
                thread::spawn(move || Deployed::run(name, pipe, Duration::from_millis(pause)))
            })
            .collect();
        let pipelining = thread::spawn(move || pipeline(pipe, &format!("p{round}")));
        thread::sleep(Duration::from_millis(300 + 37 * round));
        assert!(server.terminate().success());
        let server = Server::start(folder.path());
        let mut client = server.connect();
        for Deployed { session, name, applied } in deployed.into_iter().map(|client| client.join().unwrap()) {
            let info = client.ask(&format!("SESSION_INFO|{session}"));
            let info: serde_json::Value = serde_json::from_str(info.split_once('|').unwrap().1).unwrap();
            assert!(info["routes_active"].as_u64().unwrap() >= applied as u64, "{name}: {applied} applied, {info}");
        }
        let (session, answered) = pipelining.join().unwrap();
        let info = client.ask(&format!("SESSION_INFO|{session}"));
        let info: serde_json::Value = serde_json::from_str(info.split_once('|').unwrap().1).unwrap();
        assert!(info["routes_staged"].as_u64().unwrap() >= answered as u64, "{answered} answered, {info}");
    }
}
