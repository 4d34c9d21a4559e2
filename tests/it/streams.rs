//! Event streams: their number is bounded over gRPC and REST together, silent streams send signs of life, and a stream
//! ends once another connection takes its session.

use signalbox::grpc::proto;
use signalbox::grpc::proto::operator_client::OperatorClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Streaming};

use crate::server::{Server, eventually};
use crate::support::PATIENCE;
use crate::support::wire::Wire;

type Stream = Streaming<proto::WatchResponse>;

async fn watch(channel: &Channel) -> Result<Stream, tonic::Status> {
    let mut client = OperatorClient::new(channel.clone());
    Ok(client.watch(proto::WatchRequest { after: None }).await?.into_inner())
}

#[test]
fn streams_are_served_up_to_their_limit_and_the_next_is_refused_over_grpc_and_rest() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_with(folder.path(), &["--api-streams-max", "1000"]);
    streams_are_served_up_to(1000, &server);
}

#[test]
#[ignore = "storm: minutes"]
fn storm_of_ten_thousand_streams_is_served_and_the_next_is_refused_over_grpc_and_rest() {
    let folder = tempfile::tempdir().unwrap();
    streams_are_served_up_to(10_000, &Server::start(folder.path()));
}

fn streams_are_served_up_to(streams_max: usize, server: &Server) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let endpoint = Endpoint::from_shared(format!("http://{}", server.api)).unwrap();
    let mut streams: Vec<Stream> = Vec::new();
    let mut channel = runtime.block_on(endpoint.connect()).unwrap();
    while streams.len() < streams_max {
        if streams.len().is_multiple_of(250) {
            channel = runtime.block_on(endpoint.connect()).unwrap();
        }
        streams.push(runtime.block_on(watch(&channel)).unwrap());
    }
    let refused = runtime.block_on(watch(&channel)).expect_err("one more is refused");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let words = format!("too many open event streams (limit {streams_max})");
    assert!(refused.message().contains(&words), "{}", refused.message());
    let over_rest = || {
        let mut wire = Wire::connect(server.api);
        wire.send(format!("GET /v1/events HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", server.api));
        wire.head().expect("an answer").status()
    };
    assert_eq!(over_rest(), 429);

    // Each of them hears of what happens, the first and the last too.
    let session = server.connect().register("shop", "shop-1");
    assert!(!session.is_empty());
    let end = streams_max - 1;
    for at in [0, end / 2, end] {
        let stream = &mut streams[at];
        // Silent streams have sent heartbeats before.
        let told = async {
            loop {
                match stream.message().await.unwrap().unwrap().item.unwrap() {
                    proto::watch_response::Item::Event(event) => return event.instance_name,
                    proto::watch_response::Item::Heartbeat(_) => {}
                    other => panic!("{other:?}"),
                }
            }
        };
        let told = runtime.block_on(async { tokio::time::timeout(PATIENCE, told).await });
        assert_eq!(told.expect("in time"), "shop-1");
    }
    drop((streams, channel, runtime));
    eventually("their places are free again", || over_rest() == 200);
}

#[test]
fn a_pipe_connection_whose_session_was_taken_is_closed_without_a_word_that_it_did_not_ask_for() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_with(folder.path(), &["--pipe-idle-timeout", "1s"]);
    let (mut first, mut second, mut third) = (server.connect(), server.connect(), server.connect());
    let session = first.register("shop", "shop-1");
    assert_eq!(second.ask(&format!("RECONNECT|{session}")), "OK");
    assert_eq!(first.try_line().unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    drop(third);
    third = server.connect();
    third.register("shop", "shop-1");
    assert_eq!(second.try_line().unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
}

fn events(server: &Server, session: &str) -> Wire {
    let mut wire = Wire::connect(server.api);
    let field = format!("authorization: Bearer {session}\r\n");
    wire.send(format!("GET /v1/session/events HTTP/1.1\r\nhost: {}\r\n{field}\r\n", server.api));
    wire
}

#[test]
fn a_stream_says_at_once_where_to_resume_and_streams_of_a_session_stand_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let session = server.connect().register("shop", "shop-1");
    let mut open: Vec<Wire> = (0..8).map(|_| events(&server, &session)).collect();
    for wire in &mut open {
        assert_eq!(wire.head().unwrap().status(), 200);
        let first = String::from_utf8(wire.chunk().unwrap()).unwrap();
        assert!(first.starts_with(": signalbox") && first.contains("\nid: "), "{first}");
    }
    let refused = events(&server, &session).message().unwrap();
    assert_eq!(refused.status(), 429);
    assert!(refused.text().contains("of this session (limit 8)"), "{}", refused.text());
}
