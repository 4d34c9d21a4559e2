//! The state of a client connection: its stage, and the time since it last made progress.
//!
//! One sweep per worker looks at the state of every connection; no request sets a timer. The socket
//! (`client_socket`), the requests and the sweep share it.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};

use crate::connection_limits::EvictionRank;
use crate::domain::Span;
use crate::proxy::client::framing::BodyLength;
use crate::proxy::client::framing::FramingError;
use crate::proxy::client::raw_head::RawField;
use crate::proxy::client::raw_head::RawHeads;
use crate::proxy::settings::ProxySettings;
use crate::proxy::ticks::Ticks;

/// A client that ends its side within this time after its request still wants the response.
const HALF_CLOSE_MAX: Duration = Duration::from_millis(250);

/// The most time of a TLS handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// The most time for which a client may go on sending after an early answer.
const LINGER_MAX: Duration = Duration::from_secs(5);

/// The most time for which a connection without a request holds up the end of its worker.
const CLOSING_HEAD_MAX: Duration = Duration::from_secs(1);
/// The most bytes of interim heads that wait for the client.
const INTERIM_BYTES_MAX: usize = 16 * 1024;

/// The stage of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ConnStage {
    /// TLS is being agreed on.
    Handshake,
    /// No byte has come yet.
    Fresh,
    /// The connection is between two requests.
    Idle,
    /// Part of a head has come.
    Head,
    /// A request is at its backend; the route's own timeout applies.
    Busy,
    /// A response is on its way.
    Answering,
    /// Both sides speak another protocol.
    Tunnel,
    /// The answer was sent before the whole request had come; the rest is read and dropped. A connection with streams: its end
    /// was sent.
    Lingering,
    /// A connection with streams carries none. It ends itself when that takes too long.
    IdleStreams,
}

/// The state of a client connection. It is made of atomics because hyper wants an upgradable connection to be `Send`; only
/// one thread ever touches it.
#[derive(Debug)]
pub(crate) struct ConnState {
    stage: AtomicU8,
    since: AtomicU32,
    // The tick at which the task of the connection is woken; 0 for none.
    due: AtomicU32,
    // The ticks for which the response or tunnel may be silent.
    silence_max: AtomicU32,
    // True while the client does not read its response.
    stuck: AtomicBool,
    // True once the client has ended its side and waits for the response.
    half_closed: AtomicBool,
    // The end of the response is the end of the connection; and the response broke off.
    unframed: AtomicBool,
    broken: AtomicBool,
    finishes: AtomicBool,
    lingers: AtomicBool,
    // A part of a response may be on its way to the socket.
    owes: AtomicBool,
    // The status with which hyper has refused a head, until there is an answer; 0 for none.
    wanted_refusal: AtomicU16,
    ticks: Ticks,
    heads: Mutex<RawHeads>,
    // Interim heads that go to the client before its response, and a flag that there are some.
    has_interim: AtomicBool,
    interim: Mutex<Vec<u8>>,
}

impl ConnState {
    pub(crate) fn new(stage: ConnStage, ticks: &Ticks) -> Arc<Self> {
        let (stage, since) = (AtomicU8::new(stage as u8), AtomicU32::new(ticks.now()));
        let [stuck, half_closed, finishes, lingers, has_interim] = [false; 5].map(AtomicBool::new);
        let [unframed, broken, owes] = [false; 3].map(AtomicBool::new);
        let wanted_refusal = AtomicU16::new(0);
        let [due, silence_max] = [0, u32::MAX].map(AtomicU32::new);
        let (ticks, heads, interim) = (ticks.clone(), Mutex::default(), Mutex::default());
        Arc::new(Self {
            stage,
            since,
            due,
            silence_max,
            stuck,
            half_closed,
            unframed,
            broken,
            finishes,
            lingers,
            owes,
            wanted_refusal,
            ticks,
            heads,
            has_interim,
            interim,
        })
    }

    /// Notes that the head of a request was read, and that a body of `length` follows.
    ///
    /// # Errors
    /// [`FramingError`] if the bytes of the body so far break its framing.
    pub(crate) fn request(&self, length: BodyLength) -> Result<(), FramingError> {
        self.enter(ConnStage::Busy);
        self.heads().advance(length)
    }

    /// True if the head of the current request was kept.
    pub(crate) fn keeps_head(&self) -> bool {
        self.heads().keeps_current()
    }

    /// Returns a field of the current request as it came; see [`RawHeads::field`].
    pub(crate) fn field(&self, method: &Method, name: &str) -> Option<RawField> {
        self.heads().field(method, name)
    }

    /// Locks the heads that came on the connection.
    pub(crate) fn heads(&self) -> MutexGuard<'_, RawHeads> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the tick at which the task of the connection is woken.
    pub(crate) fn wake_at(&self, due: Option<u32>) {
        self.due.store(due.unwrap_or(0), Ordering::Relaxed);
    }

    /// Has the task of the connection woken at `due` if not before.
    pub(crate) fn wake_by(&self, due: u32) {
        if self.due().is_none_or(|before| before > due) {
            self.wake_at(Some(due));
        }
    }

    pub(crate) fn due(&self) -> Option<u32> {
        Some(self.due.load(Ordering::Relaxed)).filter(|due| *due > 0)
    }

    /// Keeps the connection open after its end was sent: the client may still be sending, and a close now could destroy the answer.
    pub(crate) fn linger(&self) {
        self.lingers.store(true, Ordering::Relaxed);
    }

    pub(crate) fn lingers(&self) -> bool {
        self.lingers.load(Ordering::Relaxed)
    }

    /// Ends the connection after its current request.
    pub(crate) fn finish(&self) {
        self.finishes.store(true, Ordering::Relaxed);
    }

    pub(crate) fn finishes(&self) -> bool {
        self.finishes.load(Ordering::Relaxed)
    }

    /// Returns true if the connection ends now, or after its current request. A new connection first gets the answer to a
    /// request that may be on its way: hyper would close it at once.
    pub(crate) fn must_end(&self) -> bool {
        self.finishes() && !self.is(ConnStage::Fresh)
    }

    /// Notes that the response was sent; the next head may come.
    pub(crate) fn answered(&self) {
        self.enter(ConnStage::Idle);
    }

    pub(crate) fn enter(&self, stage: ConnStage) {
        if matches!(stage, ConnStage::Answering | ConnStage::Idle) {
            self.owes.store(true, Ordering::Relaxed);
        }
        self.stage.store(stage as u8, Ordering::Relaxed);
        self.progress();
    }

    pub(crate) fn progress(&self) {
        self.since.store(self.ticks.now(), Ordering::Relaxed);
    }

    /// Passes interim heads to the client before its response. Those that it does not take in time are dropped.
    pub(crate) fn pass_interim(&self, heads: &[u8]) {
        let mut waiting = self.interim.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.has_interim.swap(true, Ordering::Relaxed) {
            waiting.clear();
        }
        if waiting.len() + heads.len() <= INTERIM_BYTES_MAX {
            waiting.extend(heads);
        }
    }

    /// Returns the interim heads to send now. Those that come after the response has begun are dropped.
    pub(crate) fn take_interim(&self) -> Option<Vec<u8>> {
        if !self.has_interim.load(Ordering::Relaxed) {
            return None;
        }
        self.has_interim.store(false, Ordering::Relaxed);
        let heads = std::mem::take(&mut *self.interim.lock().unwrap_or_else(PoisonError::into_inner));
        self.is(ConnStage::Busy).then_some(heads)
    }

    /// Notes that all was written.
    pub(crate) fn flushed(&self) {
        self.owes.store(false, Ordering::Relaxed);
    }

    /// True if bytes that are written now can only be hyper's own answer to a head that it refuses.
    pub(crate) fn refuses_head(&self) -> bool {
        self.expects_head() && !self.owes.load(Ordering::Relaxed)
    }

    /// Asks the task of the connection for a refusal with this status, which takes the place of what hyper would answer.
    pub(crate) fn ask_for_refusal(&self, status: StatusCode) {
        self.wanted_refusal.store(status.as_u16(), Ordering::Relaxed);
    }

    /// Returns the status of the refusal that is asked for.
    pub(crate) fn wanted_refusal(&self) -> Option<StatusCode> {
        let status = self.wanted_refusal.load(Ordering::Relaxed);
        if status == 0 { None } else { StatusCode::from_u16(status).ok() }
    }

    /// Passes the answer that was asked for.
    pub(crate) fn pass_refusal(&self, answer: Vec<u8>) {
        self.wanted_refusal.store(0, Ordering::Relaxed);
        // It takes the place of interim heads that were not sent yet.
        self.has_interim.store(false, Ordering::Relaxed);
        *self.interim.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }

    /// Returns the answer that was asked for, once.
    pub(crate) fn take_refusal(&self) -> Option<Vec<u8>> {
        let answer = std::mem::take(&mut *self.interim.lock().unwrap_or_else(PoisonError::into_inner));
        Some(answer).filter(|answer| !answer.is_empty())
    }

    /// Sets the time for which the response or tunnel may be silent; `None` for no limit.
    pub(crate) fn may_be_silent_for(&self, span: Option<Span>) {
        self.silence_max.store(span.map_or(u32::MAX, Ticks::of), Ordering::Relaxed);
    }

    /// Notes that the client has ended its side. Returns true if its request is answered all the same: a client that ends its side right
    /// after the request waits for the response; one that does it later has given up.
    pub(crate) fn half_closes(&self) -> bool {
        let is_under_way = self.is(ConnStage::Busy) || self.is(ConnStage::Answering);
        let still = self.ticks.now().saturating_sub(self.since.load(Ordering::Relaxed));
        let is_waiting = is_under_way
            && (self.half_closed.load(Ordering::Relaxed)
                || (still <= Ticks::steps(HALF_CLOSE_MAX) && self.heads().is_whole()));
        // hyper reads ahead of the head that it reports.
        if !is_waiting && !self.heads().has_next() {
            return false;
        }
        self.half_closed.store(true, Ordering::Relaxed);
        // No further request follows.
        self.finish();
        true
    }

    /// Notes that the response has no length: the connection ends with it.
    pub(crate) fn ends_with_answer(&self) {
        self.unframed.store(true, Ordering::Relaxed);
    }

    /// Notes that the response broke off.
    pub(crate) fn break_off(&self) {
        self.broken.store(self.unframed.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// True if an orderly end of the connection would make a broken response look whole.
    pub(crate) fn must_reset(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Notes that the client reads its response, or does not.
    pub(crate) fn set_stuck(&self, stuck: bool) {
        self.stuck.store(stuck, Ordering::Relaxed);
    }

    /// Returns the tick of the last progress.
    pub(crate) fn last_progress(&self) -> u32 {
        self.since.load(Ordering::Relaxed)
    }

    /// Returns the ticks for which the response or tunnel may be silent.
    pub(crate) fn silence_max(&self) -> u32 {
        self.silence_max.load(Ordering::Relaxed)
    }

    /// True while the client does not read what it is sent.
    pub(crate) fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::Relaxed)
    }

    /// True while the next bytes begin a request.
    pub(crate) fn awaits_request(&self) -> bool {
        (self.is(ConnStage::Idle) || self.is(ConnStage::Fresh)) && !self.lingers() && self.heads().is_between()
    }

    fn is(&self, stage: ConnStage) -> bool {
        self.stage.load(Ordering::Relaxed) == stage as u8
    }

    /// True if the next bytes belong to a head.
    pub(crate) fn expects_head(&self) -> bool {
        self.is(ConnStage::Idle) || self.is(ConnStage::Fresh) || self.is(ConnStage::Head)
    }

    /// True while a response is on its way.
    pub(crate) fn answers(&self) -> bool {
        self.is(ConnStage::Answering)
    }

    /// Notes that bytes came from the client.
    pub(crate) fn on_read(&self) {
        if self.is(ConnStage::Lingering) {
            return;
        }
        if self.is(ConnStage::Idle) || self.is(ConnStage::Fresh) {
            self.enter(ConnStage::Head);
        } else if !self.is(ConnStage::Head) {
            // The limit is on the whole head, however slowly it comes.
            self.progress();
        }
    }

    /// True if nothing of a request has come since the last response.
    pub(crate) fn is_idle(&self) -> bool {
        self.is(ConnStage::Idle) || self.is(ConnStage::IdleStreams)
    }

    /// Returns the order in which the connection makes way for others; `None` while it is in use.
    pub(crate) fn rank(&self) -> Option<EvictionRank> {
        let since = self.since.load(Ordering::Relaxed);
        if self.is_idle() {
            return Some(EvictionRank::Idle(since));
        }
        let is_unfinished = self.is(ConnStage::Handshake) || self.is(ConnStage::Fresh) || self.is(ConnStage::Head);
        is_unfinished.then_some(EvictionRank::Unfinished(since))
    }

    /// True if the connection has stood still for too long.
    pub(crate) fn is_overdue(&self, settings: &ProxySettings) -> bool {
        let limit = match self.stage.load(Ordering::Relaxed) {
            stage if stage == ConnStage::Handshake as u8 => {
                Ticks::steps(if self.finishes() { CLOSING_HEAD_MAX } else { HANDSHAKE_MAX })
            }
            stage if stage == ConnStage::Fresh as u8 || stage == ConnStage::Head as u8 => {
                Ticks::steps(if self.finishes() { CLOSING_HEAD_MAX } else { settings.header_timeout })
            }
            stage if stage == ConnStage::Idle as u8 => Ticks::steps(settings.keep_alive),
            // A client that ended its side may be gone; only a write would show it.
            stage
                if stage == ConnStage::Answering as u8
                    && (self.stuck.load(Ordering::Relaxed) || self.half_closed.load(Ordering::Relaxed)) =>
            {
                Ticks::steps(settings.body_idle)
            }
            stage if stage == ConnStage::Answering as u8 || stage == ConnStage::Tunnel as u8 => self.silence_max(),
            stage if stage == ConnStage::Lingering as u8 => Ticks::steps(LINGER_MAX),
            stage if stage == ConnStage::IdleStreams as u8 => Ticks::steps(settings.keep_alive + LINGER_MAX),
            _ => return false,
        };
        let still = self.ticks.now().saturating_sub(self.since.load(Ordering::Relaxed));
        still > limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_makes_way_for_others_and_ends_after_ten_seconds() {
        let (ticks, settings) = (Ticks::default(), ProxySettings::new("127.0.0.1:0".parse().unwrap()));
        let state = ConnState::new(ConnStage::Handshake, &ticks);
        assert_eq!(state.rank(), Some(EvictionRank::Unfinished(0)));
        ticks.set(HANDSHAKE_MAX);
        assert!(!state.is_overdue(&settings));
        ticks.set(HANDSHAKE_MAX + Ticks::STEP);
        assert!(state.is_overdue(&settings));
        // Then the time of the head begins.
        state.enter(ConnStage::Fresh);
        assert!(!state.is_overdue(&settings));
    }
}
