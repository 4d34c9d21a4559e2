//! The numbers that a request adds to the statistics of its endpoint.

use std::time::{Duration, Instant};

use http::StatusCode;

use crate::clock;
use crate::proxy::context::trace::CLIENT_GONE_STATUS;
use crate::traffic::{AskedRoute, InFlight, MethodLabel, RequestRecord};

/// The statistics of one request so far. The request counts as in flight until they are recorded.
pub(crate) struct RequestStats {
    in_flight: InFlight,
    record: RequestRecord,
    began: Instant,
    has_status: bool,
}

impl RequestStats {
    /// Begins the statistics of a request that arrived at `began`.
    pub(crate) fn new(in_flight: InFlight, method: MethodLabel, began: Instant) -> Self {
        let record = RequestRecord { method, status: CLIENT_GONE_STATUS, ..RequestRecord::default() };
        Self { in_flight, record, began, has_status: false }
    }

    /// Returns the route that the request was sent to.
    pub(crate) fn asked(&self) -> AskedRoute {
        self.in_flight.asked()
    }

    /// Notes the status of the answer, and the time that it took.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.record.status = status.as_u16();
        self.record.error = status.is_server_error();
        self.has_status = true;
        self.stop_clock();
    }

    /// Notes the status that came at the end of the response.
    pub(crate) fn ended_with(&mut self, status: StatusCode) {
        self.record.status = status.as_u16();
        self.record.error |= status.is_server_error();
    }

    /// Notes that the response broke off.
    pub(crate) fn broke_off(&mut self) {
        self.record.error = true;
    }

    /// Counts bytes that were taken from the client and sent to it.
    pub(crate) fn count_bytes(&mut self, received: u64, sent: u64) {
        self.record.bytes_received += received;
        self.record.bytes_sent += sent;
    }

    /// Returns the time from the head of the request to the head of the response.
    pub(crate) fn latency(&self) -> Duration {
        self.record.latency
    }

    /// Adds the request to the statistics of its endpoint. Returns what was added.
    pub(crate) fn record(mut self) -> RequestRecord {
        if !self.has_status {
            self.stop_clock();
        }
        self.in_flight.record(&self.record);
        self.record
    }

    fn stop_clock(&mut self) {
        self.record.latency = clock::instant().saturating_duration_since(self.began);
    }
}
