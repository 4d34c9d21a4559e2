//! Corrects stored times when the system clock was wrong or has been set since.

use std::sync::Arc;

use crate::domain::{Change, Confirmation, Time};

/// Returns the latest stored time of the past.
pub(super) fn latest(changes: &[Change]) -> Time {
    let records =
        changes.iter().filter_map(|change| if let Change::Record(_, record) = change { Some(record) } else { None });
    records.map(|record| record.latest()).max().unwrap_or_default()
}

/// Moves all stored times by the difference between the clocks of the last start and of this one.
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
        if let Change::AwaitConfirmation(_, confirmation) = change {
            let until = Time(confirmation.until.0.saturating_add_signed(skew_ms));
            *confirmation = Arc::new(Confirmation { until, ..Confirmation::clone(confirmation) });
        }
    }
}
