//! Log lines for the records of the audit, and warnings of sessions that are about to expire.
//!
//! A flood of changes must not push other lines out of the log, so that the number of lines in a second is bounded; the
//! audit itself has all records. Invariant: text of callers is logged as the value of a field, which the log escapes.

use crate::domain::{Catalog, InstanceName, ServiceName, SessionKey, Span, Time};

use crate::registry::audit::{AuditAction, AuditDetails, AuditRecord};

/// The largest number of lines in a second.
const LINES_PER_SECOND_MAX: u32 = 200;
const SECOND: Span = Span::from_secs(1);

/// The lines of the present second.
#[derive(Debug, Default)]
pub(super) struct AuditLog {
    since: Time,
    lines: u32,
    /// The number of changes that were not logged.
    skipped: u64,
}

impl AuditLog {
    /// Logs records that are stored.
    pub(super) fn tell(&mut self, records: &[AuditRecord], now: Time) {
        for record in records {
            if self.has_room(now) {
                log(record);
            }
        }
    }

    /// Warns that a session ends at `ends` unless its client comes back.
    pub(super) fn warn(&mut self, catalog: &Catalog, key: SessionKey, ends: Time, now: Time) {
        let Some(session) = catalog.by_key(key) else { return };
        if !self.has_room(now) {
            return;
        }
        let (service, instance) = (session.record.service.as_str(), session.record.instance.as_str());
        let seconds = ends.since(now).millis().div_ceil(1000);
        let routes = session.active.routes.len();
        tracing::warn!(
            service,
            instance,
            "the session expires in {seconds} s unless it reconnects; its {routes} routes go with it"
        );
    }

    /// Logs the number of changes that were not logged, once their second is over.
    pub(super) fn catch_up(&mut self, now: Time) {
        if self.skipped > 0 && now >= self.since.after(SECOND) {
            let skipped = std::mem::take(&mut self.skipped);
            tracing::warn!(skipped, "more changes than the log takes; the audit has them all (GET /v1/audit)");
        }
    }

    /// Takes a line of the present second. Returns false if there is none left.
    fn has_room(&mut self, now: Time) -> bool {
        if now >= self.since.after(SECOND) {
            self.catch_up(now);
            (self.since, self.lines) = (now, 0);
        }
        let has_room = self.lines < LINES_PER_SECOND_MAX;
        if has_room {
            self.lines += 1;
        } else {
            self.skipped += 1;
        }
        has_room
    }
}

fn log(record: &AuditRecord) {
    let AuditRecord { sequence, action, service_name, instance_name, actor, interface, address, revision, .. } = record;
    let AuditDetails { routes_added, routes_changed, routes_removed, headers_changed, options_changed, .. } =
        &record.details;
    let AuditDetails { health_checks_changed, rate_limits_changed, circuit_breakers_changed, .. } = &record.details;
    let AuditDetails {
        routes_replaced,
        number,
        reverted_to,
        routes,
        target,
        until,
        reason,
        keys,
        token_name,
        lease,
        version,
        owner,
        ..
    } = &record.details;
    tracing::info!(
        action = action.name(),
        service = service_name.as_ref().map(ServiceName::as_str),
        instance = instance_name.as_ref().map(InstanceName::as_str),
        actor_kind = actor.kind.name(),
        actor = actor.name.as_str(),
        interface = interface.name(),
        address = address.map(tracing::field::display),
        revision,
        routes_added,
        routes_changed,
        routes_removed,
        headers_changed,
        options_changed,
        health_checks_changed,
        rate_limits_changed,
        circuit_breakers_changed,
        routes_replaced,
        number,
        reverted_to,
        routes,
        target = target.as_deref(),
        until = until.map(tracing::field::display),
        reason = reason.as_deref(),
        keys = keys.as_deref(),
        token_name = token_name.as_deref(),
        lease = lease.as_deref(),
        version = version.as_deref(),
        owner = owner.as_deref(),
        audit = sequence,
        "{}",
        words(*action)
    );
}

/// Returns the message of an action.
fn words(action: AuditAction) -> &'static str {
    match action {
        AuditAction::Registered => "session registered",
        AuditAction::Reconnected => "session reconnected",
        AuditAction::Disconnected => "session lost its connection",
        AuditAction::Replaced => "session replaced by a new registration of its instance",
        AuditAction::Expired => "session expired",
        AuditAction::Ended => "session ended by its client",
        AuditAction::Evicted => "session evicted by an operator",
        AuditAction::Removed => "instance removed by its owner",
        AuditAction::Applied => "configuration applied",
        AuditAction::Reverted => "an earlier configuration was restored",
        AuditAction::Confirmed => "configuration confirmed",
        AuditAction::RolledBack => "staged changes rolled back",
        AuditAction::StagedExpired => "staged changes dropped because of their age",
        AuditAction::DrainStarted => "drain started",
        AuditAction::DrainCompleted => "drain completed",
        AuditAction::DrainCancelled => "drain cancelled",
        AuditAction::MaintenanceEntered => "routes entered maintenance",
        AuditAction::MaintenanceVerified => "the maintenance page answers",
        AuditAction::MaintenanceLeaving => "routes are to leave maintenance once their backends answer",
        AuditAction::MaintenanceLeft => "routes left maintenance",
        AuditAction::MaintenanceFailed => "maintenance request failed",
        AuditAction::BreakerReset => "circuit breaker reset",
        AuditAction::ConfigReloaded => "the configuration was reloaded",
        AuditAction::BackupMade => "a backup of the store was made",
        AuditAction::StoreRestored => "the store was restored from a backup",
        AuditAction::ServerStarted => "server started",
        AuditAction::ServerStopped => "server stopped",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_a_bounded_number_of_lines_and_the_next_one_has_them_again() {
        let mut log = AuditLog::default();
        let rooms = |log: &mut AuditLog, now| (0..300).filter(|_| log.has_room(Time(now))).count();
        assert_eq!((rooms(&mut log, 5_000), log.skipped), (200, 100));
        log.catch_up(Time(5_999));
        assert_eq!(log.skipped, 100, "the second is not over");
        assert_eq!((rooms(&mut log, 6_000), log.skipped), (200, 100));
        log.catch_up(Time(7_000));
        assert_eq!(log.skipped, 0);
    }
}
