//! A server that follows another one: no connection is refused between them.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::server::{Backend, Server, eventually, get};

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

/// The program with a passed socket, as a service manager starts it.
fn activated(folder: &Path, socket: &TcpListener, name: &str) -> Server {
    let program = Server::command(folder);
    let mut shell = Command::new("sh");
    let script = format!(
        "exec 3<&0 </dev/null; exec env LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES={name} \"$0\" \"$@\" --proxy-workers 2"
    );
    shell.args(["-c", &script]).arg(program.get_program()).args(program.get_args());
    shell.stdin(std::os::fd::OwnedFd::from(socket.try_clone().unwrap()));
    Server::launch(shell, folder)
}

#[test]
fn with_a_passed_socket_no_connection_is_refused_between_two_servers() {
    let folder = tempfile::tempdir().unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let backend = Backend::start("b");
    let first = activated(folder.path(), &socket, "proxy");
    assert_eq!(first.proxy, socket.local_addr().unwrap(), "it listens where the socket does");
    let mut client = first.connect();
    let session = client.register("shop", "shop-1");
    client.serve(&session, "shop.example", "/", backend.address);
    let probes = Probes::start(first.proxy);
    probes.go_on();
    // The next one starts when the last one has ended, as a service manager does it.
    assert!(first.terminate().success());
    let second = activated(folder.path(), &socket, "proxy");
    probes.go_on();
    assert!(second.terminate().success());
    let third = activated(folder.path(), &socket, "proxy");
    probes.go_on();
    assert_eq!(probes.failures(), [] as [String; 0]);
    drop(third);
}

#[test]
fn a_passed_socket_that_no_port_wants_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let script = "exec 3<&0 </dev/null; exec env LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=other \"$0\" \"$@\"";
    let program = Server::command(folder.path());
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).arg(program.get_program()).args(program.get_args());
    shell.stdin(std::os::fd::OwnedFd::from(socket.try_clone().unwrap()));
    let output = shell.output().unwrap();
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
    assert_eq!(probes.failures(), [] as [String; 0]);
}
