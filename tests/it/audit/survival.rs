//! A change and its record survive together, however the server ends.

use super::{actions, records};
use crate::server::Server;

#[test]
fn after_a_kill_each_acknowledged_change_has_its_record_and_no_number_comes_twice() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path());
    for round in 0..3 {
        let mut client = server.connect();
        let name = format!("shop-{round}");
        let session = client.register("shop", &name);
        client.serve(&session, &format!("s{round}.example"), "/", "127.0.0.1:1".parse().unwrap());
        server.kill();
        server = Server::start(folder.path());
        let found = records(&server, &format!("instance={name}"));
        assert_eq!(actions(&found), ["registered", "applied"], "{name}");
        let mut client = server.connect();
        assert_eq!(client.ask(&format!("RECONNECT|{session}")), "OK", "and the change is there");
    }
    let all = records(&server, "");
    let numbers: Vec<u64> = all.iter().map(|record| record["sequence"].as_u64().unwrap()).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    assert_eq!(actions(&all).iter().filter(|action| **action == "server_started").count(), 4);
    assert!(!actions(&all).contains(&"server_stopped"), "it was killed");
}
