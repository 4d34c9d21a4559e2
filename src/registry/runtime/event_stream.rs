//! Event streams. A stream sends the events of one session, or all events for operators.
//!
//! A stream of one session binds that session, as a connection does. A stream may begin after a sequence that the
//! caller gives; it sends the events that the history still holds, then new ones. It reports events that it can no
//! longer send. Invariants: a stream sends no event twice and none out of order, and it reports every gap.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::domain::{Error, Event, EventKind, EventRecord, Kind, SessionId, SessionKey, Topics};

use crate::registry::audit::CallOrigin;
use crate::registry::calls::Command;
use crate::registry::commands::decision::Reply;
use crate::registry::commands::sessions::{Reconnect, Subscribe};

use super::event_hub::{EventHub, EventProgress, Mailbox, MailboxMessage, STREAMS_PER_SESSION_MAX};
use super::history::EventCursor;
use super::registry::{Registry, stopping};

/// The number of permits, which count the open streams. Their limit is one of the rules.
pub(super) const STREAMS_COUNTED_MAX: usize = Semaphore::MAX_PERMITS;
/// The number of events that one read takes from the history.
const READ_MAX: usize = 256;

/// The next item of an event stream.
#[derive(Clone, Debug, PartialEq)]
pub enum StreamItem {
    /// An event.
    Event(Arc<EventRecord>),
    /// Events were lost because the stream was not read.
    Lagged {
        /// The number of lost events.
        missed: u64,
    },
    /// The events after the requested sequence are no longer held; the stream continues with new events.
    Compacted {
        /// All events after this sequence are held.
        oldest: u64,
    },
    /// No event came within the time of silence.
    Quiet {
        /// All events up to this sequence have been sent, so that a new stream can continue after it without a loss.
        /// `None` while events still wait.
        position: Option<u64>,
    },
    /// The stream ended, with the reason. Nothing follows.
    Ended(Error),
}

/// An event stream. Dropping it ends it and disconnects a session that was bound to it.
pub struct EventStream {
    source: EventSource,
    ended: Option<Error>,
    _permit: OwnedSemaphorePermit,
}

enum EventSource {
    Session(SessionEvents),
    All(AllEvents),
}

impl EventSource {
    fn hub(&self) -> &Arc<EventHub> {
        match self {
            EventSource::Session(own) => &own.hub,
            EventSource::All(everything) => &everything.hub,
        }
    }

    async fn next(&mut self) -> StreamItem {
        match self {
            EventSource::Session(own) => own.next().await,
            EventSource::All(everything) => everything.next().await,
        }
    }
}

impl Registry {
    /// Opens a stream of a session's events. It adds `topics` to the subscription of the session and binds the session
    /// while the stream is open. All streams of a session share one binding. With `after`, the stream begins with the
    /// events after that sequence.
    ///
    /// # Errors
    /// `NotFound` when there is no such session, `Limited` when too many streams are open, in all or of this session.
    pub async fn session_events(
        &self,
        origin: CallOrigin,
        session: &SessionId,
        topics: Topics,
        after: Option<u64>,
    ) -> Result<EventStream, Error> {
        let permit = self.stream_permit()?;
        let mut mailbox = self.hub.attach_stream(session).ok_or_else(too_many_of_a_session)?;
        mailbox.will_bind();
        let bind = Reconnect { session: session.clone(), connection: Some(mailbox.connection()) };
        let subscribe = Subscribe { session: session.clone(), topics };
        let first: Option<Command> = (!topics.is_empty()).then(|| subscribe.into());
        for reply in self.execute(origin, first.into_iter().chain([bind.into()]).collect()).await {
            if reply? == Reply::Gone {
                return Err(Error::invalid_session());
            }
        }
        if self.hub.progress().borrow().stopping {
            return Err(stopping());
        }
        let (key, topics) = {
            let catalog = self.catalog();
            let session = catalog.session(session.reveal())?;
            (session.key, session.record.topics)
        };
        let source = EventSource::Session(SessionEvents::begin(mailbox, self, key, topics, after));
        Ok(EventStream { source, ended: None, _permit: permit })
    }

    /// Opens a stream of all events. With `after`, the stream begins with the events after that sequence.
    ///
    /// # Errors
    /// `Limited` when too many streams are open.
    pub fn all_events(&self, after: Option<u64>) -> Result<EventStream, Error> {
        let permit = self.stream_permit()?;
        Ok(EventStream { source: EventSource::All(AllEvents::begin(self, after)), ended: None, _permit: permit })
    }

    fn stream_permit(&self) -> Result<OwnedSemaphorePermit, Error> {
        let most = self.rules.load().limits.streams_max;
        let permit = Arc::clone(&self.streams).try_acquire_owned().ok();
        let open = STREAMS_COUNTED_MAX - self.streams.available_permits();
        permit.filter(|_| open <= most).ok_or_else(|| {
            Error::new(Kind::Limited, format!("too many open event streams (limit {most}); try again later"))
        })
    }
}

impl EventStream {
    /// Waits for the next item, as [`EventStream::next`] does, but returns [`StreamItem::Quiet`] when none comes within
    /// `silence`.
    pub async fn next_within(&mut self, silence: Duration) -> StreamItem {
        match tokio::time::timeout(silence, self.next()).await {
            Ok(item) => item,
            Err(_) => StreamItem::Quiet { position: self.position() },
        }
    }

    /// Returns the sequence after which a new stream continues without a loss; `None` while events still wait.
    pub fn position(&self) -> Option<u64> {
        match &self.source {
            EventSource::Session(own) => own.position(),
            EventSource::All(everything) => everything.position(),
        }
    }

    /// Waits for the next item. Cancelling it loses nothing.
    pub async fn next(&mut self) -> StreamItem {
        if let Some(error) = &self.ended {
            return StreamItem::Ended(error.clone());
        }
        let hub = Arc::clone(self.source.hub());
        let item = tokio::select! {
            biased;
            item = self.source.next() => item,
            () = hub.asked_to_end() => StreamItem::Ended(stopping()),
        };
        if let StreamItem::Ended(error) = &item {
            self.ended = Some(error.clone());
        }
        item
    }
}

/// The events of one session: first those from the history, then those from its mailbox.
struct SessionEvents {
    mailbox: Mailbox,
    compacted: Option<u64>,
    backlog: VecDeque<Arc<EventRecord>>,
    /// Events up to this sequence have been sent or are in the backlog.
    seen: u64,
    hub: Arc<EventHub>,
}

impl SessionEvents {
    /// Begins to read. The session must be bound already, so that its mailbox gets every event from now on.
    fn begin(mailbox: Mailbox, registry: &Registry, key: SessionKey, topics: Topics, after: Option<u64>) -> Self {
        let hub = Arc::clone(&registry.hub);
        let mut own = SessionEvents { mailbox, compacted: None, backlog: VecDeque::new(), seen: 0, hub };
        let Some(after) = after else { return own };
        let latest = registry.catalog().revision();
        let history = registry.hub.history();
        if !history.holds_all_of(key, after, latest) {
            own.compacted = Some(history.floor());
            return own;
        }
        own.backlog = history.of_session(key, after).filter(|event| concerns(&event.event, topics)).cloned().collect();
        own.seen = own.backlog.back().map_or(after, |last| last.sequence);
        own
    }

    fn position(&self) -> Option<u64> {
        // The sequence is read before the mailbox: an event up to it has been sent or is in the mailbox.
        let latest = self.hub.history().latest();
        let is_empty = self.compacted.is_none() && self.backlog.is_empty() && self.mailbox.is_empty();
        is_empty.then_some(latest.max(self.seen))
    }

    async fn next(&mut self) -> StreamItem {
        if let Some(oldest) = self.compacted.take() {
            return StreamItem::Compacted { oldest };
        }
        if let Some(event) = self.backlog.pop_front() {
            return StreamItem::Event(event);
        }
        loop {
            let message = match self.mailbox.try_next() {
                Some(message) => message,
                None => self.mailbox.next().await,
            };
            return match message {
                MailboxMessage::Event(event) if event.sequence <= self.seen => continue,
                MailboxMessage::Event(event) => StreamItem::Event(event),
                MailboxMessage::Lagged(missed) => StreamItem::Lagged { missed },
                MailboxMessage::Released(why) => StreamItem::Ended(Error::new(Kind::Conflict, why.words())),
                MailboxMessage::Shutdown => StreamItem::Ended(stopping()),
                MailboxMessage::Close => StreamItem::Ended(Error::invalid_session()),
            };
        }
    }
}

/// Returns true if a stream of a session with these topics gets the event.
fn concerns(event: &Event, topics: Topics) -> bool {
    topics.contains(event.kind()) || event.kind() == EventKind::MaintenanceFailed
}

fn too_many_of_a_session() -> Error {
    let message =
        format!("too many open event streams of this session (limit {STREAMS_PER_SESSION_MAX}); close one first");
    Error::new(Kind::Limited, message)
}

/// All events, read from the history at the stream's own pace.
struct AllEvents {
    hub: Arc<EventHub>,
    progress: watch::Receiver<EventProgress>,
    compacted: Option<u64>,
    cursor: EventCursor,
    read: VecDeque<Arc<EventRecord>>,
}

impl AllEvents {
    fn begin(registry: &Registry, after: Option<u64>) -> Self {
        let latest = registry.catalog().revision();
        let history = registry.hub.history();
        let cursor = after.map(|after| history.after(after, latest));
        let compacted = (cursor == Some(None)).then(|| history.floor());
        let cursor = cursor.flatten().unwrap_or_else(|| history.end());
        let (hub, progress) = (Arc::clone(&registry.hub), registry.hub.progress());
        Self { hub, progress, compacted, cursor, read: VecDeque::new() }
    }

    fn position(&self) -> Option<u64> {
        let history = self.hub.history();
        let is_empty = self.compacted.is_none() && self.read.is_empty() && self.cursor == history.end();
        is_empty.then(|| history.latest())
    }

    async fn next(&mut self) -> StreamItem {
        if let Some(oldest) = self.compacted.take() {
            return StreamItem::Compacted { oldest };
        }
        loop {
            if let Some(event) = self.read.pop_front() {
                return StreamItem::Event(event);
            }
            // The flag is read before the history: a change after this point wakes the wait below.
            let stopped = self.progress.borrow_and_update().stopping;
            let (events, cursor, missed) = self.hub.history().read(self.cursor, READ_MAX);
            (self.read, self.cursor) = (events.into(), cursor);
            if missed > 0 {
                self.hub.note_lag(missed);
                return StreamItem::Lagged { missed };
            }
            if self.read.is_empty() && (stopped || self.progress.changed().await.is_err()) {
                return StreamItem::Ended(stopping());
            }
        }
    }
}
