//! The latest events in their order, for streams that begin or continue after a sequence.
//!
//! The history is a ring of bounded length. All streams share it and each holds a cursor, so that memory does not grow
//! with the number of streams. Invariants: sequences rise, and a dropped event is always reported as dropped.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::domain::{EventKind, EventRecord, SessionKey};

/// The largest number of events that are held.
pub(super) const HISTORY_MAX: usize = 32_768;

/// The latest events in their order.
#[derive(Debug)]
pub(super) struct History {
    events: VecDeque<Arc<EventRecord>>,
    /// The number of events that were dropped to make room for newer ones.
    dropped: u64,
    /// All events after this sequence are held.
    floor: u64,
    /// The sequence of the latest event.
    latest: u64,
    /// The sequence of the last dropped event of each session.
    lost: HashMap<SessionKey, u64>,
    /// An upper bound of that sequence for the sessions that are not in `lost`.
    lost_of_others: u64,
}

/// A position in the history: the number of events before the next one to read, counted from the start of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EventCursor(u64);

impl History {
    /// Returns an empty history of a registry at `revision`.
    pub(super) fn since(revision: u64) -> Self {
        let lost = HashMap::new();
        Self { events: VecDeque::new(), dropped: 0, floor: revision, latest: revision, lost, lost_of_others: revision }
    }

    pub(super) fn push(&mut self, event: Arc<EventRecord>) {
        self.latest = event.sequence;
        self.events.push_back(event);
        if self.events.len() > HISTORY_MAX
            && let Some(oldest) = self.events.pop_front()
        {
            self.dropped += 1;
            self.floor = oldest.sequence;
            self.lose(&oldest);
        }
    }

    fn lose(&mut self, event: &EventRecord) {
        let kind = event.event.kind();
        if kind != EventKind::MaintenanceFailed && !EventKind::TOPICS.contains(&kind) {
            // Sessions do not get events of this kind, so that its loss does not concern them.
            return;
        }
        let Some(instance) = &event.instance else {
            // It concerned all sessions; what each lost before came earlier.
            self.lost_of_others = event.sequence;
            self.lost.clear();
            return;
        };
        self.lost.insert(instance.session, event.sequence);
        if self.lost.len() > HISTORY_MAX {
            // Most entries belong to sessions that have ended. For the others the bound is too high, so that they may
            // be told of a loss that did not concern them.
            self.lost_of_others = self.floor;
            self.lost.clear();
        }
    }

    /// Returns the sequence of the latest event.
    pub(super) fn latest(&self) -> u64 {
        self.latest
    }

    /// Returns true if all events that a session gets and that came after this sequence are held. `latest` is as in
    /// [`History::after`].
    pub(super) fn holds_all_of(&self, session: SessionKey, sequence: u64, latest: u64) -> bool {
        let lost = self.lost.get(&session).copied().unwrap_or(self.lost_of_others);
        (lost..=latest).contains(&sequence)
    }

    /// Returns the sequence after which all events are held.
    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    /// Returns the cursor after the latest event.
    pub(super) fn end(&self) -> EventCursor {
        EventCursor(self.dropped + self.events.len() as u64)
    }

    /// Returns the cursor after the event of a sequence. `None` if later events were dropped, or if the sequence is
    /// above `latest`, which is the latest revision.
    pub(super) fn after(&self, sequence: u64, latest: u64) -> Option<EventCursor> {
        let known = (self.floor..=latest).contains(&sequence);
        let before = self.events.partition_point(|event| event.sequence <= sequence);
        known.then(|| EventCursor(self.dropped + before as u64))
    }

    /// Returns up to `most` events from a cursor on, the cursor after them, and the number of events that were dropped
    /// before they could be read.
    pub(super) fn read(&self, cursor: EventCursor, most: usize) -> (Vec<Arc<EventRecord>>, EventCursor, u64) {
        let missed = self.dropped.saturating_sub(cursor.0);
        let from = usize::try_from(cursor.0.saturating_sub(self.dropped)).unwrap_or(usize::MAX);
        let events: Vec<_> = self.events.iter().skip(from).take(most).cloned().collect();
        let next = EventCursor(cursor.0.max(self.dropped) + events.len() as u64);
        (events, next, missed)
    }

    /// Returns the held events of a session that came after a sequence.
    pub(super) fn of_session(&self, session: SessionKey, after: u64) -> impl Iterator<Item = &Arc<EventRecord>> {
        let before = self.events.partition_point(|event| event.sequence <= after);
        self.events.iter().skip(before).filter(move |event| event.concerns(session))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Event, EventInstance, InstanceName, ServiceName, Time};

    fn event(sequence: u64) -> Arc<EventRecord> {
        Arc::new(EventRecord {
            sequence,
            at: Time(0),
            instance: Some(EventInstance {
                owner: crate::domain::Owner::Session,
                session: SessionKey(sequence % 2),
                service: ServiceName::parse("shop").unwrap(),
                instance: InstanceName::parse("shop-1").unwrap(),
            }),
            event: Event::DrainCompleted,
        })
    }

    fn sequences(events: &[Arc<EventRecord>]) -> Vec<u64> {
        events.iter().map(|event| event.sequence).collect()
    }

    #[test]
    fn a_watcher_goes_on_behind_the_sequence_it_saw_last() {
        let mut history = History::since(10);
        [12, 15, 16].into_iter().for_each(|sequence| history.push(event(sequence)));
        let read = |after| history.after(after, 16).map(|cursor| sequences(&history.read(cursor, 9).0));
        assert_eq!(read(10), Some(vec![12, 15, 16]));
        assert_eq!((read(13), read(15), read(16)), (Some(vec![15, 16]), Some(vec![16]), Some(vec![])));
        assert_eq!((read(9), read(17)), (None, None), "before the server began, and what never was");
        assert_eq!(history.of_session(SessionKey(0), 12).count(), 1);
    }

    #[test]
    fn a_session_misses_nothing_when_events_of_others_are_dropped() {
        let mut history = History::since(10);
        let of = |sequence, session| {
            let record = event(sequence);
            let of = record.instance.clone().map(|of| EventInstance { session: SessionKey(session), ..of });
            Arc::new(EventRecord { instance: of, ..EventRecord::clone(&record) })
        };
        history.push(of(11, 1));
        (12..).take(HISTORY_MAX).for_each(|sequence| history.push(of(sequence, 2)));
        let latest = history.latest();
        assert_eq!((history.floor(), history.after(11, latest).is_some()), (11, true));
        history.push(of(latest + 1, 2));
        let latest = history.latest();
        assert!(history.after(11, latest).is_none() && history.holds_all_of(SessionKey(1), 11, latest));
        assert!(!history.holds_all_of(SessionKey(1), 10, latest), "its own was dropped");
        assert!(!history.holds_all_of(SessionKey(2), 11, latest) && history.holds_all_of(SessionKey(2), 12, latest));
        assert!(history.holds_all_of(SessionKey(3), 10, latest) && !history.holds_all_of(SessionKey(3), 9, latest));
        assert!(!history.holds_all_of(SessionKey(3), latest + 1, latest), "it never was");
    }

    #[test]
    fn a_slow_reader_learns_how_much_was_dropped() {
        let mut history = History::since(0);
        let cursor = history.end();
        let count = HISTORY_MAX as u64 + 3;
        (1..=count).for_each(|sequence| history.push(event(sequence)));
        let (events, next, missed) = history.read(cursor, 2);
        assert_eq!((sequences(&events), missed, history.floor()), (vec![4, 5], 3, 3));
        assert_eq!((history.read(next, 1).2, history.after(2, count)), (0, None));
        assert!(history.after(3, count).is_some());
    }
}
