//! Tests of commands over a connection: their effects, their order, and bad input.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use super::super::PipeSettings;
use super::support::{Client, Server, connection_limits, settings};

#[tokio::test]
async fn two_thousand_pipelined_commands_are_answered_in_order_and_stored_in_few_batches() {
    let server = Server::start().await;
    let (mut client, id) = server.register("shop-1").await;
    let before = server.world.commits.load(Ordering::Relaxed);
    let mut lines = String::new();
    for route in 1..=2000 {
        writeln!(lines, "ROUTE_ADD|{id}|t{route}|h{route}.example|/|http://b|0").unwrap();
    }
    client.send(lines).await;
    for route in 1..=2000 {
        assert_eq!(client.line().await, Some(format!("ROUTE_OK|t{route}|r{route}")));
    }
    let batches = server.world.commits.load(Ordering::Relaxed) - before;
    assert!(batches <= 20, "{batches} batches");
}

#[tokio::test]
async fn queries_refusals_and_commands_keep_their_order() {
    let server = Server::start().await;
    let (mut client, id) = server.register("shop-1").await;
    client
        .send(format!(
            "ROUTE_ADD|{id}|a.example|/|http://b|0\nSTATS_GET|{id}|r1\nCONFIG_APPLY|{id}\nSTATS_GET|{id}|r1|compressed\n\
             NONSENSE\n\r\nACK\nROUTE_REMOVE|{id}|r9\nROUTE_UPDATE|{id}|t|r1|priority|7\nBACKEND_TEST|{id}|http://b\nPING|{id}|t2\n"
        ))
        .await;
    let mut replies = Vec::new();
    for _ in 0..9 {
        replies.push(client.line().await.unwrap());
    }
    assert_eq!(replies[0], "ROUTE_OK|r1");
    assert_eq!(replies[1], "ERROR|route r1 is staged, not active yet; CONFIG_APPLY first");
    assert_eq!(replies[2], "OK");
    assert!(replies[3].starts_with("STATS_OK|H4sI"), "{}", replies[3]);
    assert_eq!(replies[4], "ERROR|unknown command: NONSENSE");
    assert!(replies[5].starts_with("ERROR|"), "{}", replies[5]);
    assert_eq!(replies[6], "ROUTE_OK|t");
    assert_eq!(replies[7], r#"BACKEND_FAIL|{"reachable":false,"error":"connection refused"}"#);
    assert_eq!(replies[8], "PONG|t2");
}

/// Returns a line of each command with the beginning of its reply.
fn one_of_each(id: &str) -> Vec<(String, &'static str)> {
    let plain = [
        ("PING|S|t", "PONG|t"),
        ("SESSION_INFO|S", "SESSION_OK|{\"session_id\":"),
        ("ROUTE_ADD|S|a.example,*.b.example|/api/|http://b:3000|5", "ROUTE_OK|r1"),
        (
            r#"ROUTE_ADD_BULK|S|[{"domains":["c.example"],"path":"/","backend_url":"http://b"},{"domains":["d.example"],"path":"/","backend_url":"http://b"}]"#,
            r#"ROUTE_BULK_OK|[{"route_id":"r2","status":"ok"},{"route_id":"r3","status":"ok"}]"#,
        ),
        ("ROUTE_UPDATE|S|r1|path|/v2", "ROUTE_OK"),
        ("ROUTE_REMOVE|S|r3", "ROUTE_OK"),
        ("ROUTE_LIST|S", "ROUTE_LIST_OK|[{\"route_id\":\"r1\""),
        ("ROUTE_LIST|S|compressed", "ROUTE_LIST_OK|H4sI"),
        ("HEADERS_SET|S|ALL|X-A|b", "HEADERS_OK"),
        ("HEADERS_REMOVE|S|t|ALL|X-A", "HEADERS_OK|t"),
        ("OPTIONS_SET|S|r1|timeout|5s", "OPTIONS_OK"),
        ("OPTIONS_SET|S|r1|t|timeout|soon", "ERROR|"),
        ("OPTIONS_REMOVE|S|r1|timeout", "OPTIONS_OK"),
        ("HEALTH_SET|S|r1|/healthz|10s|1s", "HEALTH_OK"),
        ("RATELIMIT_SET|S|ALL|100|1m", "RATELIMIT_OK"),
        ("CIRCUIT_BREAKER_SET|S|t|r1|5|30s|2", "CIRCUIT_OK|t"),
        ("CONFIG_VALIDATE|S", "OK"),
        ("CONFIG_DIFF|S", r#"DIFF_OK|{"routes":{"added":["r1","r2"],"#),
        ("CONFIG_APPLY_PARTIAL|S|routes", "OK"),
        ("CONFIG_APPLY|S", "OK"),
        ("CONFIG_ROLLBACK|S", "OK"),
        ("CIRCUIT_BREAKER_STATUS|S|r1", r#"CIRCUIT_STATUS_OK|{"state":"closed","#),
        ("CIRCUIT_BREAKER_RESET|S|r1", "CIRCUIT_OK"),
        ("CIRCUIT_BREAKER_RESET|S|r2", "ERROR|no circuit breaker on r2"),
        ("DRAIN_STATUS|S|t", "ERROR|t|no drain in progress"),
        ("DRAIN_START|S|1m", "DRAIN_OK|20"),
        ("DRAIN_STATUS|S", r#"DRAIN_STATUS_OK|{"active":true,"#),
        ("DRAIN_CANCEL|S", "DRAIN_OK"),
        ("DRAIN_CANCEL|S", "ERROR|no drain in progress"),
        ("MAINT_STATUS|S", r#"MAINT_STATUS_OK|{"in_maintenance":[],"maintenance_backend":"","entered_at":null}"#),
        ("STATS_GET|S|r1", r#"STATS_OK|{"route_id":"r1","requests":0,"#),
        ("STATS_GET|S|t|ALL", r#"STATS_OK|t|[{"route_id":"r1","#),
        ("BACKEND_TEST|S|http://b", "BACKEND_OK|{\"reachable\":true,\"response_time_ms\":3,\"status_code\":200,"),
        ("SUBSCRIBE|S|all", "SUBSCRIBE_OK"),
        ("UNSUBSCRIBE|S|all", "UNSUBSCRIBE_OK"),
        ("RECONNECT|S", "OK"),
        ("CLIENT_SHUTDOWN|S", "SHUTDOWN_OK"),
    ];
    plain.into_iter().map(|(line, reply)| (line.replacen("|S", &format!("|{id}"), 1), reply)).collect()
}

#[tokio::test]
async fn every_command_has_its_reply() {
    let server = Server::start().await;
    server.world.answers.store(true, Ordering::Relaxed);
    let (mut client, id) = server.register("shop-1").await;
    for (line, begin) in one_of_each(&id) {
        let reply = client.ask(&line).await;
        assert!(reply.starts_with(begin), "{line}: {reply}");
    }
    assert_eq!(client.line().await, None);
}

#[tokio::test]
async fn a_line_that_is_too_long_and_one_that_is_no_text_leave_the_connection_alive() {
    let server = Server::start().await;
    let (mut client, id) = server.register("shop-1").await;
    client.send(format!("PING|{}\nPING|{id}\n", "x".repeat(3 << 20))).await;
    assert_eq!(client.line().await.as_deref(), Some("ERROR|line too long (limit 1048576 bytes)"));
    assert_eq!(client.line().await.as_deref(), Some("PONG"));
    client.send(b"PING|\xff\xfe\nPING|a\tb\nPING|a\0b\n").await;
    assert_eq!(client.line().await.as_deref(), Some("ERROR|the line is not valid UTF-8 (byte 6)"));
    assert_eq!(client.line().await.as_deref(), Some("ERROR|the line holds a control character (byte 7)"));
    assert_eq!(client.line().await.as_deref(), Some("ERROR|the line holds a control character (byte 7)"));
    client.expect(&format!("PING|{id}"), "PONG").await;
}

#[tokio::test]
async fn lines_that_come_byte_by_byte_are_answered_alike() {
    let server = Server::start().await;
    let (mut client, id) = server.register("shop-1").await;
    let lines = format!("ROUTE_ADD|{id}|t|a.example|/|http://b|0\r\n\nPING|{id}|\u{e9}\nnonsense\n");
    for byte in lines.bytes() {
        client.send([byte]).await;
        tokio::task::yield_now().await;
    }
    for reply in ["ROUTE_OK|t|r1", "PONG|\u{e9}", "ERROR|unknown command: nonsense"] {
        assert_eq!(client.line().await.as_deref(), Some(reply));
    }
}

#[tokio::test]
async fn the_unfinished_rest_of_a_connection_is_not_executed() {
    let server = Server::start().await;
    let (_bound, id) = server.register("shop-1").await;
    let mut client = server.connect().await;
    client.send(format!("PING|{id}\nCLIENT_SHUTDOWN|{id}")).await;
    assert_eq!(client.rest().await, "PONG\n");
    assert!(server.registry.catalog().session(&id).is_ok());
}

#[tokio::test]
async fn a_reply_that_is_too_long_names_the_compressed_form_which_works() {
    let server = Server::start().await;
    let (mut client, id) = server.register("shop-1").await;
    let mut lines = String::new();
    for route in 0..1000 {
        writeln!(lines, "ROUTE_ADD|{id}|h{route}.example|/|http://b|0").unwrap();
    }
    client.send(lines).await;
    for _ in 0..1000 {
        client.line().await.unwrap();
    }
    let refused = client.ask(&format!("ROUTE_LIST|{id}|t")).await;
    assert!(refused.starts_with("ERROR|t|reply of at least 1"), "{refused}");
    assert!(
        refused.ends_with(" is too long (limit 65536); ask for the compressed form: ROUTE_LIST|session_id|compressed"),
        "{refused}"
    );
    let list = client.ask(&format!("ROUTE_LIST|{id}|t|compressed")).await;
    assert!(list.starts_with("ROUTE_LIST_OK|t|H4sI"), "{}", &list[..40]);
}

/// Puts a session with the route r1 into maintenance.
async fn maintained(server: &Server) -> (Client<tokio::net::TcpStream>, String) {
    let (mut client, id) = server.register("shop-1").await;
    client.expect(&format!("ROUTE_ADD|{id}|a.example|/|http://b|0"), "ROUTE_OK|r1").await;
    client.expect(&format!("CONFIG_APPLY|{id}"), "OK").await;
    client.expect(&format!("MAINT_ENTER|{id}|r1|"), "ACK").await;
    assert_eq!(client.line().await.as_deref(), Some("MAINT_OK|r1"));
    (client, id)
}

#[tokio::test]
async fn the_outcome_of_maintenance_goes_to_the_connection_that_asked() {
    let server = Server::start().await;
    let (mut client, id) = maintained(&server).await;
    client.expect(&format!("SUBSCRIBE|{id}|maintenance_changed"), "SUBSCRIBE_OK").await;
    let mut other = server.connect().await;
    other.expect(&format!("MAINT_EXIT|{id}|t1|ALL"), "ACK|t1").await;
    server.world.answers.store(true, Ordering::Relaxed);
    assert_eq!(other.line().await.as_deref(), Some("MAINT_OK|ALL"));
    let event = r#"EVENT|maintenance_changed|{"target":"ALL","in_maintenance":false}"#;
    assert_eq!(client.line().await.as_deref(), Some(event));
}

#[tokio::test]
async fn a_client_that_stopped_sending_still_hears_the_outcome() {
    let server = Server::start().await;
    let (_client, id) = maintained(&server).await;
    let reply = server.once(&format!("MAINT_ENTER|{id}|t1|a.example|")).await;
    assert_eq!(reply, "ACK|t1\nMAINT_OK|a.example\n");
    let reply = server.once(&format!("MAINT_ENTER|{id}|r7")).await;
    assert!(reply.starts_with("ERROR|") && reply.ends_with('\n'), "{reply}");
}

#[tokio::test]
async fn an_exit_happens_even_if_the_connection_that_asked_is_gone() {
    let server = Server::start().await;
    let (mut client, id) = maintained(&server).await;
    client.expect(&format!("MAINT_EXIT|{id}|r1"), "ACK").await;
    drop(client);
    server.until(|catalog| catalog.session(&id).unwrap().bound.is_none()).await;
    server.world.answers.store(true, Ordering::Relaxed);
    server.until(|catalog| catalog.session(&id).unwrap().record.maintenance.first().is_none()).await;
}

#[tokio::test]
async fn an_outcome_whose_connection_is_gone_is_told_to_no_other() {
    let server = Server::start().await;
    let (mut client, id) = maintained(&server).await;
    client.expect(&format!("MAINT_EXIT|{id}|r1"), "ACK").await;
    drop(client);
    server.until(|catalog| catalog.session(&id).unwrap().bound.is_none()).await;
    let mut bound = server.connect().await;
    bound.expect(&format!("RECONNECT|{id}"), "OK").await;
    bound.expect(&format!("SUBSCRIBE|{id}|maintenance_changed"), "SUBSCRIBE_OK").await;
    server.world.answers.store(true, Ordering::Relaxed);
    let event = r#"EVENT|maintenance_changed|{"target":"r1","in_maintenance":false}"#;
    assert_eq!(bound.line().await.as_deref(), Some(event));
    bound.expect(&format!("PING|{id}"), "PONG").await;
}

#[tokio::test]
async fn the_failure_of_maintenance_has_the_transaction_id_of_its_line() {
    let server = Server::start().await;
    let (mut client, id) = maintained(&server).await;
    let cancelled = "cancelled by a newer maintenance request for the same routes";
    let mut other = server.connect().await;
    other.expect(&format!("MAINT_EXIT|{id}|t1|r1"), "ACK|t1").await;
    client.expect(&format!("MAINT_ENTER|{id}|t2|ALL|http://pages/down"), "ACK|t2").await;
    assert_eq!(other.line().await, Some(format!("ERROR|t1|{cancelled}")));
    other.expect(&format!("MAINT_EXIT|{id}|r1"), "ACK").await;
    assert_eq!(client.line().await, Some(format!("ERROR|t2|{cancelled}")));
    client.expect(&format!("MAINT_EXIT|{id}|t3|a.example"), "ACK|t3").await;
    assert_eq!(other.line().await, Some(format!("ERROR|{cancelled}")));
    server.world.answers.store(true, Ordering::Relaxed);
    assert_eq!(client.line().await.as_deref(), Some("MAINT_OK|a.example"), "it stays as clients know it");
    other.expect(&format!("PING|{id}"), "PONG").await;
}

#[tokio::test]
async fn a_target_whose_outcome_would_be_too_long_a_line_is_refused() {
    let server = Server::start_with(PipeSettings { max_reply: 300, ..settings() }).await;
    let (mut client, id) = maintained(&server).await;
    let (fits, too_long) = ("r1,".repeat(96) + "r1", "r1,".repeat(96) + "ALL");
    client.expect(&format!("MAINT_ENTER|{id}|{fits}|"), "ACK").await;
    assert_eq!(client.line().await, Some(format!("MAINT_OK|{fits}")), "with its end, 300 bytes");
    let refusal = "ERROR|t1|target: 291 bytes are too many; at most 290, for MAINT_OK names it again";
    client.expect(&format!("MAINT_ENTER|{id}|t1|{too_long}|"), refusal).await;
    client.expect(&format!("MAINT_EXIT|{id}|t1|{too_long}"), refusal).await;
}

#[tokio::test]
async fn maintenance_requests_that_wait_are_bounded() {
    let server = Server::start().await;
    let (mut client, id) = maintained(&server).await;
    client.send(format!("MAINT_EXIT|{id}|ALL\n").repeat(65)).await;
    for _ in 0..64 {
        assert_eq!(client.line().await.as_deref(), Some("ACK"));
    }
    let limit = "ERROR|too many maintenance requests wait for their outcome (limit 64)";
    assert_eq!(client.line().await.as_deref(), Some(limit));
    let cancelled = "ERROR|cancelled by a newer maintenance request for the same routes";
    assert_eq!(client.line().await.as_deref(), Some(cancelled));
}

#[tokio::test]
async fn a_store_that_fails_refuses_commands_and_leaves_the_connection_alive() {
    let server = Server::start().await;
    let (mut client, id) = server.register("shop-1").await;
    server.world.store_fails.store(true, Ordering::Relaxed);
    let reply = client.ask(&format!("ROUTE_ADD|{id}|t1|a.example|/|http://b|0")).await;
    assert_eq!(reply, "ERROR|t1|the registry cannot store changes now; nothing was changed, try again");
    client.expect(&format!("PING|{id}"), "PONG").await;
    drop(client);
    server.world.store_fails.store(false, Ordering::Relaxed);
    server.until(|catalog| catalog.session(&id).unwrap().bound.is_none()).await;
}

#[tokio::test]
async fn connections_over_the_limit_are_told_so() {
    let server = Server::start_with(connection_limits(1, 1)).await;
    let (mut first, id) = server.register("shop-1").await;
    let mut second = server.connect().await;
    second.send(format!("PING|{id}\n")).await;
    let refusal = "ERROR|too many connections (limit 1); try again later";
    assert_eq!(second.line().await.as_deref(), Some(refusal));
    assert_eq!(second.line().await, None);
    first.expect(&format!("PING|{id}"), "PONG").await;
}

#[tokio::test]
async fn help_shows_every_command() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    for asked in ["help", "HELP", "?", "Help "] {
        client.send(format!("{asked}\n")).await;
        let first = client.line().await.unwrap();
        assert!(first.starts_with("The commands, a line each"), "{first}");
        for verb in super::super::verbs() {
            let line = client.line().await.unwrap();
            assert!(line.starts_with(&format!("{verb}|")) && !line.contains("usage"), "{line}");
        }
    }
    // With fields, the word is no request for help.
    client.expect("help|me", "ERROR|unknown command: help").await;
}
