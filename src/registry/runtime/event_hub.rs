//! Mailboxes of connections and streams, and the sending of messages and events to them.
//!
//! Sending never waits. A mailbox is bounded: if its owner does not read, events are lost and their number is reported.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, Semaphore, mpsc, watch};

use crate::domain::{Catalog, ConnectionId, EventKind, EventRecord, Session, SessionId};

use crate::registry::commands::decision::Release;

use super::history::History;

/// The largest number of events that wait in one mailbox.
const MAILBOX_MAX: usize = 256;
/// The room in addition for messages that must not be lost: shutdown, close, release.
const URGENT_MAX: usize = 8;

/// A message for a connection.
#[derive(Clone, Debug, PartialEq)]
pub enum MailboxMessage {
    /// An event of its session.
    Event(Arc<EventRecord>),
    /// The number of events that were lost because the mailbox was full.
    Lagged(u64),
    /// The session has another connection now, or none.
    Released(Release),
    /// The server is stopping.
    Shutdown,
    /// The session was shut down; the connection closes.
    Close,
}

/// The kind of owner that a mailbox has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailboxKind {
    /// A connection of the pipe.
    Pipe,
    /// A stream of events.
    Stream,
}

/// The number of streams of one session that may be open.
pub(super) const STREAMS_PER_SESSION_MAX: usize = 8;

/// The mailboxes of one connection. All streams of a session count as one connection; each gets every message.
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
    fn send(&self, message: MailboxMessage) {
        let full = matches!(message, MailboxMessage::Event(_)) && self.sender.capacity() <= URGENT_MAX;
        if full || self.sender.try_send(message).is_err() {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The progress of all events, for streams of all events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct EventProgress {
    /// The number of recorded batches of events.
    pub(super) batches: u64,
    /// True once the server is about to stop.
    pub(super) draining: bool,
    /// True once the server is stopping.
    pub(super) stopping: bool,
}

/// The open mailboxes and the latest events.
pub(super) struct EventHub {
    groups: Mutex<HashMap<ConnectionId, MailboxGroup>>,
    /// The connection that stands for the streams of each session. Locked before `groups`.
    streams: Mutex<HashMap<SessionId, ConnectionId>>,
    last: AtomicU64,
    history: Mutex<History>,
    progress: watch::Sender<EventProgress>,
    departed: Mutex<Vec<ConnectionId>>,
    departure: Notify,
    /// A permit for each stream that is asked to end.
    ends: Semaphore,
    lags: AtomicU64,
    missed: AtomicU64,
}

impl EventHub {
    /// Returns a hub without mailboxes and events, for a registry at `revision`.
    pub(super) fn since(revision: u64) -> Self {
        Self {
            groups: Mutex::default(),
            streams: Mutex::default(),
            last: AtomicU64::default(),
            history: Mutex::new(History::since(revision)),
            progress: watch::Sender::default(),
            departed: Mutex::default(),
            departure: Notify::new(),
            ends: Semaphore::new(0),
            lags: AtomicU64::default(),
            missed: AtomicU64::default(),
        }
    }

    pub(super) fn attach(self: &Arc<Self>, listener: MailboxKind) -> Mailbox {
        let number = self.next_number();
        let connection = ConnectionId(number);
        let (sender, mailbox) = self.listen(connection, number, None);
        lock(&self.groups).insert(connection, MailboxGroup { listener, senders: vec![sender] });
        mailbox
    }

    /// Opens a mailbox for a stream of a session. All streams of a session share one connection. `None` when the
    /// session has too many streams.
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

    /// Removes a mailbox. Returns true if it was the last one of its connection.
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

    pub(super) fn send(&self, connection: ConnectionId, message: &MailboxMessage) {
        let groups = lock(&self.groups);
        let Some(group) = groups.get(&connection) else { return };
        group.senders.iter().for_each(|sender| sender.send(message.clone()));
    }

    /// Adds events to the history and sends each to the connection that is bound to its session in `catalog`, if the
    /// session subscribed to it.
    pub(super) fn record(&self, catalog: &Catalog, records: Vec<Arc<EventRecord>>) {
        if records.is_empty() {
            return;
        }
        // The lock is held for both, so that a stream that begins now finds each event in the history or in its
        // mailbox.
        {
            let mut history = lock(&self.history);
            for event in records {
                self.send_to_bound(catalog, &event);
                history.push(event);
            }
        }
        self.progress.send_modify(|progress| progress.batches += 1);
    }

    fn send_to_bound(&self, catalog: &Catalog, record: &Arc<EventRecord>) {
        match &record.instance {
            Some(instance) => {
                catalog.by_key(instance.session).into_iter().for_each(|session| self.send_to(session, record));
            }
            None => catalog.sessions().for_each(|session| self.send_to(session, record)),
        }
    }

    fn send_to(&self, session: &Session, record: &Arc<EventRecord>) {
        let Some(connection) = session.bound else { return };
        let kind = record.event.kind();
        if session.record.topics.contains(kind) || (kind == EventKind::MaintenanceFailed && self.is_stream(connection))
        {
            self.send(connection, &MailboxMessage::Event(Arc::clone(record)));
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
        self.progress.send_modify(|progress| (progress.draining, progress.stopping) = (true, true));
    }

    pub(super) fn drain(&self) {
        self.progress.send_modify(|progress| progress.draining = true);
    }

    /// Asks so many streams to end. Those that were asked before and have not noticed count.
    pub(super) fn end_streams(&self, count: usize) {
        self.ends.add_permits(count.saturating_sub(self.ends.available_permits()));
    }

    /// Waits until a stream is asked to end. The stream that waited is the one.
    pub(super) async fn asked_to_end(&self) {
        match self.ends.acquire().await {
            Ok(permit) => permit.forget(),
            // It is never closed.
            Err(_) => std::future::pending().await,
        }
    }

    /// Counts a reader that has heard that it missed events.
    pub(super) fn note_lag(&self, missed: u64) {
        self.lags.fetch_add(1, Ordering::Relaxed);
        self.missed.fetch_add(missed, Ordering::Relaxed);
    }

    /// Returns the number of times that a reader fell behind, and the number of events that were missed.
    pub(super) fn lags(&self) -> (u64, u64) {
        (self.lags.load(Ordering::Relaxed), self.missed.load(Ordering::Relaxed))
    }

    /// Waits until a connection closes that may have a bound session.
    pub(super) async fn departure(&self) {
        self.departure.notified().await;
    }

    /// Returns the connections that have closed since the last call.
    pub(super) fn departed(&self) -> Vec<ConnectionId> {
        std::mem::take(&mut *lock(&self.departed))
    }

    /// Adds connections to the closed ones again, after their disconnection could not be stored.
    pub(super) fn depart(&self, gone: impl IntoIterator<Item = ConnectionId>) {
        lock(&self.departed).extend(gone);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code panics while it holds a lock, so a poisoned lock still guards consistent data.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The mailbox of a connection. Dropping it disconnects the session that is bound to the connection.
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
    /// Returns the number of the connection.
    pub fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// Marks the connection as one that may have a bound session. Call this before the session is bound.
    pub fn will_bind(&mut self) {
        self.binds = true;
    }

    /// Disconnects the bound session before the mailbox is dropped.
    pub fn leave(&mut self) {
        // A stopping server stores no disconnections: after the restart every session counts as disconnected.
        if std::mem::take(&mut self.binds) && !self.hub.progress.borrow().stopping {
            self.hub.depart([self.connection]);
            self.hub.departure.notify_one();
        }
    }

    /// Returns true if a session was bound to the connection. Another connection may have taken it over since.
    pub fn was_bound(&self) -> bool {
        self.binds
    }

    /// Returns true if no message waits and no loss is to be reported.
    pub fn is_empty(&self) -> bool {
        self.receiver.is_empty() && self.missed.load(Ordering::Relaxed) == 0
    }

    /// Waits for the next message. Cancelling it loses nothing.
    pub async fn next(&mut self) -> MailboxMessage {
        match self.receiver.recv().await {
            Some(message) => message,
            // The hub keeps the sender as long as this mailbox exists, so this case does not occur.
            None => MailboxMessage::Close,
        }
    }

    /// Returns the next message if one waits. A loss is reported after the messages that were kept.
    pub fn try_next(&mut self) -> Option<MailboxMessage> {
        if let Ok(message) = self.receiver.try_recv() {
            return Some(message);
        }
        match self.missed.swap(0, Ordering::Relaxed) {
            0 => None,
            missed => {
                self.hub.note_lag(missed);
                Some(MailboxMessage::Lagged(missed))
            }
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
    use crate::domain::{Event, EventInstance, InstanceName, ServiceName, SessionKey, Time};

    fn event() -> MailboxMessage {
        MailboxMessage::Event(Arc::new(EventRecord {
            sequence: 1,
            at: Time(0),
            instance: Some(EventInstance {
                owner: crate::domain::Owner::Session,
                session: SessionKey(1),
                service: ServiceName::parse("shop").unwrap(),
                instance: InstanceName::parse("shop-1").unwrap(),
            }),
            event: Event::DrainCompleted,
        }))
    }

    #[test]
    fn a_reader_that_falls_behind_learns_how_much_was_lost() {
        let hub = Arc::new(EventHub::since(0));
        let mut mailbox = hub.attach(MailboxKind::Pipe);
        for _ in 0..MAILBOX_MAX + 3 {
            hub.send(mailbox.connection(), &event());
        }
        hub.send(mailbox.connection(), &MailboxMessage::Close);
        let told: Vec<MailboxMessage> = std::iter::from_fn(|| mailbox.try_next()).collect();
        assert_eq!(told.len(), MAILBOX_MAX + 2);
        assert_eq!(
            told[MAILBOX_MAX..],
            [MailboxMessage::Close, MailboxMessage::Lagged(3)],
            "the word to close is not lost"
        );
    }

    #[test]
    fn a_closed_connection_gets_no_messages() {
        let hub = Arc::new(EventHub::since(0));
        let connection = hub.attach(MailboxKind::Pipe).connection();
        hub.send(connection, &MailboxMessage::Shutdown);
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
        hub.send(open[0].connection(), &event());
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
