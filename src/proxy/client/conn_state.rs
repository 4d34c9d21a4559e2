//! What a client's connection is doing, and since when.
//!
//! One coarse sweep per worker looks at every connection's state; no request sets a timer. Shared by the
//! socket ([`crate::proxy::client::client_io`]), the requests on it and the sweep.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderMap, Method};

use crate::connection_limits::EvictionRank;
use crate::domain::Span;
use crate::proxy::client::framing::BodyLength;
use crate::proxy::client::framing::FramingError;
use crate::proxy::client::raw_head::RawField;
use crate::proxy::client::raw_head::RawHeads;
use crate::proxy::settings::ProxySettings;
use crate::proxy::ticks::Ticks;

/// A client that ends its side so soon behind its request still wants the answer.
const HALF_CLOSE_MAX: Duration = Duration::from_millis(250);

/// The time that a client that was answered early may go on sending.
const LINGER_MAX: Duration = Duration::from_secs(5);

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ConnStage {
    /// Nothing came yet.
    Fresh,
    /// Between requests.
    Idle,
    /// Part of a head came.
    Head,
    /// A request is with its backend, under the route's own timeout.
    Busy,
    /// A response is on its way.
    Answering,
    /// Both sides speak another protocol.
    Tunnel,
    /// The answer went out before the request had come in; the rest is read and dropped.
    Lingering,
}

/// A connection's stage, and the tick of its last progress. Atomics because hyper wants an upgradable connection
/// to be `Send`; only one thread ever touches them.
#[derive(Debug)]
pub(crate) struct ConnState {
    stage: AtomicU8,
    since: AtomicU32,
    // The tick at which its task wants to be woken; 0 for none.
    due: AtomicU32,
    // Steps for which the answer or the tunnel under way may be silent.
    silence_max: AtomicU32,
    // The client takes no more of its answer for now.
    stuck: AtomicBool,
    // The client has said all it will say, and waits for its answer.
    half_closed: AtomicBool,
    // The end of the connection is the end of the answer under way, and whether that broke off.
    unframed: AtomicBool,
    broken: AtomicBool,
    finishes: AtomicBool,
    lingers: AtomicBool,
    ticks: Ticks,
    heads: Mutex<RawHeads>,
    // Interim heads that the client is to get before its answer, and whether there are any.
    has_interim: AtomicBool,
    interim: Mutex<Vec<u8>>,
}

impl ConnState {
    pub(crate) fn new(stage: ConnStage, ticks: &Ticks) -> Arc<Self> {
        let (stage, since) = (AtomicU8::new(stage as u8), AtomicU32::new(ticks.now()));
        let [stuck, half_closed, finishes, lingers, has_interim] = [false; 5].map(AtomicBool::new);
        let [unframed, broken] = [false; 2].map(AtomicBool::new);
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
            ticks,
            heads,
            has_interim,
            interim,
        })
    }

    /// A request's head has been read, and a body of `length` follows.
    ///
    /// # Errors
    /// [`FramingError`] when what came of the body breaks its framing.
    pub(crate) fn request(&self, length: BodyLength) -> Result<(), FramingError> {
        self.enter(ConnStage::Busy);
        self.heads().advance(length)
    }

    /// True if the head of the request under way was kept as it came.
    pub(crate) fn keeps_head(&self) -> bool {
        self.heads().keeps_current()
    }

    /// A field of the request under way, as it came; see [`RawHeads::field`].
    pub(crate) fn field(&self, method: &Method, name: &str) -> Option<RawField> {
        self.heads().field(method, name)
    }

    /// The fields of the request under way, read again.
    pub(crate) fn fields(&self, method: &Method) -> Option<HeaderMap> {
        self.heads().fields(method)
    }

    /// The heads that came on the connection.
    pub(crate) fn heads(&self) -> MutexGuard<'_, RawHeads> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its task wants to be woken at the tick `due`.
    pub(crate) fn wake_at(&self, due: Option<u32>) {
        self.due.store(due.unwrap_or(0), Ordering::Relaxed);
    }

    pub(crate) fn due(&self) -> Option<u32> {
        Some(self.due.load(Ordering::Relaxed)).filter(|due| *due > 0)
    }

    /// The client may still be sending what nobody reads: closing now could take the answer from it.
    pub(crate) fn linger(&self) {
        self.lingers.store(true, Ordering::Relaxed);
    }

    pub(crate) fn lingers(&self) -> bool {
        self.lingers.load(Ordering::Relaxed)
    }

    /// It is to end after what it is doing.
    pub(crate) fn finish(&self) {
        self.finishes.store(true, Ordering::Relaxed);
    }

    pub(crate) fn finishes(&self) -> bool {
        self.finishes.load(Ordering::Relaxed)
    }

    /// The answer is with the client; the next head may come.
    pub(crate) fn answered(&self) {
        self.enter(ConnStage::Idle);
    }

    pub(crate) fn enter(&self, stage: ConnStage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
        self.progress();
    }

    pub(crate) fn progress(&self) {
        self.since.store(self.ticks.now(), Ordering::Relaxed);
    }

    /// The client is to get `heads` before its answer.
    pub(crate) fn pass_interim(&self, heads: Vec<u8>) {
        *self.interim.lock().unwrap_or_else(PoisonError::into_inner) = heads;
        self.has_interim.store(true, Ordering::Relaxed);
    }

    /// What the client is to get now, while its answer has not begun. What comes too late for that is dropped.
    pub(crate) fn take_interim(&self) -> Option<Vec<u8>> {
        if !self.has_interim.load(Ordering::Relaxed) {
            return None;
        }
        self.has_interim.store(false, Ordering::Relaxed);
        let heads = std::mem::take(&mut *self.interim.lock().unwrap_or_else(PoisonError::into_inner));
        self.is(ConnStage::Busy).then_some(heads)
    }

    /// What is under way may be silent for so long; `None` for ever.
    pub(crate) fn may_be_silent_for(&self, span: Option<Span>) {
        self.silence_max.store(span.map_or(u32::MAX, Ticks::of), Ordering::Relaxed);
    }

    /// The client has ended its side. Says whether its request is answered all the same: one that goes right behind its request waits
    /// for the answer, one that goes later has given up.
    pub(crate) fn half_closes(&self) -> bool {
        let is_under_way = self.is(ConnStage::Busy) || self.is(ConnStage::Answering);
        let still = self.ticks.now().saturating_sub(self.since.load(Ordering::Relaxed));
        let is_waiting = is_under_way
            && (self.half_closed.load(Ordering::Relaxed)
                || (still <= Ticks::steps(HALF_CLOSE_MAX) && self.heads().is_whole()));
        // hyper reads on behind a head before anybody is told of it.
        if !is_waiting && !self.heads().has_next() {
            return false;
        }
        self.half_closed.store(true, Ordering::Relaxed);
        // Nothing comes behind it.
        self.finish();
        true
    }

    /// The answer under way has no length: the connection ends with it.
    pub(crate) fn ends_with_answer(&self) {
        self.unframed.store(true, Ordering::Relaxed);
    }

    /// The answer under way has broken off.
    pub(crate) fn break_off(&self) {
        self.broken.store(self.unframed.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// True if an end of the connection in good order would have the client take a part of an answer for the whole.
    pub(crate) fn must_reset(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Says whether the client takes what it is sent.
    pub(crate) fn set_stuck(&self, stuck: bool) {
        self.stuck.store(stuck, Ordering::Relaxed);
    }

    /// True while the next bytes begin a request.
    pub(crate) fn awaits_request(&self) -> bool {
        (self.is(ConnStage::Idle) || self.is(ConnStage::Fresh)) && !self.lingers() && self.heads().is_between()
    }

    fn is(&self, stage: ConnStage) -> bool {
        self.stage.load(Ordering::Relaxed) == stage as u8
    }

    /// Bytes that come now are of a head.
    pub(crate) fn expects_head(&self) -> bool {
        self.is(ConnStage::Idle) || self.is(ConnStage::Fresh) || self.is(ConnStage::Head)
    }

    /// An answer is on its way.
    pub(crate) fn answers(&self) -> bool {
        self.is(ConnStage::Answering)
    }

    /// Bytes came from the client.
    pub(crate) fn on_read(&self) {
        if self.is(ConnStage::Lingering) {
            return;
        }
        if self.is(ConnStage::Idle) || self.is(ConnStage::Fresh) {
            self.enter(ConnStage::Head);
        } else if !self.is(ConnStage::Head) {
            // A head has so long as a whole, however slowly it trickles in.
            self.progress();
        }
    }

    /// Nothing of a request has come since the last answer.
    pub(crate) fn is_idle(&self) -> bool {
        self.is(ConnStage::Idle)
    }

    /// The order in which it makes way for others, unless it is in use.
    pub(crate) fn rank(&self) -> Option<EvictionRank> {
        let since = self.since.load(Ordering::Relaxed);
        if self.is_idle() {
            return Some(EvictionRank::Idle(since));
        }
        (self.is(ConnStage::Fresh) || self.is(ConnStage::Head)).then_some(EvictionRank::Unfinished(since))
    }

    /// True if it has stood still for too long.
    pub(crate) fn is_overdue(&self, settings: &ProxySettings) -> bool {
        let silence_max = || self.silence_max.load(Ordering::Relaxed);
        let limit = match self.stage.load(Ordering::Relaxed) {
            stage if stage == ConnStage::Fresh as u8 || stage == ConnStage::Head as u8 => {
                Ticks::steps(settings.header_timeout)
            }
            stage if stage == ConnStage::Idle as u8 => Ticks::steps(settings.keep_alive),
            // One that ended its side may have gone altogether, which only sending would show.
            stage
                if stage == ConnStage::Answering as u8
                    && (self.stuck.load(Ordering::Relaxed) || self.half_closed.load(Ordering::Relaxed)) =>
            {
                Ticks::steps(settings.body_idle)
            }
            stage if stage == ConnStage::Answering as u8 || stage == ConnStage::Tunnel as u8 => silence_max(),
            stage if stage == ConnStage::Lingering as u8 => Ticks::steps(LINGER_MAX),
            _ => return false,
        };
        let still = self.ticks.now().saturating_sub(self.since.load(Ordering::Relaxed));
        still > limit
    }
}
