//! An HTTP/2 connection to a backend as its task sees it: it moves the bytes, and asks a silent backend for a sign of life.
//!
//! Invariants: a connection without streams is not asked; a backend that is asked and says nothing loses the connection; none is
//! asked so often that it takes the questions for an attack (gRPC servers end connections with more than two in five minutes).

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{MissedTickBehavior, interval};

use crate::http2::Http2Connection;
use crate::proxy::ticks::Ticks;

/// The silence after which the backend is asked.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// The time that it has for the answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// The time from one question to the next while the backend says nothing else.
const ASK_EVERY: Duration = Duration::from_secs(310);
/// The time from one look at the silence to the next.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The state that the streams of a connection share with its task.
pub(super) struct Http2Link {
    ticks: Ticks,
    streams: Cell<usize>,
    // The tick of the last message of the backend, or of the first stream after a time without streams.
    quiet_since: Cell<u32>,
    // The tick of the last question, and a flag that its answer is due.
    asked: Cell<Option<u32>>,
    awaits_answer: Cell<bool>,
}

/// The action that a silence calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SilenceAction {
    Wait,
    Ask,
    GiveUp,
}

impl Http2Link {
    pub(super) fn new(ticks: &Ticks) -> Rc<Self> {
        let quiet_since = Cell::new(ticks.now());
        let (streams, asked, awaits_answer) = (Cell::default(), Cell::default(), Cell::default());
        Rc::new(Self { ticks: ticks.clone(), streams, quiet_since, asked, awaits_answer })
    }

    /// Returns the number of open streams.
    pub(super) fn streams(&self) -> usize {
        self.streams.get()
    }

    /// Counts a new stream.
    pub(super) fn begin_stream(&self) {
        if self.streams.get() == 0 {
            self.quiet_since.set(self.ticks.now());
        }
        self.streams.set(self.streams.get() + 1);
    }

    /// Counts a stream that has ended.
    pub(super) fn end_stream(&self) {
        self.streams.set(self.streams.get().saturating_sub(1));
        if self.streams.get() == 0 {
            self.quiet_since.set(self.ticks.now());
        }
    }

    /// Notes that a head or data came from the backend.
    pub(super) fn note_heard(&self) {
        self.quiet_since.set(self.ticks.now());
    }

    /// Returns the number of ticks for which there was no stream; 0 while there is one.
    pub(super) fn idle_for(&self, now: u32) -> u32 {
        if self.streams.get() > 0 { 0 } else { now.saturating_sub(self.quiet_since.get()) }
    }

    fn silence_action(&self) -> SilenceAction {
        let now = self.ticks.now();
        let has_passed = |since: u32, span| now.saturating_sub(since) >= Ticks::steps(span);
        match self.asked.get() {
            Some(asked) if self.awaits_answer.get() => {
                if has_passed(asked, ANSWER_MAX) {
                    SilenceAction::GiveUp
                } else {
                    SilenceAction::Wait
                }
            }
            _ if self.streams.get() == 0 || !has_passed(self.quiet_since.get(), SILENCE_MAX) => SilenceAction::Wait,
            Some(asked) if asked >= self.quiet_since.get() && !has_passed(asked, ASK_EVERY) => SilenceAction::Wait,
            _ => SilenceAction::Ask,
        }
    }

    fn ask(&self, pings: &mut PingPong) {
        // It fails only if the connection has ended.
        if pings.send_ping(Ping::opaque()).is_ok() {
            self.asked.set(Some(self.ticks.now()));
            self.awaits_answer.set(true);
        }
    }
}

/// Moves the bytes of a connection until it ends, or its backend gives no sign of life.
pub(super) async fn drive<S>(mut connection: Http2Connection<S>, link: Rc<Http2Link>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // It is there until it is first taken.
    let Some(mut pings) = connection.ping_pong() else { return };
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut connection = pin!(connection);
    poll_fn(|cx| {
        while looks.poll_tick(cx).is_ready() {
            match link.silence_action() {
                SilenceAction::Wait => {}
                SilenceAction::Ask => link.ask(&mut pings),
                // The streams learn of it when the connection is dropped.
                SilenceAction::GiveUp => return Poll::Ready(()),
            }
        }
        if link.awaits_answer.get() && pings.poll_pong(cx).is_ready() {
            link.awaits_answer.set(false);
        }
        // The streams get its errors.
        connection.as_mut().poll(cx).map(drop)
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_asked_after_a_silence_and_given_up_without_an_answer() {
        let ticks = Ticks::default();
        let at = |secs| {
            ticks.set(Duration::from_secs(secs));
        };
        let link = Http2Link::new(&ticks);
        at(100);
        assert_eq!(link.silence_action(), SilenceAction::Wait, "nobody waits for it");
        link.begin_stream();
        at(109);
        link.begin_stream();
        assert_eq!(link.silence_action(), SilenceAction::Wait);
        at(110);
        assert_eq!(link.silence_action(), SilenceAction::Ask, "another stream is no sign of life");
        link.note_heard();
        assert_eq!(link.silence_action(), SilenceAction::Wait);
        at(120);
        assert_eq!(link.silence_action(), SilenceAction::Ask);
        link.asked.set(Some(ticks.now()));
        link.awaits_answer.set(true);
        at(129);
        assert_eq!(link.silence_action(), SilenceAction::Wait);
        at(130);
        assert_eq!(link.silence_action(), SilenceAction::GiveUp);
    }

    #[test]
    fn a_backend_that_only_answers_is_not_asked_again_for_five_minutes() {
        let ticks = Ticks::default();
        let at = |secs| {
            ticks.set(Duration::from_secs(secs));
        };
        let link = Http2Link::new(&ticks);
        link.begin_stream();
        at(10);
        link.asked.set(Some(ticks.now()));
        for (secs, action) in [(11, SilenceAction::Wait), (319, SilenceAction::Wait), (320, SilenceAction::Ask)] {
            at(secs);
            assert_eq!(link.silence_action(), action, "{secs}");
        }
        link.note_heard();
        at(330);
        assert_eq!(link.silence_action(), SilenceAction::Ask, "it has said something since");
    }

    #[test]
    fn a_connection_is_idle_from_the_end_of_its_last_stream() {
        let ticks = Ticks::default();
        let link = Http2Link::new(&ticks);
        link.begin_stream();
        let now = ticks.set(Duration::from_secs(50));
        assert_eq!(link.idle_for(now), 0);
        link.end_stream();
        assert_eq!(link.idle_for(now + 3), 3);
    }
}
