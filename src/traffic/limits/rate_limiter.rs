//! A rate limit: `requests` per `window` for each client, and the response fields about it.
//!
//! It uses the generic cell rate algorithm (ITU-T I.371): a client may spend its whole budget at once and gets it back
//! evenly. For each client it keeps one moment: when the budget is full again. A client with a full budget takes no memory.
//! One limiter serves one route, or all routes of a session (`ALL`), and all workers share it. It does not outlive a
//! restart.
//!
//! Invariants: it is exact over all workers; it takes at most [`RateLimiter::BYTES_MAX`], whatever addresses come; an
//! exhausted client is never forgotten in favour of another one; no client is refused because the memory is full.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use http::HeaderValue;

use crate::domain::{RateLimit, Span};

use super::rate_table::{DEBT_BITS, RateTable};
use crate::traffic::hash::{client_number, fold, mix};

/// A rate limiter, shared by all workers and by all applies that leave its settings as they are. It takes a hundred bytes
/// until the first request.
#[derive(Debug)]
pub struct RateLimiter {
    settings: RateLimit,
    /// Moments are counted in ticks of `1 << tick_bits` nanoseconds. The longest window has some hundred million ticks.
    tick_bits: u32,
    /// The ticks in which the budget for one request comes back. Rounded down, so that a client that waits for `Retry-After`
    /// gets through.
    interval: u64,
    /// The ticks in which the whole budget comes back.
    whole: u64,
    seed: [u64; 2],
    policy: HeaderValue,
    shards: OnceLock<Box<[RateShard; SHARDS]>>,
}

const SHARDS: usize = 16;

/// A part of the clients. Aligned to cache lines of its own; two workers seldom need the same one.
#[derive(Debug, Default)]
#[repr(align(128))]
struct RateShard(Mutex<RateTable>);

/// The decision on one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateDecision {
    /// True if the request may go on; otherwise the answer is 429.
    pub allowed: bool,
    /// The budget that is left after this request, in requests.
    pub remaining: u32,
    /// Seconds until one more request is allowed, rounded up and at least 1. The value of `Retry-After` in a 429.
    pub next_secs: u32,
}

impl RateLimiter {
    /// The most memory that one limiter takes, in bytes. With a million clients that owe alike, one in some thousands finds
    /// its page full; with two million, one in forty.
    pub const BYTES_MAX: usize = 34 << 20;

    /// Makes a limiter that knows no client yet. `seed` is 128 random bits that clients do not know; with them a client
    /// could push others out of the table.
    pub fn new(settings: RateLimit, seed: [u64; 2]) -> Self {
        let window = settings.window.millis().saturating_mul(1_000_000);
        let requests = u64::from(settings.requests.max(1));
        let tick_bits = (u64::BITS - window.leading_zeros()).saturating_sub(DEBT_BITS);
        let interval = ((window >> tick_bits) / requests).max(1);
        let policy = policy(settings);
        Self { settings, tick_bits, interval, whole: interval * requests, seed, policy, shards: OnceLock::new() }
    }

    /// Returns the old limiter if its settings are the same, otherwise a new one in which every budget is full.
    pub fn reconfigure(old: Option<&Arc<Self>>, settings: RateLimit, seed: [u64; 2]) -> Arc<Self> {
        match old {
            Some(old) if old.settings == settings => Arc::clone(old),
            _ => Arc::new(Self::new(settings, seed)),
        }
    }

    /// Returns the settings.
    pub const fn settings(&self) -> RateLimit {
        self.settings
    }

    /// Decides on one request, and takes it from the client's budget if it may go on.
    ///
    /// `now_micros` is in microseconds since the Unix epoch. Calls of several workers may come out of order.
    pub fn check(&self, client: IpAddr, now_micros: u64) -> RateDecision {
        let now = now_micros.saturating_mul(1_000) >> self.tick_bits;
        let key = fold(mix(client_number(client) ^ self.seed[0]), self.seed[1] | 1);
        let budget = self.whole - self.interval;
        // The result if the table does not call the step: nothing is held against the client.
        let (mut allowed, mut owed) = (true, self.interval);
        let mut table = self.shard(key).0.lock().unwrap_or_else(PoisonError::into_inner);
        table.update(key, now, budget, |now, until| {
            let owes = until.saturating_sub(now);
            allowed = owes <= budget;
            owed = if allowed { owes + self.interval } else { owes };
            allowed.then_some(now + owed)
        });
        drop(table);
        self.verdict(allowed, owed)
    }

    /// Returns the `RateLimit-Policy` field, the same for every request (draft-ietf-httpapi-ratelimit-headers-10 §3):
    /// `"default";q=100;w=60`. `w` is left out if the window is no whole number of seconds.
    pub const fn policy(&self) -> &HeaderValue {
        &self.policy
    }

    /// Returns the memory that the clients take now, in bytes.
    pub fn bytes(&self) -> usize {
        let shards = self.shards.get().map_or(&[][..], |shards| shards.as_slice());
        let tables = shards.iter().map(|shard| shard.0.lock().unwrap_or_else(PoisonError::into_inner).bytes());
        size_of_val(shards) + tables.sum::<usize>()
    }

    #[expect(clippy::cast_possible_truncation, reason = "only the last bits count; a remainder by SHARDS is below it")]
    fn shard(&self, key: u64) -> &RateShard {
        let shards = self.shards.get_or_init(Box::default);
        // The low bits choose the shard because the high bits choose the page in the table.
        &shards[key as usize % SHARDS]
    }

    fn verdict(&self, allowed: bool, owes: u64) -> RateDecision {
        let left = self.whole.saturating_sub(owes);
        // If refused, the debt must fall until one request fits; otherwise, until one more request fits than now.
        let wait = (self.interval - left % self.interval) << self.tick_bits;
        RateDecision {
            allowed,
            remaining: u32::try_from(left / self.interval).unwrap_or(u32::MAX),
            next_secs: u32::try_from(wait.div_ceil(1_000_000_000)).unwrap_or(u32::MAX).max(1),
        }
    }
}

/// Returns the limit that allows a client less in the long run; if both allow the same, the one with the smaller budget. The
/// strictest member limits a pool (protocol §6).
pub fn stricter(one: RateLimit, other: RateLimit) -> RateLimit {
    let per_window = |of: RateLimit, window: Span| u64::from(of.requests).saturating_mul(window.millis());
    let order = per_window(one, other.window).cmp(&per_window(other, one.window));
    if order.then(one.requests.cmp(&other.requests)).is_le() { one } else { other }
}

fn policy(settings: RateLimit) -> HeaderValue {
    let mut field = FieldWriter::new(b"\"default\";q=");
    field.number(settings.requests);
    let millis = settings.window.millis();
    if let (0, Ok(secs)) = (millis % 1000, u32::try_from(millis / 1000)) {
        field.text(b";w=");
        field.number(secs);
    }
    field.value()
}

impl RateDecision {
    /// Returns the `RateLimit` field (draft-ietf-httpapi-ratelimit-headers-10 §4): `"default";r=99;t=1`. `t` is the number
    /// of seconds until more budget is available.
    pub fn rate_limit(&self) -> HeaderValue {
        let mut field = FieldWriter::new(b"\"default\";r=");
        field.number(self.remaining);
        field.text(b";t=");
        field.number(self.next_secs);
        field.value()
    }

    /// Returns the `Retry-After` field (RFC 9110 §10.2.3) of the 429; `None` if the request may go on.
    pub fn retry_after(&self) -> Option<HeaderValue> {
        (!self.allowed).then(|| HeaderValue::from(self.next_secs))
    }
}

/// Writes the value of a field without allocation. Every response of a limited route has such fields.
struct FieldWriter {
    bytes: [u8; 48],
    len: usize,
}

impl FieldWriter {
    fn new(start: &[u8]) -> Self {
        let mut field = Self { bytes: [0; 48], len: 0 };
        field.text(start);
        field
    }

    /// Text that does not fit is left out; the longest value has 12 + 10 + 3 + 10 bytes.
    fn text(&mut self, text: &[u8]) {
        if let Some(room) = self.bytes.get_mut(self.len..self.len + text.len()) {
            room.copy_from_slice(text);
            self.len += text.len();
        }
    }

    fn number(&mut self, mut number: u32) {
        let mut digits = [b'0'; 10];
        let mut first = digits.len() - 1;
        for (at, digit) in digits.iter_mut().enumerate().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
            first = at;
            if number == 0 {
                break;
            }
        }
        self.text(digits.get(first..).unwrap_or_default());
    }

    fn value(&self) -> HeaderValue {
        let text = self.bytes.get(..self.len).unwrap_or_default();
        // Digits, letters and quotes always make a valid value.
        HeaderValue::from_bytes(text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

#[cfg(test)]
mod tests;
