//! The history of an instance: which of its revisions are kept, and the reason that a caller gives for a change.
//!
//! Each apply that changes something makes a revision. Its number is the instance's own: it goes on with the next
//! session of the instance, while the `revision` of a session begins anew. The revisions themselves are in the store.

use std::fmt;
use std::sync::Arc;

use super::{Error, InstanceName, ServiceName, SessionRecord, breaks_line};

/// The number of revisions that are kept of an instance.
pub const REVISIONS_MAX: u64 = 100;

/// The kept revisions of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryMark {
    /// The service.
    pub service: ServiceName,
    /// The instance.
    pub instance: InstanceName,
    /// The number of the history in the store. No other history ever has it.
    pub id: u64,
    /// The oldest revision that is kept.
    pub oldest: u64,
    /// The last revision.
    pub last: u64,
}

impl HistoryMark {
    /// Returns the mark of an instance's first revision.
    pub fn first(record: &SessionRecord, id: u64) -> Self {
        let (service, instance) = (record.service.clone(), record.instance.clone());
        Self { service, instance, id, oldest: 1, last: 1 }
    }

    /// Returns the mark after one more revision.
    #[must_use]
    pub fn next(&self) -> Self {
        let last = self.last + 1;
        let oldest = self.oldest.max((last + 1).saturating_sub(REVISIONS_MAX));
        Self { oldest, last, ..self.clone() }
    }

    /// Returns true if the revision `number` is kept.
    pub fn keeps(&self, number: u64) -> bool {
        (self.oldest..=self.last).contains(&number)
    }
}

/// The reason that a caller gives for a change: one line of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplyReason(Arc<str>);

impl ApplyReason {
    /// The maximum number of bytes.
    pub const BYTES_MAX: usize = 500;

    /// Reads a reason. Spaces around it are dropped.
    ///
    /// # Errors
    /// `Invalid` for an empty text, a text that is too long, and one with control characters or line breaks.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        if text.is_empty() || text.len() > Self::BYTES_MAX || text.contains(breaks_line) {
            let words = format!("must be one line of text, 1 to {} bytes", Self::BYTES_MAX);
            return Err(Error::invalid("reason", words));
        }
        Ok(Self(text.into()))
    }

    /// Takes words of the server's own as a reason, as many as it may have.
    pub fn cut(words: &str) -> Self {
        let end = words.floor_char_boundary(Self::BYTES_MAX);
        Self(words.get(..end).unwrap_or_default().replace(breaks_line, " ").into())
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ApplyReason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Time;

    #[test]
    fn the_last_hundred_revisions_are_kept() {
        let (service, instance) = (ServiceName::parse("shop").unwrap(), InstanceName::parse("shop-1").unwrap());
        let mut mark = HistoryMark::first(&SessionRecord::opened(service, instance, 1, Time(1)), 7);
        for number in 2..=250 {
            mark = mark.next();
            assert_eq!((mark.last, mark.id), (number, 7));
            assert_eq!(mark.last - mark.oldest + 1, number.min(REVISIONS_MAX));
        }
        assert!(mark.keeps(151) && mark.keeps(250) && !mark.keeps(150) && !mark.keeps(251));
    }

    #[test]
    fn a_reason_is_one_bounded_line() {
        assert_eq!(ApplyReason::parse(" new menu ").unwrap().as_str(), "new menu");
        assert!(ApplyReason::parse(&"ä".repeat(250)).is_ok());
        for wrong in ["", "  ", "a\nb", "a\u{85}b", "a\u{2028}b", "a\u{2029}b", &"ä".repeat(251)] {
            assert!(ApplyReason::parse(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(ApplyReason::cut("a\u{2028}b\nc").as_str(), "a b c");
    }
}
