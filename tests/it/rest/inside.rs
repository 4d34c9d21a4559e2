//! Tests that control the other end of a stream: the interface in this process, its answers taken piece by piece.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use futures_util::StreamExt;
use signalbox::domain::{Catalog, Change};
use signalbox::lifecycle::Lifecycle;
use signalbox::operator_auth::OperatorAuth;
use signalbox::registry::{
    self, AuditBatch, Publish, RegistrationTokens, RegistryLimits, Store, StoreError, StoredState, Traffic,
};
use signalbox::rest::{self, RestSettings};
use tower::ServiceExt;

struct Nowhere;

impl Store for Nowhere {
    async fn load(&mut self) -> Result<StoredState, StoreError> {
        Ok(StoredState::default())
    }

    async fn commit(&mut self, _: &[Change], _: &AuditBatch, _: u64) -> Result<(), StoreError> {
        Ok(())
    }

    async fn close(self) {}
}

impl Publish for Nowhere {
    fn publish(&mut self, _: &Arc<Catalog>, _: &[Change]) {}
}

impl Traffic for Nowhere {}

async fn interface(keep_alive: Duration) -> Router {
    let lifecycle = Lifecycle::new();
    let (registry, writer) =
        registry::open(Nowhere, Nowhere, Arc::new(Nowhere), RegistryLimits::default(), RegistrationTokens::default())
            .await
            .unwrap();
    lifecycle.spawn("writer", writer.run(lifecycle.stopping().clone()));
    let settings = RestSettings { keep_alive, ..RestSettings::new(|| 7) };
    rest::router(registry, Arc::new(OperatorAuth::default()), lifecycle, settings)
}

async fn ask(interface: &Router, method: &str, target: &str, session: &str, body: &str) -> axum::response::Response {
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header("authorization", format!("Bearer {session}"))
        .header("content-type", "application/json")
        .body(Body::from(body.to_owned()));
    interface.clone().oneshot(request.unwrap()).await.unwrap()
}

async fn register(interface: &Router) -> String {
    let who = r#"{"service_name":"shop","instance_name":"shop-1"}"#;
    let answer = ask(interface, "POST", "/v1/sessions", "", who).await;
    let body = axum::body::to_bytes(answer.into_body(), 4096).await.unwrap();
    serde_json::from_slice::<serde_json::Value>(&body).unwrap()["session_id"].as_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_is_kept_alive_by_comments() {
    let interface = interface(Duration::from_secs(15)).await;
    let session = register(&interface).await;
    let mut stream = ask(&interface, "GET", "/v1/session/events", &session, "").await.into_body().into_data_stream();
    assert!(stream.next().await.unwrap().unwrap().starts_with(b": signalbox"));
    for _ in 0..3 {
        let block = stream.next().await.unwrap().unwrap();
        assert!(block.starts_with(b":") && block.ends_with(b"\n\n"), "{block:?}");
    }
}

#[tokio::test]
async fn a_stream_that_is_not_read_is_told_how_much_it_lost() {
    let interface = interface(Duration::from_hours(1)).await;
    let session = register(&interface).await;
    let mut stream = ask(&interface, "GET", "/v1/session/events", &session, "").await.into_body().into_data_stream();
    assert!(stream.next().await.unwrap().unwrap().starts_with(b": signalbox"));
    let applies = 1000;
    for number in 1..=applies {
        let limit = format!("{{\"requests\":{number},\"window\":\"1m\"}}");
        assert_eq!(ask(&interface, "PUT", "/v1/session/rate-limits/ALL", &session, &limit).await.status(), 204);
        assert_eq!(ask(&interface, "POST", "/v1/session/config/apply", &session, "").await.status(), 200);
    }
    let (mut told, mut missed) = (0, 0);
    while told + missed < applies {
        let block = stream.next().await.unwrap().unwrap();
        let text = std::str::from_utf8(&block).unwrap();
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
        let data: serde_json::Value = serde_json::from_str(&field("data: ")).unwrap();
        match field("event: ").as_str() {
            "config_applied" => told += 1,
            "lagged" => {
                assert_eq!(field("id: "), "", "what is lost has no place to resume from");
                missed += data["missed"].as_u64().unwrap();
            }
            other => panic!("{other}"),
        }
    }
    assert!(told > 0 && missed > 0 && told + missed == applies, "{told} told, {missed} missed");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_in_time_is_refused() {
    let interface = interface(Duration::from_secs(15)).await;
    let never = futures_util::stream::pending::<Result<axum::body::Bytes, std::io::Error>>();
    let request = Request::post("/v1/sessions").header("content-type", "application/json");
    let answer = interface.oneshot(request.body(Body::from_stream(never)).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 408);
    let body = axum::body::to_bytes(answer.into_body(), 4096).await.unwrap();
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&problem["kind"], &problem["status"]), (&"timed_out".into(), &408.into()));
}

#[tokio::test]
async fn a_large_session_has_a_few_answers_under_way_at_once() {
    let interface = interface(Duration::from_secs(15)).await;
    let session = register(&interface).await;
    let route = |number| format!(r#"{{"domains":["h{number}.example"],"path":"/","backend_url":"http://b"}}"#);
    let bulk = |routes: std::ops::Range<u32>| format!("[{}]", routes.map(route).collect::<Vec<_>>().join(","));
    let list = async || ask(&interface, "GET", "/v1/session/routes", &session, "").await;
    assert_eq!(ask(&interface, "POST", "/v1/session/routes/bulk", &session, &bulk(0..1000)).await.status(), 201);
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(list().await);
    }
    assert!(held.iter().all(|answer| answer.status() == 200), "a small session is not counted");
    held.clear();
    assert_eq!(ask(&interface, "POST", "/v1/session/routes/bulk", &session, &bulk(1000..2000)).await.status(), 201);
    for path in ["/v1/session/routes", "/v1/session/config", "/v1/session/config/diff", "/v1/session/stats"] {
        held.push(ask(&interface, "GET", path, &session, "").await);
    }
    assert!(held.iter().all(|answer| answer.status() == 200));
    assert_eq!(list().await.status(), 429);
    held.pop();
    assert_eq!(list().await.status(), 200, "one has been read");
}
