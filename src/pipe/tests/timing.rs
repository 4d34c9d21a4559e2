//! Tests of timeouts. The clock is paused: it advances when all tasks are idle.

use std::time::Duration;

use tokio::time::Instant;

use super::support::{Server, settings};

async fn server() -> Server {
    Server::without_socket(settings()).await
}

fn about(secs: u64, since: Instant) -> bool {
    let elapsed = since.elapsed();
    elapsed >= Duration::from_secs(secs) && elapsed < Duration::from_secs(secs + 2)
}

#[tokio::test(start_paused = true)]
async fn a_line_that_is_not_finished_in_time_closes_the_connection() {
    let mut client = server().await.pair(1024);
    let begun = Instant::now();
    for _ in 0..3 {
        client.send("P").await;
        tokio::time::sleep(Duration::from_secs(9)).await;
    }
    assert_eq!(client.line().await, None);
    assert!(about(30, begun), "{:?}: further bytes buy no time", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_finished_line_begins_the_wait_anew() {
    let mut client = server().await.pair(1024);
    client.send("PING|a").await;
    tokio::time::sleep(Duration::from_secs(29)).await;
    client.send("\nPING|a").await;
    assert_eq!(
        client.line().await.as_deref(),
        Some("ERROR|invalid session: it has ended or never was; REGISTER again")
    );
    tokio::time::sleep(Duration::from_secs(29)).await;
    client.send("\n").await;
    assert_eq!(
        client.line().await.as_deref(),
        Some("ERROR|invalid session: it has ended or never was; REGISTER again")
    );
    let begun = Instant::now();
    assert_eq!(client.line().await, None);
    assert!(about(300, begun), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_session_and_without_a_line_is_closed() {
    let mut client = server().await.pair(1024);
    let begun = Instant::now();
    assert_eq!(client.line().await, None);
    assert!(about(300, begun), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_bound_connection_may_be_silent_until_another_takes_its_session() {
    let server = server().await;
    let mut bound = server.pair(1024);
    let id = bound.register("shop-1").await;
    tokio::time::sleep(Duration::from_mins(50)).await;
    bound.expect(&format!("PING|{id}"), "PONG").await;
    let mut other = server.pair(1024);
    other.expect(&format!("RECONNECT|{id}"), "OK").await;
    assert_eq!(bound.line().await, None, "nothing is said that nobody asked for");
    other.expect(&format!("PING|{id}"), "PONG").await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_no_replies_is_cut_off_and_its_session_disconnected() {
    let server = server().await;
    let mut client = server.pair(256);
    let id = client.register("shop-1").await;
    let begun = Instant::now();
    // The replies fill one direction, then the lines fill the other; at last the server closes.
    client.try_send(format!("PING|{id}\n").repeat(200)).await.unwrap_err();
    server.until(|catalog| catalog.session(&id).unwrap().bound.is_none()).await;
    assert!(about(30, begun), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn maintenance_whose_page_never_answers_ends_in_an_error() {
    let server = server().await;
    let mut client = server.pair(1024);
    let id = client.register("shop-1").await;
    client.expect(&format!("MAINT_ENTER|{id}|ALL|http://pages/down"), "ACK").await;
    let timeout = "ERROR|timeout waiting for maintenance page to become reachable";
    assert_eq!(client.line().await.as_deref(), Some(timeout));
    assert!(server.world.asked.lock().unwrap().len() >= 60);
}
