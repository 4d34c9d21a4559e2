//! Moments that were kept by a clock that was wrong, or was set since.

use std::sync::Arc;

use crate::domain::{Change, Time};

/// The latest moment of the past that was kept.
pub(super) fn latest(changes: &[Change]) -> Time {
    let records =
        changes.iter().filter_map(|change| if let Change::Record(_, record) = change { Some(record) } else { None });
    records.map(|record| record.latest()).max().unwrap_or_default()
}

/// Moves all moments, for the clock that they were kept by was another.
pub(super) fn move_by(changes: &mut [Change], skew_ms: i64) {
    if skew_ms == 0 {
        return;
    }
    tracing::warn!(
        skew_ms,
        "the system clock was set since the last start, or the start before; moments are moved with it"
    );
    for change in changes {
        if let Change::Record(_, record) = change {
            *record = Arc::new(record.moved(skew_ms));
        }
    }
}
