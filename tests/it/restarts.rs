//! Starts on a database from an earlier version, or after the clock was set.

use std::path::Path;

use serde_json::Value;
use sqlx::{AssertSqlSafe, ConnectOptions as _};

use crate::server::{Backend, Server};

/// Writes to the database of a server that has ended.
fn write(folder: &Path, text: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.join("signalbox.db"));
        let mut connection = options.connect().await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut connection).await.unwrap();
        sqlx::Connection::close(connection).await.unwrap();
    });
}

fn json(reply: &str) -> Value {
    let (_, payload) = reply.split_once('|').unwrap_or_else(|| panic!("{reply}"));
    serde_json::from_str(payload).unwrap()
}

#[test]
fn a_clock_that_was_set_between_two_starts_neither_ends_nor_prolongs_a_drain() {
    const HOUR: i64 = 3_600_000;
    let folder = tempfile::tempdir().unwrap();
    let backend = Backend::start("b");
    let server = Server::start(folder.path());
    let mut client = server.connect();
    let session = client.register("shop", "shop-1");
    client.serve(&session, "shop.example", "/", backend.address);
    assert!(client.ask(&format!("DRAIN_START|{session}|30m")).starts_with("DRAIN_OK|"));
    assert!(server.terminate().success());
    for set in [HOUR, -HOUR, 400 * 24 * HOUR, -400 * 24 * HOUR, -1_000] {
        // As if the clock had said so much less then, for all that it told.
        write(
            folder.path(),
            &format!(
                "update session set connected_at = connected_at - {set}, drain_started = drain_started - {set}, \
                 last_apply = last_apply - {set}; update registry set started_ms = started_ms - {set}"
            ),
        );
        let server = Server::start(folder.path());
        let mut client = server.connect();
        assert_eq!(client.ask(&format!("RECONNECT|{session}")), "OK");
        let drain = json(&client.ask(&format!("DRAIN_STATUS|{session}")));
        let (elapsed, remaining) =
            (drain["elapsed_seconds"].as_u64().unwrap(), drain["remaining_seconds"].as_u64().unwrap());
        assert!(elapsed < 300 && remaining > 1_500, "set by {set} ms: {drain}");
        assert!(drain["traffic_percent"].as_u64().unwrap() > 80, "set by {set} ms: {drain}");
        assert!(server.terminate().success());
    }
}

#[test]
fn names_with_hidden_characters_that_an_older_version_took_are_kept_and_not_taken_anew() {
    let names = ["sh\u{200b}op-1", "\u{202e}shop-1", "shop-1\u{2066}", "shop\u{00ad}-1"];
    let folder = tempfile::tempdir().unwrap();
    let backend = Backend::start("b");
    let server = Server::start(folder.path());
    let sessions = [0, 1, 2, 3].map(|at| {
        let mut client = server.connect();
        let session = client.register("shop", &format!("shop-{at}"));
        client.serve(&session, &format!("shop-{at}.example"), "/", backend.address);
        session
    });
    assert!(server.terminate().success());
    let renames = (0..).zip(names).map(|(at, hidden)| {
        let rename = format!("set instance = '{hidden}' where instance = 'shop-{at}'");
        format!("update session {rename}; update history_of {rename}")
    });
    write(folder.path(), &renames.collect::<Vec<String>>().join(";"));
    let server = Server::start(folder.path());
    for (at, (hidden, session)) in names.into_iter().zip(sessions).enumerate() {
        assert_eq!(server.get(&format!("shop-{at}.example"), "/").0, 200, "{hidden:?}");
        let mut client = server.connect();
        assert_eq!(client.ask(&format!("RECONNECT|{session}")), "OK");
        let other = format!("other-{at}.example");
        client.serve(&session, &other, "/", backend.address);
        let refused = server.once(&format!("REGISTER|shop|{hidden}|9001|{{}}"));
        assert!(refused.starts_with("ERROR|instance"), "{refused}");
        assert_eq!(server.get(&other, "/").0, 200, "{hidden:?}");
    }
}
