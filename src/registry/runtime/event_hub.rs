//! Messages for connections and streams. Sending never waits: a connection that does not read loses what its bounded
//! mailbox cannot hold, and is told how much that was.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc, watch};

use crate::domain::{Catalog, ConnectionId, EventKind, EventRecord, SessionId};

use crate::registry::commands::decision::Release;

use super::history::History;

/// The most events that wait for one connection.
const MAILBOX_MAX: usize = 256;
/// Room beside them for what must not be lost: that the server stops, that the connection is to close.
const URGENT_MAX: usize = 8;

/// A message for a connection.
#[derive(Clone, Debug, PartialEq)]
pub enum MailboxMessage {
    /// An event of its session.
    Event(Arc<EventRecord>),
    /// The number of events that were lost because the connection did not read.
    Lagged(u64),
    /// Its session has another connection now, or none.
    Released(Release),
    /// The server stops.
    Shutdown,
    /// Its session was shut down: the connection closes.
    Close,
}

/// The kind of the reader of a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailboxKind {
    /// A connection of the group protocol.
    Pipe,
    /// A stream of events.
    Stream,
}

/// Streams of one session that may be open at once.
pub(super) const STREAMS_PER_SESSION_MAX: usize = 8;

/// The mailboxes of one connection. The streams of a session count as one connection; each gets every message.
struct MailboxGroup {
    listener: MailboxKind,
    senders: Vec<MailboxSender>,
}

struct MailboxSender {
    number: u64,
    sender: mpsc::Sender<MailboxMessage>,
    missed: Arc<AtomicU64>,
}

impl MailboxSender {
    fn tell(&self, message: MailboxMessage) {
        let full = matches!(message, MailboxMessage::Event(_)) && self.sender.capacity() <= URGENT_MAX;
        if full || self.sender.try_send(message).is_err() {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The progress of all events, for streams of everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct EventProgress {
    /// Goes up with every batch of events.
    pub(super) batches: u64,
    /// The server stops.
    pub(super) stopping: bool,
}

/// The open mailboxes and the latest events.
pub(super) struct EventHub {
    groups: Mutex<HashMap<ConnectionId, MailboxGroup>>,
    /// The connections that stand for the streams of sessions. Locked before `groups`.
    streams: Mutex<HashMap<SessionId, ConnectionId>>,
    last: AtomicU64,
    history: Mutex<History>,
    progress: watch::Sender<EventProgress>,
    departed: Mutex<Vec<ConnectionId>>,
    departure: Notify,
}

impl EventHub {
    /// Nothing happened since the registry was at `revision`.
    pub(super) fn since(revision: u64) -> Self {
        Self {
            groups: Mutex::default(),
            streams: Mutex::default(),
            last: AtomicU64::default(),
            history: Mutex::new(History::since(revision)),
            progress: watch::Sender::default(),
            departed: Mutex::default(),
            departure: Notify::new(),
        }
    }

    pub(super) fn attach(self: &Arc<Self>, listener: MailboxKind) -> Mailbox {
        let number = self.next_number();
        let connection = ConnectionId(number);
        let (sender, mailbox) = self.listen(connection, number, None);
        lock(&self.groups).insert(connection, MailboxGroup { listener, senders: vec![sender] });
        mailbox
    }

    /// The same for a stream of a session, beside those that are open; `None` when these are too many.
    pub(super) fn attach_stream(self: &Arc<Self>, session: &SessionId) -> Option<Mailbox> {
        let number = self.next_number();
        let mut streams = lock(&self.streams);
        let mut groups = lock(&self.groups);
        let connection = *streams.entry(session.clone()).or_insert(ConnectionId(number));
        let group = groups
            .entry(connection)
            .or_insert_with(|| MailboxGroup { listener: MailboxKind::Stream, senders: Vec::new() });
        if group.senders.len() >= STREAMS_PER_SESSION_MAX {
            return None;
        }
        let (sender, mailbox) = self.listen(connection, number, Some(session.clone()));
        group.senders.push(sender);
        Some(mailbox)
    }

    fn next_number(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn listen(
        self: &Arc<Self>,
        connection: ConnectionId,
        number: u64,
        stream_of: Option<SessionId>,
    ) -> (MailboxSender, Mailbox) {
        let (sender, receiver) = mpsc::channel(MAILBOX_MAX + URGENT_MAX);
        let missed = Arc::new(AtomicU64::new(0));
        let sender = MailboxSender { number, sender, missed: Arc::clone(&missed) };
        (sender, Mailbox { connection, number, stream_of, receiver, missed, hub: Arc::clone(self), binds: false })
    }

    /// Lets an mailbox go. True if it was the last of its connection.
    fn detach(&self, mailbox: &Mailbox) -> bool {
        let mut streams = lock(&self.streams);
        let mut groups = lock(&self.groups);
        let Some(group) = groups.get_mut(&mailbox.connection) else { return true };
        group.senders.retain(|sender| sender.number != mailbox.number);
        if !group.senders.is_empty() {
            return false;
        }
        groups.remove(&mailbox.connection);
        mailbox.stream_of.as_ref().map(|session| streams.remove(session));
        true
    }

    pub(super) fn tell(&self, connection: ConnectionId, message: &MailboxMessage) {
        let groups = lock(&self.groups);
        let Some(group) = groups.get(&connection) else { return };
        group.senders.iter().for_each(|sender| sender.tell(message.clone()));
    }

    /// Tells those whom events concern, as `catalog` has them bound and subscribed, and keeps what happened.
    pub(super) fn record(&self, catalog: &Catalog, records: Vec<Arc<EventRecord>>) {
        if records.is_empty() {
            return;
        }
        // Kept and told in one step: a stream that begins finds an event among what is kept, or is told of it, or both.
        {
            let mut history = lock(&self.history);
            for event in records {
                history.push(Arc::clone(&event));
                self.tell_bound(catalog, event);
            }
        }
        self.progress.send_modify(|progress| progress.batches += 1);
    }

    fn tell_bound(&self, catalog: &Catalog, record: Arc<EventRecord>) {
        let session = catalog.by_key(record.session);
        let Some((session, connection)) = session.and_then(|session| Some((session, session.bound?))) else { return };
        let kind = record.event.kind();
        if session.record.topics.contains(kind) || (kind == EventKind::MaintenanceFailed && self.is_stream(connection))
        {
            self.tell(connection, &MailboxMessage::Event(record));
        }
    }

    fn is_stream(&self, connection: ConnectionId) -> bool {
        lock(&self.groups).get(&connection).is_some_and(|group| group.listener == MailboxKind::Stream)
    }

    pub(super) fn history(&self) -> MutexGuard<'_, History> {
        lock(&self.history)
    }

    pub(super) fn progress(&self) -> watch::Receiver<EventProgress> {
        self.progress.subscribe()
    }

    pub(super) fn stop(&self) {
        self.progress.send_modify(|progress| progress.stopping = true);
    }

    /// Waits until a connection that a session may be bound to has gone.
    pub(super) async fn departure(&self) {
        self.departure.notified().await;
    }

    /// The connections that have gone since this was asked last.
    pub(super) fn departed(&self) -> Vec<ConnectionId> {
        std::mem::take(&mut *lock(&self.departed))
    }

    /// Takes note again of connections that have gone: nobody could be told.
    pub(super) fn depart(&self, gone: impl IntoIterator<Item = ConnectionId>) {
        lock(&self.departed).extend(gone);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code panics while it holds a lock; were it to happen, what is in it is still whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection's number and what it is told. Dropping it disconnects the session that is bound to it.
pub struct Mailbox {
    connection: ConnectionId,
    number: u64,
    stream_of: Option<SessionId>,
    receiver: mpsc::Receiver<MailboxMessage>,
    missed: Arc<AtomicU64>,
    hub: Arc<EventHub>,
    binds: bool,
}

impl Mailbox {
    /// The connection's number.
    pub fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// To be called before a session is bound to the connection: from then on its end concerns the registry.
    pub fn will_bind(&mut self) {
        self.binds = true;
    }

    /// Disconnects the session that is bound, before the mailbox goes.
    pub fn leave(&mut self) {
        // A stopping server records no disconnections: after the restart every session counts as disconnected.
        if std::mem::take(&mut self.binds) && !self.hub.progress.borrow().stopping {
            self.hub.depart([self.connection]);
            self.hub.departure.notify_one();
        }
    }

    /// True if a session was bound to it. Another connection may have taken that over since.
    pub fn was_bound(&self) -> bool {
        self.binds
    }

    /// True if nothing waits to be told.
    pub fn is_empty(&self) -> bool {
        self.receiver.is_empty() && self.missed.load(Ordering::Relaxed) == 0
    }

    /// Waits for the next thing to tell. Cancelling it loses nothing.
    pub async fn next(&mut self) -> MailboxMessage {
        match self.receiver.recv().await {
            Some(message) => message,
            // The sender stands in `watch` for as long as this mailbox lives.
            None => MailboxMessage::Close,
        }
    }

    /// The next thing to tell, if something waits; what was lost is said after what was kept.
    pub fn try_next(&mut self) -> Option<MailboxMessage> {
        if let Ok(message) = self.receiver.try_recv() {
            return Some(message);
        }
        match self.missed.swap(0, Ordering::Relaxed) {
            0 => None,
            missed => Some(MailboxMessage::Lagged(missed)),
        }
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.binds &= self.hub.detach(self);
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Event, InstanceName, ServiceName, SessionKey, Time};

    fn event() -> MailboxMessage {
        MailboxMessage::Event(Arc::new(EventRecord {
            sequence: 1,
            at: Time(0),
            session: SessionKey(1),
            service: ServiceName::parse("shop").unwrap(),
            instance: InstanceName::parse("shop-1").unwrap(),
            event: Event::DrainCompleted,
        }))
    }

    #[test]
    fn who_does_not_read_is_told_how_much_was_lost() {
        let hub = Arc::new(EventHub::since(0));
        let mut mailbox = hub.attach(MailboxKind::Pipe);
        for _ in 0..MAILBOX_MAX + 3 {
            hub.tell(mailbox.connection(), &event());
        }
        hub.tell(mailbox.connection(), &MailboxMessage::Close);
        let told: Vec<MailboxMessage> = std::iter::from_fn(|| mailbox.try_next()).collect();
        assert_eq!(told.len(), MAILBOX_MAX + 2);
        assert_eq!(
            told[MAILBOX_MAX..],
            [MailboxMessage::Close, MailboxMessage::Lagged(3)],
            "the word to close is not lost"
        );
    }

    #[test]
    fn a_connection_that_is_gone_is_told_nothing() {
        let hub = Arc::new(EventHub::since(0));
        let connection = hub.attach(MailboxKind::Pipe).connection();
        hub.tell(connection, &MailboxMessage::Shutdown);
        assert!(lock(&hub.groups).is_empty());
        assert_ne!(hub.attach(MailboxKind::Pipe).connection(), connection, "numbers are not used again");
    }

    #[test]
    fn streams_of_a_session_are_one_connection_until_the_last_of_them_ends() {
        let hub = Arc::new(EventHub::since(0));
        let session = SessionId::restore("a");
        let mut open: Vec<Mailbox> = std::iter::from_fn(|| hub.attach_stream(&session)).collect();
        assert_eq!(open.len(), STREAMS_PER_SESSION_MAX);
        assert!(hub.attach_stream(&SessionId::restore("b")).is_some());
        hub.tell(open[0].connection(), &event());
        for mailbox in &mut open {
            mailbox.will_bind();
            assert_eq!(mailbox.try_next(), Some(event()), "each is told");
        }
        let last = open.pop().unwrap();
        let connection = last.connection();
        drop(open);
        assert_eq!(hub.departed(), vec![]);
        drop(last);
        assert_eq!(hub.departed(), vec![connection]);
        assert_ne!(hub.attach_stream(&session).unwrap().connection(), connection);
    }

    #[test]
    fn the_end_of_a_connection_concerns_the_registry_if_a_session_was_bound_to_it() {
        let hub = Arc::new(EventHub::since(0));
        drop(hub.attach(MailboxKind::Pipe));
        let mut bound = hub.attach(MailboxKind::Stream);
        bound.will_bind();
        let connection = bound.connection();
        drop(bound);
        assert_eq!((hub.departed(), hub.departed()), (vec![connection], vec![]));
    }
}
