//! Streams of events: a session's own, which bind it as a connection does, and everything, for operators.
//!
//! A stream begins behind a sequence, if the one who asks names one that is still held, and goes on live; what it
//! cannot give it says. What must hold: no event twice, none out of order, none left out without a word.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::domain::{Error, Event, EventKind, EventRecord, Kind, SessionId, SessionKey, Topics};

use crate::registry::calls::Command;
use crate::registry::commands::decision::Reply;
use crate::registry::commands::sessions::{Reconnect, Subscribe};

use super::event_hub::{EventHub, EventProgress, Mailbox, MailboxMessage, STREAMS_PER_SESSION_MAX};
use super::history::EventCursor;
use super::registry::{Registry, stopping};

/// The number of events that one read takes from the history.
const READ_MAX: usize = 256;

/// The next item of an event stream.
#[derive(Clone, Debug, PartialEq)]
pub enum StreamItem {
    /// Something happened.
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
    /// No event came for a while.
    Quiet {
        /// Everything up to this sequence number has been sent: a new stream goes on behind it without a loss. `None` while something
        /// still waits to be told.
        told_up_to: Option<u64>,
    },
    /// The stream ended, with the reason. Nothing follows.
    Ended(Error),
}

/// A stream. Dropping it ends it; a session that was bound to it is disconnected.
pub struct EventStream {
    source: EventSource,
    ended: Option<Error>,
    _place: OwnedSemaphorePermit,
}

enum EventSource {
    Session(SessionEvents),
    All(AllEvents),
}

impl Registry {
    /// Tells a session's events: adds `topics` to its subscription and binds the session, as a connection does,
    /// while the stream lives. Streams of one session share what they bind. With `after`, what happened since that
    /// sequence comes first.
    ///
    /// # Errors
    /// `NotFound` when there is no such session, `Limited` when too many streams are open, of all or of the session.
    pub async fn session_events(
        &self,
        session: &SessionId,
        topics: Topics,
        after: Option<u64>,
    ) -> Result<EventStream, Error> {
        let place = self.stream()?;
        let mut mailbox = self.hub.attach_stream(session).ok_or_else(too_many_of_a_session)?;
        mailbox.will_bind();
        let bind = Reconnect { session: session.clone(), connection: Some(mailbox.connection()) };
        let subscribe = Subscribe { session: session.clone(), topics };
        let first: Option<Command> = (!topics.is_empty()).then(|| subscribe.into());
        for reply in self.execute(first.into_iter().chain([bind.into()]).collect()).await {
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
        Ok(EventStream { source, ended: None, _place: place })
    }

    /// Tells everything that happens to anybody. With `after`, what happened since that sequence comes first.
    ///
    /// # Errors
    /// `Limited` when too many streams are open.
    pub fn all_events(&self, after: Option<u64>) -> Result<EventStream, Error> {
        let place = self.stream()?;
        Ok(EventStream { source: EventSource::All(AllEvents::begin(self, after)), ended: None, _place: place })
    }

    fn stream(&self) -> Result<OwnedSemaphorePermit, Error> {
        Arc::clone(&self.streams).try_acquire_owned().map_err(|_| {
            let message = format!("too many open event streams (limit {}); try again later", self.streams_max);
            Error::new(Kind::Limited, message)
        })
    }
}

impl EventStream {
    /// The same, but says so when nothing came for the time of `silence`.
    pub async fn next_within(&mut self, silence: Duration) -> StreamItem {
        match tokio::time::timeout(silence, self.next()).await {
            Ok(item) => item,
            Err(_) => StreamItem::Quiet { told_up_to: self.told_up_to() },
        }
    }

    /// The sequence behind which a new stream goes on without a loss, if this one has told all there was to tell.
    pub fn told_up_to(&self) -> Option<u64> {
        match &self.source {
            EventSource::Session(own) => own.told_up_to(),
            EventSource::All(everything) => everything.told_up_to(),
        }
    }

    /// Waits for what comes next. Cancelling it loses nothing.
    pub async fn next(&mut self) -> StreamItem {
        if let Some(error) = &self.ended {
            return StreamItem::Ended(error.clone());
        }
        let item = match &mut self.source {
            EventSource::Session(own) => own.next().await,
            EventSource::All(everything) => everything.next().await,
        };
        if let StreamItem::Ended(error) = &item {
            self.ended = Some(error.clone());
        }
        item
    }
}

/// A session's own events: first from the history, then from its mailbox.
struct SessionEvents {
    mailbox: Mailbox,
    compacted: Option<u64>,
    backlog: VecDeque<Arc<EventRecord>>,
    /// Events up to this sequence have been sent or are in the backlog.
    seen: u64,
    hub: Arc<EventHub>,
}

impl SessionEvents {
    /// The session must be bound already: what happens from now on comes to the mailbox.
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

    fn told_up_to(&self) -> Option<u64> {
        // Looked at before the mailbox: what happened by then is in it, or has been told.
        let latest = self.hub.history().latest();
        let told = self.compacted.is_none() && self.backlog.is_empty() && self.mailbox.is_empty();
        told.then_some(latest.max(self.seen))
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

/// The events of all sessions, read from the history at the stream's own pace.
struct AllEvents {
    hub: Arc<EventHub>,
    progress: watch::Receiver<EventProgress>,
    compacted: Option<u64>,
    place: EventCursor,
    read: VecDeque<Arc<EventRecord>>,
}

impl AllEvents {
    fn begin(registry: &Registry, after: Option<u64>) -> Self {
        let latest = registry.catalog().revision();
        let history = registry.hub.history();
        let place = after.map(|after| history.after(after, latest));
        let compacted = (place == Some(None)).then(|| history.floor());
        let place = place.flatten().unwrap_or_else(|| history.end());
        let (hub, progress) = (Arc::clone(&registry.hub), registry.hub.progress());
        Self { hub, progress, compacted, place, read: VecDeque::new() }
    }

    fn told_up_to(&self) -> Option<u64> {
        let history = self.hub.history();
        let told = self.compacted.is_none() && self.read.is_empty() && self.place == history.end();
        told.then(|| history.latest())
    }

    async fn next(&mut self) -> StreamItem {
        if let Some(oldest) = self.compacted.take() {
            return StreamItem::Compacted { oldest };
        }
        loop {
            if let Some(event) = self.read.pop_front() {
                return StreamItem::Event(event);
            }
            // Looked at before the history: what comes after this look is waited for.
            let stopped = self.progress.borrow_and_update().stopping;
            let (events, place, missed) = self.hub.history().read(self.place, READ_MAX);
            (self.read, self.place) = (events.into(), place);
            if missed > 0 {
                return StreamItem::Lagged { missed };
            }
            if self.read.is_empty() && (stopped || self.progress.changed().await.is_err()) {
                return StreamItem::Ended(stopping());
            }
        }
    }
}
