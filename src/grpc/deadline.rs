//! The deadline layer around every call: it limits the time of the call, and confines a panic to it.
//!
//! The header `grpc-timeout` gives the deadline, which counts from the arrival of the request's head. It ends an
//! unanswered call and an open stream with `DEADLINE_EXCEEDED`. A command that the call has sent to the registry by
//! then may still take effect.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use futures_util::FutureExt;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame};
use tokio::time::{Sleep, sleep};
use tonic::{Code, Status};

use crate::domain::{Error, Kind};

use super::status::of_interface;

/// Answers a call at its deadline at the latest.
pub(super) async fn enforce_deadline(request: Request, next: Next) -> Response {
    let timeout = match timeout(request.headers()) {
        Ok(timeout) => timeout,
        Err(error) => return Status::from(error).into_http(),
    };
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
    let mut deadline = timeout.map(|timeout| Box::pin(sleep(timeout)));
    let answered = match &mut deadline {
        None => answer.await,
        Some(deadline) => tokio::select! {
            biased;
            () = deadline => return exceeded().into_http(),
            answered = answer => answered,
        },
    };
    let Ok(response) = answered else {
        tracing::error!("a gRPC call panicked");
        return Status::from(Error::new(Kind::Internal, "a fault of the server's own")).into_http();
    };
    let response = with_reason(response);
    match deadline {
        None => response,
        Some(deadline) => response.map(|body| Body::new(Timed { body: Some(body), deadline })),
    }
}

fn exceeded() -> Status {
    of_interface(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", "the time that the caller gave has passed")
}

/// Adds the details that every refusal has to a refusal of the library. A message that is too long gets the code of a
/// limit, which differs from the code in gRPC's own list.
fn with_reason(mut response: Response) -> Response {
    let Some(status) = Status::from_header_map(response.headers()).filter(|status| status.details().is_empty()) else {
        return response;
    };
    let restated = match status.code() {
        Code::Ok => return response,
        Code::OutOfRange | Code::ResourceExhausted => {
            of_interface(Code::ResourceExhausted, "LIMITED", status.message())
        }
        Code::Unimplemented if status.message().is_empty() => {
            of_interface(Code::Unimplemented, "UNIMPLEMENTED", "there is no such call here")
        }
        Code::Unimplemented => of_interface(Code::Unimplemented, "UNIMPLEMENTED", status.message()),
        Code::InvalidArgument => of_interface(Code::InvalidArgument, "INVALID", status.message()),
        Code::NotFound => of_interface(Code::NotFound, "NOT_FOUND", status.message()),
        code => of_interface(code, "INTERNAL", status.message()),
    };
    // Ignored: the refusal stays without details.
    let _ = restated.add_header(response.headers_mut());
    response
}

/// Reads `grpc-timeout`: up to eight digits and a unit.
fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Error> {
    let Some(value) = headers.get("grpc-timeout") else { return Ok(None) };
    let parsed = value.to_str().ok().and_then(parse);
    parsed.map(Some).ok_or_else(|| Error::invalid("grpc-timeout", "must be up to 8 digits and one of H, M, S, m, u, n"))
}

fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    // Eight digits of hours do not overflow.
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// The body of a response that ends at the deadline of its call.
struct Timed {
    /// The inner body. Dropped at the deadline, so that a stream ends and does not only become silent.
    body: Option<Body>,
    deadline: Pin<Box<Sleep>>,
}

impl HttpBody for Timed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        // The deadline comes first: a stream that is always ready would never reach it.
        if this.deadline.as_mut().poll(context).is_pending() {
            return Pin::new(body).poll_frame(context);
        }
        this.body = None;
        let mut trailers = HeaderMap::new();
        match exceeded().add_header(&mut trailers) {
            Ok(()) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Err(status) => Poll::Ready(Some(Err(axum::Error::new(status)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::post;
    use futures_util::stream;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    async fn answered(timeout: &str, handler: axum::routing::MethodRouter) -> Response {
        let router = axum::Router::new().route("/x", handler).layer(axum::middleware::from_fn(enforce_deadline));
        let request = http::Request::post("/x").header("grpc-timeout", timeout).body(Body::empty()).unwrap();
        router.oneshot(request).await.unwrap()
    }

    async fn faulty() -> Response {
        panic!("a fault")
    }

    async fn forever() -> Response {
        std::future::pending().await
    }

    /// Answers with a stream that sends a frame every millisecond.
    async fn chatty() -> Response {
        let frames = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Some((Ok::<_, std::io::Error>(Bytes::from_static(b"x")), ()))
        });
        Response::new(Body::from_stream(frames))
    }

    #[tokio::test(start_paused = true)]
    async fn a_fault_ends_its_own_call_and_says_no_more_than_that() {
        let response = answered("1S", post(faulty)).await;
        assert_eq!(response.headers()["grpc-status"], "13");
        assert_eq!(response.headers()["grpc-message"], "a%20fault%20of%20the%20server's%20own");
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_ends_what_is_not_answered_and_what_never_ends() {
        assert_eq!(answered("1H", post(forever)).await.headers()["grpc-status"], "4");
        let mut body = answered("1S", post(chatty)).await.into_body();
        let mut count = 0;
        let last = loop {
            let frame = body.frame().await.unwrap().unwrap();
            match frame.into_trailers() {
                Ok(trailers) => break trailers,
                Err(_) => count += 1,
            }
        };
        assert_eq!((last["grpc-status"].to_str().unwrap(), count > 0), ("4", true));
        assert!(body.frame().await.is_none() && body.is_end_stream());
    }

    #[test]
    fn a_timeout_is_digits_and_a_unit() {
        let millis = |text: &str| parse(text).map(|timeout| timeout.as_millis());
        assert_eq!((millis("1H"), millis("2M"), millis("3S")), (Some(3_600_000), Some(120_000), Some(3000)));
        assert_eq!((millis("4m"), millis("5000u"), millis("6000000n")), (Some(4), Some(5), Some(6)));
        assert!(parse("99999999H").is_some());
        for wrong in ["", "1", "S", "123456789S", "-1S", "+1S", "1.5S", "1s", " 1S", "1ä"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
