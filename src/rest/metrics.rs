//! `GET /metrics`: the metrics of the server as text, for operators and for Prometheus.
//!
//! Invariants: one text is made and held at a time, however many scrapers ask; a text is held until its reader has it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::State;
use axum::http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use http_body::{Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::metrics_source::MetricsSource;
use super::operator::Operator;
use super::problem::Problem;
use super::state::RestState;
use crate::metrics::{AcceptedText, ScrapeText};

/// The maximum time that a scrape waits for the text of another one to be read.
const TURN_WAIT: Duration = Duration::from_secs(5);
/// The number of bytes that the connection takes at once.
const PIECE_BYTES: usize = 64 * 1024;

/// Returns the call with its description.
pub(super) fn calls() -> OpenApiRouter<RestState> {
    OpenApiRouter::new().routes(routes!(get))
}

/// Shows the metrics, for Prometheus
///
/// OpenMetrics 1.0 if `Accept` names it, else the text format 0.0.4; compressed with gzip if `Accept-Encoding` names
/// that. One text is made at a time: a scrape waits up to 5 s for another one.
#[utoipa::path(get, path = "/metrics", operation_id = "getMetrics", tag = "operators", security(("operator" = [])),
    responses(
        (status = 200, description = "The metrics.", content(
            (String = "text/plain"),
            (String = "application/openmetrics-text"),
        )),
        (status = 503, description = "Another scrape has not read its text yet, or the text is too long."),
    ))]
async fn get(State(state): State<RestState>, _: Operator, fields: HeaderMap) -> Result<Response, Problem> {
    let Some(source) = &state.settings.metrics else { return Err(Problem::no_such_path()) };
    let accepted = AcceptedText::of(&list(&fields, &ACCEPT), &list(&fields, &ACCEPT_ENCODING));
    let turn = turn(source).await?;
    let text = state.registry.run_long_read(|| (source.write)(accepted)).await;
    let text = text.map_err(|too_long| Problem::unavailable(too_long.to_string()))?;
    Ok(response(text, turn))
}

/// Waits until no other text is being made or read.
async fn turn(source: &MetricsSource) -> Result<OwnedSemaphorePermit, Problem> {
    match timeout(TURN_WAIT, Arc::clone(&source.turns).acquire_owned()).await {
        Ok(Ok(turn)) => Ok(turn),
        // The semaphore is never closed, so that only the time can be over.
        Ok(Err(_)) | Err(_) => Err(Problem::unavailable("another scrape is not done with its text; scrape less often")),
    }
}

fn response(text: ScrapeText, turn: OwnedSemaphorePermit) -> Response {
    let body = HeldBody { bytes: text.bytes.into(), _turn: turn };
    let mut response = Response::new(Body::new(body));
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static(text.content_type));
    fields.insert(VARY, HeaderValue::from_static("accept, accept-encoding"));
    if text.gzip {
        fields.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// Returns the values of a field as one list (RFC 9110 §5.3).
fn list(fields: &HeaderMap, name: &HeaderName) -> String {
    let values: Vec<&str> = fields.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    values.join(",")
}

/// A body that gives the turn back once it was read or dropped.
struct HeldBody {
    bytes: Bytes,
    _turn: OwnedSemaphorePermit,
}

impl HttpBody for HeldBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let length = self.bytes.len().min(PIECE_BYTES);
        let piece = self.bytes.split_to(length);
        Poll::Ready((length > 0).then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;

    use super::*;
    use crate::metrics::TextFormat;

    const PLAIN: AcceptedText = AcceptedText { format: TextFormat::Prometheus, gzip: false };

    fn source() -> MetricsSource {
        let text = |AcceptedText { format, gzip }| ScrapeText {
            content_type: format.content_type(),
            gzip,
            bytes: vec![b'a'; 3 * PIECE_BYTES],
        };
        MetricsSource::new(move |accepted| Ok(text(accepted)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_scrape_waits_for_the_text_of_another_one_and_then_hears_no() {
        let source = source();
        let held = turn(&source).await.unwrap();
        let answer = response((source.write)(PLAIN).unwrap(), held);
        let refused = turn(&source).await.unwrap_err().into_response();
        assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].to_str().unwrap()), (503, "5"));
        let read = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        assert_eq!(read.len(), 3 * PIECE_BYTES);
        assert!(turn(&source).await.is_ok(), "the text was read");
        drop(response((source.write)(PLAIN).unwrap(), turn(&source).await.unwrap()));
        assert!(turn(&source).await.is_ok(), "its reader has gone");
    }
}
