//! A server that follows another one: no connection is refused between them.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use h2::RecvStream;
use http::Request;

use super::stop::{GOING_AWAY, UPGRADE, backend};
use crate::server::{Backend, Server, eventually, get};
use crate::support::http2_client::Http2Client;
use crate::support::tls::{Authority, TlsClient};
use crate::support::wire::Wire;

/// Clients that connect to the proxy one after the other, without a pause, until they are dropped.
struct Probes {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    clients: Vec<thread::JoinHandle<Vec<String>>>,
}

impl Probes {
    fn start(proxy: SocketAddr) -> Self {
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let client = |_| {
            let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
            thread::spawn(move || {
                let mut failures = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    match get(proxy, "shop.example", "/") {
                        Ok((200, _)) => {
                            served.fetch_add(1, Ordering::SeqCst);
                        }
                        other => failures.push(format!("{other:?}")),
                    }
                }
                failures
            })
        };
        let clients = (0..2).map(client).collect();
        Self { stop, served, clients }
    }

    /// Waits until some more probes were served.
    fn go_on(&self) {
        let before = self.served.load(Ordering::SeqCst);
        eventually("probes are served", || self.served.load(Ordering::SeqCst) > before + 10);
    }

    fn failures(self) -> Vec<String> {
        self.stop.store(true, Ordering::SeqCst);
        self.clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    }
}

/// Streams that would never end by themselves.
struct OpenStreams {
    events: Wire,
    socket: Wire,
    client: Http2Client,
    stream: RecvStream,
}

impl OpenStreams {
    fn open(proxy: SocketAddr) -> Self {
        let mut events = Wire::connect(proxy);
        events.send("GET /events HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(events.head().unwrap().status(), 200);
        let mut socket = Wire::connect(proxy);
        socket.send(UPGRADE);
        assert_eq!(socket.head().unwrap().status(), 101);
        let mut client = Http2Client::connect(proxy);
        let (response, _) = client.begin(Request::get("http://a/events").body(()).unwrap(), true);
        let stream = client.wait(response).unwrap().into_body();
        Self { events, socket, client, stream }
    }

    fn have_ended_in_order(mut self) {
        assert_eq!((self.events.chunk().unwrap(), self.events.chunk().unwrap()), (b"data: a\n\n".to_vec(), Vec::new()));
        let frames = [b"\x82\x05abcde\x82\x01x", GOING_AWAY].concat();
        assert_eq!(self.socket.exactly(frames.len()).unwrap(), frames);
        let stream = &mut self.stream;
        let rest = self.client.wait(async {
            let mut body = Vec::new();
            while let Some(data) = stream.data().await {
                body.extend_from_slice(&data?);
            }
            Ok::<_, h2::Error>(body)
        });
        assert_eq!(rest.unwrap(), b"data: a\n\n");
    }
}

/// The command of the program with a passed socket, as a service manager starts it.
fn passing(folder: &Path, socket: &TcpListener, name: &str, flags: &[&str]) -> Command {
    let program = Server::command(folder);
    let mut shell = Command::new("sh");
    let variables = format!("LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES={name}");
    shell.args(["-c", &format!("exec 3<&0 </dev/null; exec env {variables} \"$0\" \"$@\"")]);
    shell.arg(program.get_program()).args(program.get_args()).args(flags);
    shell.stdin(OwnedFd::from(socket.try_clone().unwrap()));
    shell
}

fn activated(folder: &Path, socket: &TcpListener) -> Server {
    let flags = ["--proxy-workers", "2", "--proxy-drain", "500ms"];
    Server::launch(passing(folder, socket, "proxy", &flags), folder)
}

#[test]
fn with_a_passed_socket_no_connection_is_refused_between_two_servers() {
    let folder = tempfile::tempdir().unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_, wait) = mpsc::channel();
    let (backend, _closes) = backend(wait);
    let first = activated(folder.path(), &socket);
    assert_eq!(first.proxy, socket.local_addr().unwrap(), "it listens where the socket does");
    let mut client = first.connect();
    let session = client.register("shop", "shop-1");
    client.serve(&session, "*", "/", backend.address());
    let probes = Probes::start(first.proxy);
    probes.go_on();
    let streams = OpenStreams::open(first.proxy);
    // The next one starts when the last one has ended, as a service manager does it.
    assert!(first.terminate().success());
    streams.have_ended_in_order();
    let second = activated(folder.path(), &socket);
    probes.go_on();
    assert!(second.terminate().success());
    let third = activated(folder.path(), &socket);
    probes.go_on();
    assert_eq!(probes.failures(), [] as [String; 0]);
    drop(third);
}

#[test]
fn the_socket_of_https_is_taken_as_well() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let own = authority.issue_all(&["a.example"]);
    let at = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(at("cert.pem"), &own.cert).unwrap();
    std::fs::write(at("key.pem"), &own.key).unwrap();
    let file = format!("[[tls]]\ncert = \"{}\"\nkey = \"{}\"\n", at("cert.pem"), at("key.pem"));
    std::fs::write(at("signalbox.toml"), file).unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let flags = ["--config", &at("signalbox.toml"), "--proxy-https", "127.0.0.1:0"];
    let server = Server::launch(passing(folder.path(), &socket, "https", &flags), folder.path());
    assert_eq!(server.https, Some(socket.local_addr().unwrap()));
    let mut wire = TlsClient::trusting(&authority).connect(server.https.unwrap(), "a.example").unwrap();
    wire.send("GET / HTTP/1.1\r\nhost: a.example\r\n\r\n");
    assert_eq!(wire.message().unwrap().status(), 404);
}

#[test]
fn a_passed_socket_that_no_port_wants_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let output = passing(folder.path(), &socket, "other", &[]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(said.contains(&socket.local_addr().unwrap().to_string()) && said.contains("FileDescriptorName="), "{said}");
}

/// The flags for a server in the place of another one.
fn in_place_of(server: &Server) -> Vec<String> {
    [("--pipe-listen", server.pipe), ("--api-listen", server.api), ("--proxy-http", server.proxy)]
        .iter()
        .flat_map(|(flag, address)| [(*flag).to_owned(), address.to_string()])
        .collect()
}

fn successor(folder: &Path, flags: &[String]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_signalbox"));
    let store = format!("sqlite://{}", folder.join("signalbox.db").display());
    command.args(["--store-url", &store, "--store-wait", "1m", "--proxy-workers", "2"]).args(flags);
    command
}

#[test]
fn a_server_that_waits_for_the_store_takes_over_without_a_refused_connection() {
    let folder = tempfile::tempdir().unwrap();
    let backend = Backend::start("b");
    let mut server = Server::start_with(folder.path(), &["--proxy-workers", "2"]);
    let mut client = server.connect();
    let session = client.register("shop", "shop-1");
    client.serve(&session, "shop.example", "/", backend.address);
    let probes = Probes::start(server.proxy);
    probes.go_on();
    for _ in 0..2 {
        let (flags, path) = (in_place_of(&server), folder.path().to_owned());
        let next = thread::spawn(move || Server::launch(successor(&path, &flags), &path));
        let claim = folder.path().join("signalbox.db-next");
        eventually("the next server waits", || claim.exists());
        let second = successor(folder.path(), &in_place_of(&server)).output().unwrap();
        assert!(String::from_utf8_lossy(&second.stderr).contains("another server waits for it already"));
        assert!(server.terminate().success());
        server = next.join().unwrap();
        eventually("the claim is gone", || !claim.exists());
        probes.go_on();
        let mut client = server.connect();
        assert_eq!(client.ask(&format!("RECONNECT|{session}")), "OK", "it has what the other one stored");
    }
    // A handshake that is under way when a socket closes is reset by the system unless `tcp_migrate_req` is set. It is rare.
    let migrates = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_migrate_req").is_ok_and(|set| set.trim() == "1");
    let (resets, others): (Vec<_>, Vec<_>) =
        probes.failures().into_iter().partition(|failure| !migrates && failure.contains("ConnectionReset"));
    assert_eq!(others, [] as [String; 0]);
    assert!(resets.len() <= 1, "{resets:?}");
}
