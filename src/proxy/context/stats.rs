//! What a request comes to, for the statistics of the endpoint it was sent to.
//!
//! What must hold: a request is in flight for as long as its account is open, and counted when that is dropped, once at most.

use std::time::{Duration, Instant};

use http::StatusCode;

use crate::clock;
use crate::proxy::request::upstream_request::Failed;
use crate::proxy::response::pages::Refusal;
use crate::proxy::upstream::request_body::RequestBody;
use crate::traffic::{AttemptFailure, InFlight, RequestRecord};

/// What a request has come to so far. It is counted when this is dropped, and no longer in flight.
pub(crate) struct Account {
    lease: InFlight,
    pub(crate) seen: RequestRecord,
    began: Instant,
    pub(crate) body: RequestBody,
}

/// What is counted when the client goes before there is an answer. Never sent; the number is nginx's.
const CLIENT_GONE: u16 = 499;
/// Of what is not counted at all.
const TAKEN_BACK: u16 = 0;

impl Account {
    pub(crate) fn new(lease: InFlight, began: Instant, body: RequestBody) -> Self {
        Self { lease, seen: RequestRecord { status: CLIENT_GONE, ..RequestRecord::default() }, began, body }
    }

    /// The head of the response has come.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.seen.status = status.as_u16();
        self.seen.error = status.is_server_error();
        self.seen.latency = self.elapsed();
    }

    /// No response has come.
    pub(crate) fn give_up(mut self, refusal: Refusal) {
        self.answered(refusal.status());
    }

    /// A try came to nothing. Where only a kept connection had died and the request goes out `again`, it is not counted: nobody is
    /// answered so, and it says nothing of the endpoint. Nor does it where this server had no room for a connection.
    pub(crate) fn try_failed(mut self, failed: &Failed, again: bool) {
        if failed.failure == AttemptFailure::NoRoom || (again && failed.failure != AttemptFailure::Connect) {
            self.seen.status = TAKEN_BACK;
        } else {
            self.give_up(failed.refusal);
        }
    }

    fn elapsed(&self) -> Duration {
        clock::instant().saturating_duration_since(self.began)
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if self.seen.status == TAKEN_BACK {
            return;
        }
        if self.seen.status == CLIENT_GONE {
            self.seen.latency = self.elapsed();
        }
        self.seen.bytes_received += self.body.sending().map_or(0, |sending| sending.bytes());
        self.lease.record(&self.seen);
    }
}
