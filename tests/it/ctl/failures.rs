//! Everything that can be wrong with a command or a server is one plain line and an exit status.

use std::fs::{self, Permissions};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::thread;

use super::{Ran, command, ctl, run, run_at};
use crate::server::Server;
use crate::support::backend::{Backend, closed_port};
use crate::support::server_harness::ServerHarness;
use crate::support::tls::Authority;

const TOKEN: &str = "0123456789abcdef";

#[test]
fn a_server_that_is_down_or_silent_cannot_be_reached() {
    let gone = run_at(closed_port(), &["status"]);
    gone.fails(3, "no server answers at http://127.");
    run_at(closed_port(), &["health"]).fails(3, "no server answers");
    run(&["status", "--api", "http://signalbox.invalid:1"]).fails(3, "no server answers at http://signalbox.invalid:1");
    // It accepts, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = silent.local_addr().unwrap();
    run_at(at, &["status", "--answer-timeout", "100ms"]).fails(3, "does not answer within");
    run_at(at, &["watch", "--answer-timeout", "100ms"]).fails(3, "does not answer within");
}

#[test]
fn the_port_of_another_program_is_told_from_one_of_signalbox() {
    let http = Backend::answering("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    run_at(http.address(), &["status"]).fails(3, "speaks HTTP/1 and no gRPC");
    let ssh = Backend::new(|mut wire| {
        wire.send("SSH-2.0-\x1b[2Jx\r\n");
        wire.exactly(24);
    });
    run_at(ssh.address(), &["status"]).fails(3, "it says: SSH-2.0-\\u{1b}[2Jx");
    let rude = Backend::new(drop);
    run_at(rude.address(), &["status"]).fails(3, &rude.address().to_string());
    let harness = ServerHarness::open();
    run_at(harness.server().pipe, &["status"]).fails(3, "this port speaks the pipe protocol");
    run_at(harness.server().proxy, &["status"]).fails(1, "does not know this call");
}

#[test]
fn an_older_server_is_told_by_the_call_that_it_does_not_know() {
    let at = answering(|_| Answered::Status("12", ""));
    for words in [
        &["diff", "shop/shop-1"][..],
        &["watch"],
        &["status"],
        &["apply", "shop/shop-1", "--confirm-within", "5m"],
        &["confirm", "0123"],
        &["wait", "healthy", "shop/shop-1"],
        &["drain", "shop/shop-1", "--wait"],
        &["export"],
        &["health"],
    ] {
        run_at(at, words).fails(1, "does not know this call; it is older than this ctl");
    }
}

/// Appends a field that this version does not know, as a newer server would.
fn newer(message: &impl prost::Message) -> Answered {
    let mut bytes = message.encode_to_vec();
    // Field 1000, with the number 7, and field 1001, with a text.
    bytes.extend([0xc0, 0x3e, 7, 0xca, 0x3e, 3, b'n', b'e', b'w']);
    Answered::Message(bytes)
}

#[test]
fn a_newer_server_is_understood_as_far_as_this_version_knows_it() {
    use signalbox::grpc::proto;
    let at = answering(|path| match path.rsplit('/').next().unwrap() {
        "GetOverview" => {
            newer(&proto::GetOverviewResponse { version: "99.0.0".into(), routes_active: 3, ..Default::default() })
        }
        "ListAllRoutes" => {
            let circuit =
                proto::OperatorRoute { route_id: "r1".into(), healthy: true, state: 77, ..Default::default() };
            newer(&proto::ListAllRoutesResponse { routes: vec![circuit], ..Default::default() })
        }
        "Explain" => {
            newer(&proto::ExplainResponse { outcome: 99, reason: "for a new reason".into(), ..Default::default() })
        }
        "ListAudit" => {
            let record = proto::AuditRecord { action: "new_action".into(), ..Default::default() };
            newer(&proto::ListAuditResponse { records: vec![record], ..Default::default() })
        }
        "Watch" => {
            let event = proto::Event { sequence: 1, r#type: 999, ..Default::default() };
            newer(&proto::WatchResponse { item: Some(proto::watch_response::Item::Event(event)) })
        }
        _ => Answered::Status("12", ""),
    });
    let status = run_at(at, &["status"]);
    let told = format!("99.0.0 (this ctl is {})", env!("CARGO_PKG_VERSION"));
    assert!(status.code == 0 && status.out.contains(&told), "{status:?}");
    assert_eq!(run_at(at, &["status", "--json"]).json()["routes_active"], 3);
    for (words, expected) in [
        (&["routes"][..], "breaker unknown"),
        (&["explain", "a", "/"], "unknown: for a new reason"),
        (&["audit"], "new_action"),
    ] {
        let ran = run_at(at, words);
        assert!(ran.code == 0 && ran.out.contains(expected), "{words:?}: {ran:?}");
        assert_eq!(run_at(at, &[words, &["--json"]].concat()).code, 0, "{words:?}");
    }
    let watched = run_at(at, &["watch"]);
    assert!(watched.code == 3 && watched.out.contains("event_999"), "{watched:?}");
}

#[test]
fn answers_that_no_server_of_ours_gives_are_told_as_those_of_another_program() {
    for (answered, words) in [
        (Answered::Message(vec![0xff; 40]), "does not answer as Signalbox does"),
        (Answered::Http(404, "text/html"), "speaks HTTP and no gRPC"),
        (Answered::Http(200, "text/html"), "speaks HTTP and no gRPC"),
        (Answered::Http(502, "text/plain"), "speaks HTTP and no gRPC"),
        (Answered::Status("2", "boom"), "does not answer as Signalbox does"),
        (Answered::Reset, "does not answer"),
    ] {
        let shown = format!("{answered:?}");
        let at = answering(move |_| answered.clone());
        for verb in ["status", "watch", "health"] {
            let ran = run_at(at, &[verb, "--answer-timeout", "5s"]);
            assert!(ran.code == 3 && ran.err.lines().count() == 1, "{shown} {verb}: {ran:?}");
            assert!(ran.err.contains(words), "{shown} {verb}: {ran:?}");
        }
    }
    // It begins to answer, and goes on for ever.
    let at = answering(|_| Answered::Silence);
    run_at(at, &["status", "--answer-timeout", "300ms"]).fails(4, "does not answer within 300 ms");
}

/// An answer of a program that speaks HTTP/2.
#[derive(Clone, Debug)]
enum Answered {
    /// A status of gRPC with its words.
    Status(&'static str, &'static str),
    /// A message of gRPC, in bytes.
    Message(Vec<u8>),
    /// A status of HTTP and a content type, without gRPC.
    Http(u16, &'static str),
    /// The stream is reset.
    Reset,
    /// Nothing.
    Silence,
}

/// A server of HTTP/2 that answers each call by its path.
fn answering(answer: impl Fn(&str) -> Answered + Send + 'static) -> SocketAddr {
    let (tell, told) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let mut connection = h2::server::handshake(socket).await.unwrap();
                let mut silent = Vec::new();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    match answer(request.uri().path()) {
                        Answered::Silence => silent.push((request, respond)),
                        Answered::Reset => respond.send_reset(h2::Reason::INTERNAL_ERROR),
                        answered => send(respond, answered),
                    }
                }
            }
        });
    });
    told.recv().unwrap()
}

fn send(mut respond: h2::server::SendResponse<bytes::Bytes>, answered: Answered) {
    let head = http::Response::builder();
    let grpc = || http::Response::builder().header("content-type", "application/grpc");
    match answered {
        Answered::Status(code, words) => {
            let head = grpc().header("grpc-status", code).header("grpc-message", words);
            respond.send_response(head.body(()).unwrap(), true).unwrap();
        }
        Answered::Http(status, kind) => {
            let head = head.status(status).header("content-type", kind);
            let mut body = respond.send_response(head.body(()).unwrap(), false).unwrap();
            body.send_data("<html>hello</html>".into(), true).unwrap();
        }
        Answered::Message(message) => {
            let mut body = respond.send_response(grpc().body(()).unwrap(), false).unwrap();
            let length = u32::try_from(message.len()).unwrap().to_be_bytes();
            body.send_data([&[0], &length[..], &message].concat().into(), false).unwrap();
            let mut trailers = http::HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            body.send_trailers(trailers).unwrap();
        }
        Answered::Reset | Answered::Silence => {}
    }
}

#[test]
fn tls_is_spoken_with_the_authority_that_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let issued = authority.issue("localhost");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (cert, key) = (file("cert.pem", &issued.cert), file("key.pem", &issued.key));
    let (ca, other) = (file("ca.pem", &authority.pem), file("other.pem", &Authority::new().pem));
    let server = Server::start_with(folder.path(), &["--api-cert", &cert, "--api-key", &key]);
    let url = format!("https://localhost:{}", server.api.port());
    let status = |words: &[&str]| run(&[&["status", "--api", &url], words].concat());
    assert_eq!(status(&["--ca", &ca]).code, 0, "{:?}", status(&["--ca", &ca]));
    status(&["--ca", &other]).fails(3, "its certificate is not trusted");
    status(&[]).fails(3, "name the file of its authority with --ca");
    status(&["--ca", "/nowhere/ca.pem"]).fails(2, "/nowhere/ca.pem: cannot read it");
    status(&["--ca", &key]).fails(2, "has no certificate as PEM");
    run_at(server.api, &["status"]).fails(3, "speaks TLS; write https://");
    let plain = ServerHarness::open();
    let url = format!("https://localhost:{}", plain.server().api.port());
    run(&["status", "--api", &url]).fails(3, "it does not speak TLS; write http://");
}

#[test]
fn tokens_come_from_flags_variables_and_the_file_and_are_never_shown() {
    let harness = ServerHarness::with(&["--api-operator-tokens", TOKEN]);
    ctl(&harness, &["status"]).fails(1, "the server asks for an operator token");
    let wrong = ctl(&harness, &["status", "--token", "not-the-right-token"]);
    wrong.fails(1, "the server refuses the token");
    assert!(!wrong.err.contains("not-the-right"), "{wrong:?}");
    ctl(&harness, &["status", "--token", "ä"]).fails(2, "not visible ASCII");
    assert_eq!(ctl(&harness, &["health"]).code, 0, "the health service asks for no token");
    assert_eq!(ctl(&harness, &["status", "--token", TOKEN]).code, 0);

    let url = format!("http://{}", harness.server().api);
    let with = |variables: &[(&str, &str)], words: &[&str]| -> Ran {
        command(words).envs(variables.iter().copied()).output().unwrap().into()
    };
    assert_eq!(with(&[("SIGNALBOX_CTL_API", &url), ("SIGNALBOX_CTL_TOKEN", TOKEN)], &["status"]).code, 0);
    let help = with(&[("SIGNALBOX_CTL_TOKEN", TOKEN)], &["--help"]);
    assert!(help.code == 0 && !help.out.contains(TOKEN), "{help:?}");

    let home = tempfile::tempdir().unwrap();
    let path = home.path().join(".config/signalbox/ctl.toml");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let at_home = |text: &str, mode: u32, words: &[&str]| {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        with(&[("HOME", home.path().to_str().unwrap())], words)
    };
    let good = format!("api = \"{url}\"\ntoken = \"{TOKEN}\"\n");
    assert_eq!(at_home(&good, 0o600, &["status"]).code, 0);
    at_home(&good, 0o644, &["status"]).fails(2, "run `chmod 600");
    at_home("apo = \"http://a\"\n", 0o600, &["status"])
        .fails(2, "ctl.toml:1:1: there is no `apo` here; did you mean `api`?");
    // The token of the file is not for another server.
    let elsewhere = at_home("token = \"0123456789abcdef\"\n", 0o600, &["status", "--api", &url]);
    elsewhere.fails(1, "the server asks for an operator token");
}

#[test]
fn wrong_words_are_told_with_the_right_ones() {
    let usage = [
        (&["stauts"][..], "status"),
        (&["drain"], "SERVICE/INSTANCE"),
        (&["drain", "shop"], "write SERVICE/INSTANCE, such as shop/shop-1"),
        (&["wait", "revision", "x", "shop/a"], "invalid value 'x'"),
        (&["tap", "--percent", "0"], "1..=100"),
        (&["completions", "tcsh"], "bash"),
    ];
    for (words, expected) in usage {
        let ran = run(words);
        assert!(ran.code == 2 && ran.err.contains(expected), "{words:?}: {ran:?}");
    }
    run(&["status", "--api", "localhost:8182"]).fails(2, "write the API as http://HOST:PORT");
    run(&["status", "--answer-timeout", "x"]).fails(2, "--answer-timeout: `x`");
    let harness = ServerHarness::open();
    ctl(&harness, &["drain", "shop/a", "--duration", "soon"]).fails(2, "--duration: `soon`");
    ctl(&harness, &["audit", "--since", "yesterday"]).fails(2, "--since: `yesterday` is not a time");
    ctl(&harness, &["audit", "--action", "x"]).fails(1, "action");
    let first: Ran = std::process::Command::new(env!("CARGO_BIN_EXE_signalbox"))
        .args(["--pipe-listen", "127.0.0.1:0", "ctl", "status"])
        .output()
        .unwrap()
        .into();
    assert!(first.code == 2 && first.err.contains("`ctl` is the first word"), "{first:?}");
}
