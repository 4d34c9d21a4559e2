//! Log lines for the records of the audit, and warnings of sessions that are about to expire.
//!
//! A flood of either must not push other lines out of the log, so that the number of lines in a second is bounded, for each on its own. The audit
//! itself has all records; of warnings that were left out the log tells the number and the services. Invariant: text of callers is logged
//! as the value of a field, which the log escapes.

use std::collections::BTreeSet;

use crate::domain::{Catalog, InstanceName, ServiceName, SessionKey, Span, Time};

use crate::registry::audit::{AuditAction, AuditDetails, AuditRecord};

/// The largest number of lines of each kind in a second.
const LINES_PER_SECOND_MAX: u32 = 200;
/// The most services that the line about warnings names which were left out.
const SERVICES_MAX: usize = 20;
const SECOND: Span = Span::from_secs(1);

/// The lines of the present second.
#[derive(Debug, Default)]
pub(super) struct AuditLog {
    changes: LineRoom,
    warnings: LineRoom,
    /// The first services whose warnings were left out, in the order of their names.
    unwarned: BTreeSet<ServiceName>,
}

/// The room for lines of one kind in the present second.
#[derive(Debug, Default)]
struct LineRoom {
    since: Time,
    lines: u32,
    /// The number of lines that were left out.
    skipped: u64,
}

impl AuditLog {
    /// Logs records that are stored.
    pub(super) fn tell(&mut self, records: &[AuditRecord], now: Time) {
        for record in records {
            self.begin_second(now);
            if self.changes.take() {
                log(record);
            }
        }
    }

    /// Warns that a session ends at `ends` unless its client comes back.
    pub(super) fn warn(&mut self, catalog: &Catalog, key: SessionKey, ends: Time, now: Time) {
        let Some(session) = catalog.by_key(key) else { return };
        let service = &session.record.service;
        if !self.has_room_for_warning(service, now) {
            return;
        }
        let seconds = ends.since(now).millis().div_ceil(1000);
        let routes = session.active.routes.len();
        tracing::warn!(
            service = service.as_str(),
            instance = session.record.instance.as_str(),
            "the session expires in {seconds} s unless it reconnects; its {routes} routes go with it"
        );
    }

    /// Logs what was left out, once its second is over.
    pub(super) fn catch_up(&mut self, now: Time) {
        if let Some(skipped) = self.changes.settle(now) {
            tracing::warn!(skipped, "more changes than the log takes; the audit has them all (GET /v1/audit)");
        }
        if let Some(sessions) = self.warnings.settle(now) {
            let services = std::mem::take(&mut self.unwarned);
            tracing::warn!(
                sessions,
                services = listed(&services),
                "more sessions expire within a minute than the log names; GET /v1/instances tells when (expires_at)"
            );
        }
    }

    fn has_room_for_warning(&mut self, service: &ServiceName, now: Time) -> bool {
        self.begin_second(now);
        let has_room = self.warnings.take();
        // One more than is named shows that there are more.
        if !has_room && self.unwarned.len() <= SERVICES_MAX {
            self.unwarned.insert(service.clone());
        }
        has_room
    }

    fn begin_second(&mut self, now: Time) {
        self.catch_up(now);
        self.changes.begin_second(now);
        self.warnings.begin_second(now);
    }
}

impl LineRoom {
    /// Returns the number of lines that were left out, once their second is over; `None` for none.
    fn settle(&mut self, now: Time) -> Option<u64> {
        let is_due = self.skipped > 0 && now >= self.since.after(SECOND);
        is_due.then(|| std::mem::take(&mut self.skipped))
    }

    fn begin_second(&mut self, now: Time) {
        if now >= self.since.after(SECOND) {
            (self.since, self.lines) = (now, 0);
        }
    }

    /// Takes a line of the present second. Returns false if there is none left.
    fn take(&mut self) -> bool {
        let has_room = self.lines < LINES_PER_SECOND_MAX;
        if has_room {
            self.lines += 1;
        } else {
            self.skipped += 1;
        }
        has_room
    }
}

fn listed(services: &BTreeSet<ServiceName>) -> String {
    let shown: Vec<&str> = services.iter().take(SERVICES_MAX).map(ServiceName::as_str).collect();
    shown.join(", ") + if services.len() > SERVICES_MAX { ", …" } else { "" }
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
        let mut room = LineRoom::default();
        let mut rooms = |now| {
            let settled = room.settle(Time(now));
            room.begin_second(Time(now));
            ((0..300).filter(|_| room.take()).count(), settled)
        };
        assert_eq!(rooms(5_000), (200, None));
        assert_eq!(rooms(5_999), (0, None), "the second is not over");
        assert_eq!(rooms(6_000), (200, Some(400)));
        assert_eq!(rooms(7_000), (200, Some(100)));
    }

    #[test]
    fn changes_leave_room_for_warnings_and_those_left_out_are_told_with_their_services() {
        let mut log = AuditLog::default();
        log.begin_second(Time(5_000));
        assert_eq!((0..300).filter(|_| log.changes.take()).count(), 200);
        let service = |number: usize| ServiceName::parse(&format!("shop-{number:03}")).unwrap();
        let warned = (0..300).filter(|number| log.has_room_for_warning(&service(*number), Time(5_001))).count();
        assert_eq!((warned, log.warnings.skipped), (200, 100));
        assert_eq!(log.unwarned.len(), SERVICES_MAX + 1, "the services have a bound");
        let told = listed(&log.unwarned);
        assert!(told.starts_with("shop-200, shop-201, ") && told.ends_with("shop-219, …"), "{told}");
        log.catch_up(Time(6_001));
        assert!(log.warnings.skipped == 0 && log.unwarned.is_empty());
    }
}
