//! One client address cannot use all sessions, over any interface.

use std::net::{SocketAddr, TcpStream};

use signalbox::grpc::proto;
use signalbox::grpc::proto::registry_client::RegistryClient;
use tonic::Code;
use tonic::transport::Endpoint;

use crate::server::Server;
use crate::support::wire::Wire;

fn register_over_rest(server: &Server, from: [u8; 4], instance: &str) -> (u16, String) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&server.api.into()).unwrap();
    let mut wire = Wire::over(TcpStream::from(socket));
    let body = format!(r#"{{"service_name":"shop","instance_name":"{instance}"}}"#);
    let head = format!("POST /v1/sessions HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json", server.api);
    wire.send(format!("{head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()));
    let answer = wire.message().expect("an answer");
    (answer.status(), answer.text().to_owned())
}

fn register_over_grpc(server: &Server, instance: &str) -> Result<(), tonic::Status> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let channel = Endpoint::from_shared(format!("http://{}", server.api)).unwrap().connect().await.unwrap();
        let (service_name, instance_name) = ("shop".to_owned(), instance.to_owned());
        let request = proto::RegisterRequest { service_name, instance_name, ..Default::default() };
        RegistryClient::new(channel).register(request).await.map(drop)
    })
}

#[test]
fn an_address_that_has_its_share_is_refused_at_every_interface_and_others_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_with(folder.path(), &["--limits-sessions-per-address", "2"]);
    let mut greedy = server.connect();
    let first = greedy.register("shop", "shop-1");
    greedy.register("shop", "shop-2");
    let refused = "too many sessions from 127.0.0.1 (limit 2); end some, or have limits.sessions_per_address raised";
    assert_eq!(greedy.ask("REGISTER|shop|shop-3|9001|{}"), format!("ERROR|{refused}"));
    let (status, problem) = register_over_rest(&server, [127, 0, 0, 1], "shop-3");
    assert!(status == 429 && problem.contains(refused), "{status} {problem}");
    let status = register_over_grpc(&server, "shop-3").unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, refused));
    assert_eq!(register_over_rest(&server, [127, 0, 0, 2], "shop-3").0, 201, "another has a share of its own");

    // One that is there already may begin anew, and a place that is given back is free.
    greedy.register("shop", "shop-2");
    assert_eq!(server.once(&format!("CLIENT_SHUTDOWN|{first}")), "SHUTDOWN_OK");
    assert!(register_over_grpc(&server, "shop-4").is_ok());
}

#[test]
fn behind_trusted_proxies_addresses_are_not_counted_unless_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--sessions-max", "4", "--proxy-trusted-proxies", "127.0.0.0/8"];
    let server = Server::start_with(folder.path(), &flags);
    let mut client = server.connect();
    (0..4).for_each(|number| drop(client.register("shop", &format!("shop-{number}"))));
    assert_eq!(client.ask("REGISTER|shop|shop-4|9001|{}"), "ERROR|too many sessions (limit 4); try again later");
}
