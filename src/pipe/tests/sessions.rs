//! Tests of sessions and connections: binding, notices, and their ends.

use std::time::Duration;

use super::support::{Server, settings};

#[tokio::test]
async fn a_session_by_hand() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let ack = client.ask(r#"REGISTER|shop|shop-1|9001|{"version":"1.4"}"#).await;
    let id = ack.strip_prefix("ACK|").unwrap().to_owned();
    assert!(id.starts_with("shop-1-1"), "{id}");
    client.expect(&format!("ROUTE_ADD|{id}|shop.example|/|http://127.0.0.1:3000|0"), "ROUTE_OK|r1").await;
    client.expect(&format!("CONFIG_APPLY|{id}"), "OK").await;
    let list = client.ask(&format!("ROUTE_LIST|{id}|t1")).await;
    let entry = r#"{"route_id":"r1","id":"r1","domains":["shop.example"],"path":"/","backend":"http://127.0.0.1:3000","priority":0,"status":"active"}"#;
    assert_eq!(list, format!("ROUTE_LIST_OK|t1|[{entry}]"));
}

#[tokio::test]
async fn one_shot_connections_work_as_well_as_a_long_one() {
    let server = Server::start().await;
    let ack = server.once("REGISTER|shop|shop-1|0").await;
    let id = ack.trim_end().strip_prefix("ACK|").unwrap();
    assert_eq!(server.once(&format!("ROUTE_ADD|{id}|a.example|/|http://b|")).await, "ROUTE_OK|r1\n");
    assert_eq!(server.once(&format!("CONFIG_VALIDATE|{id}")).await, "OK\n");
    assert_eq!(server.once(&format!("CONFIG_APPLY|{id}|t9")).await, "OK|t9\n");
    assert_eq!(server.once(&format!("PING|{id}")).await, "PONG\n");
    assert!(server.registry.catalog().sessions().all(|session| session.bound.is_none()), "nobody stays bound");
}

#[tokio::test]
async fn a_session_is_disconnected_with_its_connection_and_reconnects_on_another() {
    let server = Server::start().await;
    let (client, id) = server.register("shop-1").await;
    let bound = |server: &Server| server.registry.catalog().session(&id).unwrap().bound;
    let first = bound(&server);
    assert!(first.is_some());
    drop(client);
    server.until(|catalog| catalog.session(&id).unwrap().bound.is_none()).await;
    let mut client = server.connect().await;
    client.expect(&format!("RECONNECT|{id}|t1"), "OK|t1").await;
    assert!(bound(&server).is_some_and(|second| Some(second) != first));
    client.expect("RECONNECT|gone-1-2|t2", "REREGISTER|t2").await;
    assert!(bound(&server).is_some(), "a session that is gone changes nothing");
}

#[tokio::test]
async fn a_new_registration_of_an_instance_takes_over() {
    let server = Server::start().await;
    let (mut first, old) = server.register("shop-1").await;
    let (mut second, new) = server.register("shop-1").await;
    first
        .expect(&format!("PING|{old}"), "ERROR|invalid session: a newer registration of its instance has replaced it")
        .await;
    first.expect(&format!("RECONNECT|{old}"), "REREGISTER").await;
    second.expect(&format!("PING|{new}"), "PONG").await;
    let again = first.register("shop-2").await;
    first.expect(&format!("PING|{again}"), "PONG").await;
}

#[tokio::test]
async fn a_shutdown_closes_the_connection_that_asks_and_the_bound_one() {
    let server = Server::start().await;
    let (mut bound, id) = server.register("shop-1").await;
    let mut asking = server.connect().await;
    asking.send(format!("CLIENT_SHUTDOWN|{id}|t1\nPING|{id}\nREGISTER|shop|shop-1|1\n")).await;
    assert_eq!(asking.line().await.as_deref(), Some("SHUTDOWN_OK|t1"));
    assert_eq!((asking.line().await, bound.line().await), (None, None));
    assert_eq!(server.registry.catalog().sessions_len(), 0, "what was pipelined behind it is not executed");
}

#[tokio::test]
async fn a_shutdown_that_fails_closes_nothing() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.expect("CLIENT_SHUTDOWN|nobody", "ERROR|invalid session: it has ended or never was; REGISTER again").await;
    client
        .expect("CLIENT_SHUTDOWN|nobody|t1", "ERROR|t1|invalid session: it has ended or never was; REGISTER again")
        .await;
}

#[tokio::test]
async fn events_go_to_the_bound_connection_only() {
    let server = Server::start().await;
    let (mut bound, id) = server.register("shop-1").await;
    let (mut other, _) = server.register("shop-2").await;
    bound.expect(&format!("SUBSCRIBE|{id}|config_applied"), "SUBSCRIBE_OK").await;
    other.expect(&format!("ROUTE_ADD|{id}|a.example|/|http://b|0"), "ROUTE_OK|r1").await;
    other.expect(&format!("CONFIG_APPLY|{id}"), "OK").await;
    assert_eq!(bound.line().await.as_deref(), Some(r#"EVENT|config_applied|{"revision":1}"#));
    bound.send("ACK\n").await;
    other.expect(&format!("PING|{id}"), "PONG").await;
    bound.expect(&format!("UNSUBSCRIBE|{id}|all"), "UNSUBSCRIBE_OK").await;
    bound.expect(&format!("OPTIONS_SET|{id}|ALL|retries|2"), "OPTIONS_OK").await;
    bound.expect(&format!("CONFIG_APPLY|{id}"), "OK").await;
    bound.expect(&format!("PING|{id}"), "PONG").await;
}

#[tokio::test]
async fn an_event_follows_the_reply_that_caused_it_also_when_the_client_stopped_sending() {
    let server = Server::start().await;
    let (mut client, id) = server.register("shop-1").await;
    client.expect(&format!("SUBSCRIBE|{id}|all"), "SUBSCRIBE_OK").await;
    client.send(format!("ROUTE_ADD|{id}|a.example|/|http://b|0\nCONFIG_APPLY|{id}\n")).await;
    assert_eq!(client.rest().await, "ROUTE_OK|r1\nOK\nEVENT|config_applied|{\"revision\":1}\n");
}

#[tokio::test]
async fn a_stop_is_told_to_bound_connections_and_ends_all() {
    let server = Server::start().await;
    let (mut bound, id) = server.register("shop-1").await;
    let mut unbound = server.connect().await;
    unbound.expect(&format!("PING|{id}"), "PONG").await;
    server.begin_to_stop();
    assert_eq!(bound.line().await.as_deref(), Some("SHUTDOWN"));
    assert_eq!((bound.line().await, unbound.line().await), (None, None));
    drop((bound, unbound));
    assert!(server.registry.catalog().session(&id).unwrap().bound.is_some(), "a stop is no disconnect");
    server.stop().await;
}

/// Kind: no client takes `SHUTDOWN` for the answer to a line that is not executed.
#[tokio::test]
async fn commands_sent_before_a_stop_are_answered_before_shutdown() {
    let server = Server::start().await;
    let (mut client, id) = server.register("shop-1").await;
    let mut one_shot = server.connect().await;
    one_shot.expect(&format!("PING|{id}"), "PONG").await;
    server.begin_to_stop();
    for round in 1..=3 {
        client.send(format!("ROUTE_ADD|{id}|h{round}.example|/|http://b|0\nCONFIG_APPLY|{id}\n")).await;
        one_shot.send(format!("OPTIONS_SET|{id}|ALL|x{round}|y\n")).await;
        assert_eq!(client.line().await, Some(format!("ROUTE_OK|r{round}")));
        assert_eq!(client.line().await.as_deref(), Some("OK"));
        assert_eq!(one_shot.line().await.as_deref(), Some("OPTIONS_OK"));
    }
    assert_eq!((client.line().await.as_deref(), client.line().await), (Some("SHUTDOWN"), None));
    assert_eq!(one_shot.line().await, None);
    assert_eq!(server.registry.catalog().session(&id).unwrap().active.routes.len(), 3);
}

#[tokio::test]
async fn the_line_that_crosses_the_word_of_a_stop_is_executed_and_none_behind_it() {
    for crossing in
        ["CONFIG_APPLY|{}", "\n\r\nACK\nCONFIG_APPLY|{}", "CONFIG_APPLY|{}\nCLIENT_SHUTDOWN|{}\nCONFIG_ROLLBACK|{}"]
    {
        let server = Server::start().await;
        let (mut client, id) = server.register("shop-1").await;
        client.expect(&format!("ROUTE_ADD|{id}|a.example|/|http://b|0"), "ROUTE_OK|r1").await;
        server.begin_to_stop();
        assert_eq!(client.line().await.as_deref(), Some("SHUTDOWN"));
        client.send(format!("{}\n", crossing.replace("{}", &id))).await;
        assert_eq!(client.line().await, None, "{crossing}");
        let applied = |catalog: &crate::domain::Catalog| catalog.session(&id).unwrap().active.routes.len() == 1;
        server.until(applied).await;
        server.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_on_sending_is_answered_and_closed_without_a_word() {
    let server = Server::without_socket(settings()).await;
    let mut client = server.pair(1024);
    let id = client.register("shop-1").await;
    server.begin_to_stop();
    let mut answered = 0;
    while client.try_send(format!("PING|{id}\n")).await.is_ok() {
        let Some(reply) = client.line().await else { break };
        assert_eq!(reply, "PONG");
        answered += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!((20..=30).contains(&answered), "{answered}: for three seconds");
}

#[tokio::test(start_paused = true)]
async fn a_line_that_is_not_finished_at_a_stop_is_neither_executed_nor_answered() {
    let server = Server::without_socket(settings()).await;
    let mut client = server.pair(1024);
    let id = client.register("shop-1").await;
    client.send(format!("CLIENT_SHUTDOWN|{id}")).await;
    server.begin_to_stop();
    assert_eq!(client.line().await, None);
    assert!(server.registry.catalog().session(&id).is_ok());
}

#[tokio::test]
async fn a_connection_that_panics_ends_alone_and_its_session_is_disconnected() {
    let server = Server::start().await;
    let (mut first, id) = server.register("shop-1").await;
    let mut second = server.pair_with(1024, || panic!("no chance left"));
    second.expect(&format!("RECONNECT|{id}"), "OK").await;
    second.send("REGISTER|shop|shop-2|1\n").await;
    assert_eq!(second.line().await, None);
    server.until(|catalog| catalog.session(&id).unwrap().bound.is_none()).await;
    first.expect(&format!("PING|{id}"), "PONG").await;
}
