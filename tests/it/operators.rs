//! The rights of operators: callers without them are refused at every path of the API, and other protocols at the pipe.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;

use prost::Message as _;
use prost_types::FileDescriptorSet;
use signalbox::grpc::proto;
use signalbox::grpc::proto::registry_client::RegistryClient;
use tonic::transport::Endpoint;

use crate::server::{Client, Server, eventually};
use crate::support::wire::{Message, Wire};

/// A call of the API port, as HTTP/1.1 writes it: method and target, and fields and body of its own.
#[derive(Clone, Debug)]
struct Call {
    line: String,
    fields: &'static str,
    body: &'static [u8],
}

/// Every operation of the description that operators may call.
fn rest_calls() -> Vec<Call> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi/openapi.json");
    let api: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut calls = Vec::new();
    for (path, item) in api["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if operation["security"].to_string().contains("operator") {
                let target = path.replace("{service}", "shop").replace("{instance}", "shop-1");
                let line = format!("{} {target}", method.to_uppercase());
                calls.push(Call { line, fields: "content-length: 0\r\n", body: b"" });
            }
        }
    }
    assert!(calls.len() >= 12, "{calls:?}");
    calls
}

/// Every call of a gRPC service, each with an empty message.
fn grpc_calls(service: &str) -> Vec<Call> {
    let descriptors = FileDescriptorSet::decode(proto::DESCRIPTORS).unwrap();
    let services = descriptors.file.into_iter().flat_map(|file| file.service);
    let of = services.filter(|found| found.name() == service).flat_map(|found| found.method);
    let call = |method: prost_types::MethodDescriptorProto| Call {
        line: format!("POST /signalbox.v1.{service}/{}", method.name()),
        fields: "content-type: application/grpc\r\ncontent-length: 5\r\n",
        body: &[0; 5],
    };
    let calls: Vec<Call> = of.map(call).collect();
    assert!(calls.len() >= 12, "{calls:?}");
    calls
}

/// The head of the answer to a call that comes with these fields.
fn ask(address: SocketAddr, call: &Call, fields: &str) -> Message {
    ask_in(address, call, "HTTP/1.1", fields)
}

fn ask_in(address: SocketAddr, Call { line, fields: own, body }: &Call, version: &str, fields: &str) -> Message {
    let mut wire = Wire::connect(address);
    wire.send(format!("{line} {version}\r\n{fields}{own}\r\n"));
    wire.send(body);
    wire.head().unwrap_or_else(|| panic!("no answer to {line} with {fields}"))
}

/// Returns true if the answer refuses a caller without the right to call.
fn is_denied(answer: &Message) -> bool {
    answer.status() == 403 || answer.field("grpc-status") == Some("7")
}

/// The program with a store in `folder`, and its pipe and API port on these addresses.
fn listening(folder: &Path, pipe: &str, api: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_signalbox"));
    let store = format!("sqlite://{}", folder.join("signalbox.db").display());
    command.args(["--pipe-listen", pipe, "--api-listen", api, "--proxy-http", "127.0.0.1:0", "--store-url", &store]);
    command
}

fn operators_calls() -> Vec<Call> {
    [rest_calls(), grpc_calls("Operator")].concat()
}

/// Some of the calls that are not operators'.
fn other_calls() -> Vec<Call> {
    let get = |target: &str| Call { line: format!("GET {target}"), fields: "", body: b"" };
    let register = Call {
        line: "POST /v1/sessions".to_owned(),
        fields: "content-type: application/json\r\ncontent-length: 49\r\n",
        body: br#"{"service_name":"evil","instance_name":"evil-01"}"#,
    };
    let pages = ["/docs", "/docs/", "/openapi.json", "/v1/session", "/nothing", "/v1/session/events"].map(get);
    [grpc_calls("Registry"), pages.to_vec(), vec![register]].concat()
}

const LOOPBACK: [&str; 7] =
    ["localhost", "LOCALHOST.:1", "127.0.0.1", "127.0.0.1:80", "127.1.2.3", "[::1]", "[::ffff:127.0.0.1]:9"];
const ELSEWHERE: [&str; 8] = [
    "evil.example",
    "localhost.evil.example:8182",
    "a.localhost",
    "127.0.0.1.nip.io",
    "0.0.0.0",
    "[::]",
    "10.0.0.7",
    "2130706433",
];
const SIGNS: [&str; 10] = [
    "via: 1.1 other",
    "via: 1.1 signalbox",
    "signalbox-hops: 1",
    "forwarded: for=127.0.0.1",
    "x-forwarded-for: 127.0.0.1",
    "x-forwarded-proto: http",
    "x-forwarded-host: localhost",
    "x-forwarded-port: 1",
    "x-real-ip: 127.0.0.1",
    "user-agent: signalbox",
];

#[test]
fn without_a_token_operators_are_direct_callers_on_loopback_that_ask_for_loopback() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    for call in operators_calls() {
        for host in LOOPBACK {
            let answer = ask(server.api, &call, &format!("host: {host}\r\n"));
            assert!(!is_denied(&answer), "{call:?} {host}: {answer:?}");
        }
        for host in ELSEWHERE {
            let answer = ask(server.api, &call, &format!("host: {host}\r\n"));
            assert!(is_denied(&answer), "{call:?} {host}: {answer:?}");
        }
        for sign in SIGNS {
            let answer = ask(server.api, &call, &format!("host: localhost\r\n{sign}\r\n"));
            assert!(is_denied(&answer), "{call:?} {sign}: {answer:?}");
        }
        assert!(is_denied(&ask_in(server.api, &call, "HTTP/1.0", "")), "{call:?} names no host");
    }
}

#[test]
fn requests_that_a_local_proxy_forwards_are_not_an_operators() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (victim, proxy) = (Server::start(folder.path()), Server::start(other.path()));
    let mut quiet = victim.connect();
    let session = quiet.register("shop", "shop-1");
    let mut attacker = proxy.connect();
    let route = attacker.register("evil", "evil-1");
    let add = format!("ROUTE_ADD|{route}|evil.example|/|http://{}|0", victim.api);
    assert!(attacker.ask(&add).starts_with("ROUTE_OK"));
    assert_eq!(attacker.ask(&format!("OPTIONS_SET|{route}|ALL|preserve_host|false")), "OPTIONS_OK");
    assert_eq!(attacker.ask(&format!("CONFIG_APPLY|{route}")), "OK");
    let evict = Call { line: "DELETE /v1/instances/shop/shop-1".to_owned(), fields: "", body: b"" };
    for hidden in ["", "connection: via, x-forwarded-for, x-forwarded-host, x-forwarded-proto\r\n", "via:\r\n"] {
        eventually("it is passed on", || {
            let answer = ask(proxy.proxy, &evict, &format!("host: evil.example\r\n{hidden}"));
            assert_ne!(answer.status(), 204);
            answer.status() == 403
        });
    }
    for call in operators_calls() {
        let answer = ask(proxy.proxy, &call, "host: evil.example\r\n");
        assert!(is_denied(&answer), "{call:?}: {answer:?}");
    }
    assert_eq!(quiet.ask(&format!("PING|{session}")), "PONG");
}

#[test]
fn an_open_port_is_not_asked_under_a_name_that_leads_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    for call in other_calls() {
        for host in ELSEWHERE {
            let answer = ask(server.api, &call, &format!("host: {host}\r\n"));
            assert!(is_denied(&answer), "{call:?} {host}: {answer:?}");
        }
        for host in LOOPBACK {
            let answer = ask(server.api, &call, &format!("host: {host}\r\n"));
            assert!(!is_denied(&answer), "{call:?} {host}: {answer:?}");
        }
    }
    for probe in ["/healthz", "/readyz"] {
        let call = Call { line: format!("GET {probe}"), fields: "", body: b"" };
        assert_eq!(ask(server.api, &call, "host: box.internal\r\n").status(), 200, "{probe}");
        assert_eq!(ask_in(server.api, &call, "HTTP/1.0", "").status(), 200, "{probe}");
    }
    let mut wire = Wire::connect(server.api);
    wire.send("GET /docs/ HTTP/1.1\r\nhost: evil.example\r\n\r\n");
    let refused = wire.message().unwrap();
    assert_eq!(refused.field("content-type"), Some("application/problem+json"));
    assert!(["api.hosts", "api.cert", "tokens"].iter().all(|way| refused.text().contains(way)), "{refused:?}");
}

#[tokio::test]
async fn a_grpc_call_for_another_authority_is_told_what_to_set() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let origin = |origin: &str| {
        let endpoint = Endpoint::from_shared(format!("http://{}", server.api)).unwrap();
        endpoint.origin(origin.parse().unwrap())
    };
    let ping = proto::PingRequest { session_id: "nobody".to_owned() };
    let mut evil = RegistryClient::new(origin("http://evil.example").connect().await.unwrap());
    let refused = evil.ping(ping.clone()).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);
    assert!(refused.message().contains("api.hosts"), "{refused:?}");
    let mut own = RegistryClient::new(origin("http://localhost:1").connect().await.unwrap());
    assert_eq!(own.ping(ping).await.unwrap_err().code(), tonic::Code::Unauthenticated);
}

#[test]
fn listed_hosts_and_tokens_open_the_port_to_other_names() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_with(folder.path(), &["--api-hosts", "box.internal,*.svc.example"]);
    for call in other_calls() {
        for (host, denied) in [("box.internal:8182", false), ("a.svc.example", false), ("svc.example", true)] {
            let answer = ask(server.api, &call, &format!("host: {host}\r\n"));
            assert_eq!(is_denied(&answer), denied, "{call:?} {host}: {answer:?}");
        }
    }
    let overview = Call { line: "GET /v1/overview".to_owned(), fields: "", body: b"" };
    assert!(is_denied(&ask(server.api, &overview, "host: box.internal\r\n")), "operators still ask for loopback");
    server.terminate();

    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("signalbox.toml");
    let token = format!("[[tokens]]\nname = \"a\"\nsha256 = \"{}\"\n", "ab".repeat(32));
    std::fs::write(&config, token).unwrap();
    let mut command = Server::command(folder.path());
    command.arg("--config").arg(&config);
    let server = Server::launch(command, folder.path());
    let session = Call { line: "GET /v1/session".to_owned(), fields: "", body: b"" };
    assert_eq!(ask(server.api, &session, "host: any.example\r\n").status(), 401);
    assert!(is_denied(&ask(server.api, &overview, "host: any.example\r\n")), "that token makes no operator");
    server.terminate();

    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_with(folder.path(), &["--api-operator-tokens", "0123456789abcdef"]);
    let shown = "host: any.example\r\nvia: 1.1 other\r\nauthorization: Bearer 0123456789abcdef\r\n";
    assert_eq!(ask(server.api, &overview, shown).status(), 200);
    assert_eq!(ask(server.api, &session, "host: any.example\r\n").status(), 403, "it keeps nobody from registering");
}

#[test]
fn other_machines_ask_by_address_and_are_no_operators() {
    // The address that this machine would speak from; no packet is sent.
    let own = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    let Ok(own) = own else { return };
    if own.ip().is_loopback() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = listening(folder.path(), "127.0.0.1:0", "0.0.0.0:0");
    command.arg("--api-insecure");
    let server = Server::launch(command, folder.path());
    let api = SocketAddr::new(own.ip(), server.api.port());
    for call in operators_calls() {
        for host in ["localhost".to_owned(), api.to_string()] {
            assert!(is_denied(&ask(api, &call, &format!("host: {host}\r\n"))), "{call:?} {host}");
        }
    }
    for call in other_calls() {
        for (host, denied) in
            [(api.to_string(), false), ("203.0.113.9".to_owned(), false), ("evil.example".to_owned(), true)]
        {
            let answer = ask(api, &call, &format!("host: {host}\r\n"));
            assert_eq!(is_denied(&answer), denied, "{call:?} {host}: {answer:?}");
        }
    }
}

#[test]
fn a_request_names_one_host_or_is_refused_before_anything_else() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let probe = Call { line: "GET /healthz".to_owned(), fields: "", body: b"" };
    let calls = [operators_calls(), other_calls(), vec![probe]].concat();
    for call in calls {
        for fields in
            ["", "host: localhost\r\nhost: localhost\r\n", "host:\r\n", "host: a b\r\n", "host: u@localhost\r\n"]
        {
            let answer = ask(server.api, &call, fields);
            assert_eq!(answer.status(), 400, "{call:?} {fields}: {answer:?}");
            assert_eq!(answer.field("content-type"), Some("application/problem+json"));
        }
    }
}

/// The first bytes of other protocols, followed by lines that would end a session.
fn strangers(end: &str) -> Vec<Vec<u8>> {
    let long = format!("POST /{} HTTP/1.1\r\nX: y\r\n\r\n{end}\n", "x".repeat(2 << 20));
    let texts = [
        format!("POST / HTTP/1.1\r\nHost: 127.0.0.1:8181\r\nContent-Type: text/plain\r\n\r\n{end}\n"),
        format!("GET /|{end} HTTP/1.0\r\n{end}\n"),
        format!("brew /pot HTTP/7\n{end}\n"),
        format!("GET /\r\n{end}\n"),
        format!("\r\n\r\nPUT / HTTP/1.1\r\n{end}\n"),
        format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{end}\n"),
        format!("Host: 127.0.0.1\r\n{end}\n"),
        format!("Content-Length: 100\r\n{end}\n"),
        format!("\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\n{end}\n"),
        long,
    ];
    let mut all: Vec<Vec<u8>> = texts.into_iter().map(String::into_bytes).collect();
    // One that ends no line.
    all.push(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec());
    all
}

#[test]
fn a_line_of_another_protocol_ends_the_connection_before_anything_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut quiet = server.connect();
    let session = quiet.register("shop", "shop-1");
    for said in strangers(&format!("CLIENT_SHUTDOWN|{session}\nREGISTER|evil|evil-1|1|{{}}")) {
        let shown = String::from_utf8_lossy(&said[..said.len().min(60)]).into_owned();
        let mut client = server.connect();
        // The server may close before all of a long one has gone out.
        let _ = std::io::Write::write_all(&mut client.writer, &said);
        let told = client.try_line().unwrap_or_else(|error| panic!("{shown}: {error}"));
        assert!(told.starts_with("ERROR|this port speaks the pipe protocol, not "), "{shown}: {told}");
        assert!(told.contains(&server.api.to_string()), "{shown}: {told}");
        assert!(client.is_closed(), "{shown}");
        assert_eq!(quiet.ask(&format!("PING|{session}")), "PONG", "{shown}");
    }
    let instances = Call { line: "GET /v1/instances/evil/evil-1".to_owned(), fields: "", body: b"" };
    assert_eq!(ask(server.api, &instances, "host: localhost\r\n").status(), 404);
}

#[test]
fn another_protocol_is_recognised_however_its_bytes_are_cut() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    for said in [&b"GET / HTTP/1.1\r\n"[..], b"\x16\x03\x01"] {
        let mut client = server.connect();
        for byte in said {
            let _ = std::io::Write::write_all(&mut client.writer, &[*byte]);
        }
        assert!(client.try_line().unwrap().starts_with("ERROR|this port speaks the pipe protocol"));
        assert!(client.is_closed());
    }
}

#[test]
fn commands_before_another_protocol_are_answered_and_mistakes_end_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect();
    let session = client.register("shop", "shop-1");
    assert_eq!(client.ask("HELLO|world"), "ERROR|unknown command: HELLO");
    assert_eq!(client.ask("Content-Length: 7"), "ERROR|unknown command: Content-Length: 7");
    let header = format!("HEADERS_SET|{session}|ALL|X-A|GET / HTTP/1.1");
    assert_eq!(client.ask(&header), "HEADERS_OK");
    let first = client.ask(&format!("PING|{session}\nGET / HTTP/1.1\nCLIENT_SHUTDOWN|{session}"));
    assert_eq!(first, "PONG");
    assert!(client.try_line().unwrap().starts_with("ERROR|this port speaks the pipe protocol, not HTTP"));
    assert!(client.is_closed());
    assert_eq!(server.once(&format!("RECONNECT|{session}")), "OK");
}

#[test]
fn a_pipe_that_other_machines_reach_says_who_may_register_or_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let refused = listening(folder.path(), "0.0.0.0:0", "127.0.0.1:0").output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    for way in ["loopback address", "[[tokens]]", "pipe.client_ca", "pipe.insecure = true"] {
        assert!(said.contains(way), "{said}");
    }
    let mut command = listening(folder.path(), "0.0.0.0:0", "127.0.0.1:0");
    command.arg("--pipe-insecure");
    let server = Server::launch(command, folder.path());
    let pipe = SocketAddr::from(([127, 0, 0, 1], server.pipe.port()));
    Client::connect(pipe).register("shop", "shop-1");
}
