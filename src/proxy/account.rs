//! What a request comes to, for the statistics of the endpoint it was sent to.
//!
//! What must hold: a request is in flight for as long as its account is open, and counted when that is dropped, once at most.

use std::time::{Duration, Instant};

use http::StatusCode;

use super::errand::Failed;
use super::pages::Refusal;
use super::upload::RequestBody;
use crate::clock;
use crate::traffic::{AttemptFailure, InFlight, RequestRecord};

/// What a request has come to so far. It is counted when this is dropped, and no longer in flight.
pub(super) struct Account {
    lease: InFlight,
    pub(super) seen: RequestRecord,
    began: Instant,
    pub(super) body: RequestBody,
}

/// What is counted when the client goes before there is an answer. Never sent; the number is nginx's.
const CLIENT_GONE: u16 = 499;
/// Of what is not counted at all.
const TAKEN_BACK: u16 = 0;

impl Account {
    pub(super) fn new(lease: InFlight, began: Instant, body: RequestBody) -> Self {
        Self { lease, seen: RequestRecord { status: CLIENT_GONE, ..RequestRecord::default() }, began, body }
    }

    /// The head of the response has come.
    pub(super) fn answered(&mut self, status: StatusCode) {
        self.seen.status = status.as_u16();
        self.seen.error = status.is_server_error();
        self.seen.latency = self.elapsed();
    }

    /// No response has come.
    pub(super) fn give_up(mut self, refusal: Refusal) {
        self.answered(refusal.status());
    }

    /// A try came to nothing. Where only a kept connection had died and the request goes out `again`, it is not counted: nobody is
    /// answered so, and it says nothing of the endpoint. Nor does it where this server had no room for a connection.
    pub(super) fn try_failed(mut self, failed: &Failed, again: bool) {
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
