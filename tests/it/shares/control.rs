//! The control threads: a `PING` is answered at once, whatever a large session of another caller asks for.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use signalbox::grpc::proto;
use signalbox::grpc::proto::registry_client::RegistryClient;
use tonic::transport::Endpoint;

use crate::server::{Client, Server};
use crate::support::wire::Wire;

/// So many routes keep one thread of a debug build busy for seconds.
const ROUTES: usize = 10_000;
const ROUTES_AT_ONCE: usize = 1_000;
/// Work that is over sooner says nothing: the thread of the pings may not have had its turn.
const BRIEF: Duration = Duration::from_millis(400);

/// Does something while another session pings: pings that wait for it to end are answered only then. Their
/// duration is measured by `cargo bench --bench control -- beside`.
fn beside_pings(server: &Server, what: &str, work: impl FnOnce()) {
    let mut quiet = server.connect();
    let session = quiet.register("quiet", "quiet-1");
    let done = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&done);
    let pinging = thread::spawn(move || {
        let mut took = Vec::new();
        // One at least, however short the work is.
        while took.is_empty() || !over.load(Ordering::Relaxed) {
            let asked = Instant::now();
            assert_eq!(quiet.ask(&format!("PING|{session}")), "PONG");
            took.push((asked, Instant::now()));
        }
        took
    });
    let begun = Instant::now();
    work();
    let ended = Instant::now();
    done.store(true, Ordering::Relaxed);
    let took = pinging.join().unwrap();
    let longest = took.iter().map(|(asked, answered)| *answered - *asked).max();
    let whole = ended - begun;
    println!("{what}: {whole:?}; {} pings, max {longest:?}", took.len());
    let meanwhile = took.iter().filter(|(asked, answered)| *asked >= begun && *answered <= ended).count();
    assert!(whole < BRIEF || meanwhile > 1, "{what}: {meanwhile} pings were answered in {whole:?}");
}

/// A session with many routes staged.
fn stage(client: &mut Client, instance: &str) -> String {
    let session = client.register("large", instance);
    for first in (0..ROUTES).step_by(ROUTES_AT_ONCE) {
        let route = |number: usize| {
            format!(r#"{{"domains":["h{number}.example"],"path":"/","backend_url":"http://127.0.0.1:1"}}"#)
        };
        let routes: Vec<String> = (first..first + ROUTES_AT_ONCE).map(route).collect();
        let reply = client.ask(&format!("ROUTE_ADD_BULK|{session}|[{}]", routes.join(",")));
        assert!(reply.starts_with("ROUTE_BULK_OK|") || reply.contains("too long"), "{reply}");
    }
    session
}

fn over_rest(server: &Server, target: &str, token: &str) {
    let mut wire = Wire::connect(server.api);
    let field = if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
    wire.send(format!("GET {target} HTTP/1.1\r\nhost: {}\r\n{field}connection: close\r\n\r\n", server.api));
    assert_eq!(wire.message().expect("an answer").status(), 200, "{target}");
}

fn over_grpc(server: &Server, session: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let channel = Endpoint::from_shared(format!("http://{}", server.api)).unwrap().connect().await.unwrap();
        let mut client = RegistryClient::new(channel).max_decoding_message_size(64 * 1024 * 1024);
        let of = session.to_owned();
        let listed = client.list_routes(proto::ListRoutesRequest { session_id: of.clone() }).await.unwrap();
        assert!(listed.into_inner().routes.len() >= ROUTES);
        client.get_config(proto::GetConfigRequest { session_id: of }).await.unwrap();
    });
}

#[test]
fn requests_of_a_large_session_do_not_delay_the_pings_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut large = server.connect();
    let session = stage(&mut large, "large-1");
    let mut asks = |what: &str, line: String, reply: &str| {
        beside_pings(&server, what, || {
            let answer = large.ask(&line);
            assert!(answer.starts_with(reply), "{}", answer.get(..200).unwrap_or(&answer));
        });
    };
    asks("validate", format!("CONFIG_VALIDATE|{session}"), "OK");
    asks("diff", format!("CONFIG_DIFF|{session}"), "ERROR|reply of ");
    asks("apply", format!("CONFIG_APPLY|{session}"), "OK");
    asks("list, compressed", format!("ROUTE_LIST|{session}|compressed"), "ROUTE_LIST_OK|");
    asks("statistics", format!("STATS_GET|{session}|compressed"), "STATS_OK|");
    asks("a setting for all", format!("OPTIONS_SET|{session}|ALL|retries|2"), "OPTIONS_OK");
    asks("apply of a setting for all", format!("CONFIG_APPLY|{session}"), "OK");
    beside_pings(&server, "pipelined lists", || {
        let lines = format!("ROUTE_LIST|{session}\n").repeat(50);
        large.writer.write_all(lines.as_bytes()).unwrap();
        for _ in 0..50 {
            let reply = large.try_reply().unwrap();
            assert!(reply.starts_with("ERROR|reply of ") && reply.contains("ROUTE_LIST|session_id|compressed"));
        }
    });
    beside_pings(&server, "list over REST", || over_rest(&server, "/v1/session/routes", &session));
    beside_pings(&server, "configuration over REST", || over_rest(&server, "/v1/session/config", &session));
    beside_pings(&server, "difference over REST", || over_rest(&server, "/v1/session/config/diff", &session));
    beside_pings(&server, "statistics over REST", || over_rest(&server, "/v1/session/stats", &session));
    beside_pings(&server, "instances over REST", || over_rest(&server, "/v1/instances", ""));
    beside_pings(&server, "explain over REST", || over_rest(&server, "/v1/explain?host=h7.example&path=/", ""));
    beside_pings(&server, "lists over gRPC", || over_grpc(&server, &session));
    let mut again = server.connect();
    let next = stage(&mut again, "large-1");
    let asks = |again: &mut Client, what: &str, line: String, reply: &str| {
        beside_pings(&server, what, || assert!(again.ask(&line).starts_with(reply), "{what}"));
    };
    asks(&mut again, "rollback", format!("CONFIG_ROLLBACK|{next}"), "OK");
    asks(&mut again, "apply that ends the one before", format!("CONFIG_APPLY|{next}"), "OK");
    let last = stage(&mut again, "large-1");
    asks(&mut again, "apply again", format!("CONFIG_APPLY|{last}"), "OK");
    asks(&mut again, "end", format!("CLIENT_SHUTDOWN|{last}"), "SHUTDOWN_OK");
}
