//! Converts revisions into messages.

use crate::grpc::proto;
use crate::registry::audit::Actor;
use crate::registry::commands::ConfirmationView;
use crate::registry::queries::revisions::RevisionDetailView;
use crate::registry::revisions::{RevisionCounts, RevisionView};

use super::{count, timestamp};

impl From<RevisionView> for proto::Revision {
    fn from(view: RevisionView) -> Self {
        let RevisionView {
            number,
            revision,
            at,
            action,
            actor: Actor { kind, name },
            interface,
            address,
            reason,
            reverted_to,
            changes,
        } = view;
        Self {
            number,
            revision,
            at: Some(timestamp(at)),
            action: action.name().to_owned(),
            actor: Some(proto::Actor { kind: kind.name().to_owned(), name }),
            interface: interface.name().to_owned(),
            address: address.map(|address| address.to_string()),
            reason,
            reverted_to,
            changes: Some(changes.into()),
        }
    }
}

impl From<ConfirmationView> for proto::Confirmation {
    fn from(view: ConfirmationView) -> Self {
        let ConfirmationView { id, number, reverts_to, until, guard } = view;
        Self { id, number, reverts_to, until: Some(timestamp(until)), guard }
    }
}

impl From<RevisionCounts> for proto::RevisionCounts {
    fn from(counts: RevisionCounts) -> Self {
        let RevisionCounts {
            routes_added,
            routes_changed,
            routes_removed,
            headers_changed,
            options_changed,
            health_checks_changed,
            rate_limits_changed,
            circuit_breakers_changed,
        } = counts;
        Self {
            routes_added,
            routes_changed,
            routes_removed,
            headers_changed,
            options_changed,
            health_checks_changed,
            rate_limits_changed,
            circuit_breakers_changed,
        }
    }
}

impl From<RevisionDetailView> for proto::RevisionDetail {
    fn from(view: RevisionDetailView) -> Self {
        let RevisionDetailView { revision, config, against, diff_total, diff } = view;
        let (diff_total, diff) = (count(diff_total), diff.into_iter().map(Into::into).collect());
        Self { revision: Some(revision.into()), config: Some(config.into()), against, diff_total, diff }
    }
}
