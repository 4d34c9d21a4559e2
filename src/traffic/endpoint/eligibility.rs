//! The eligibility of a pool's member: the share of the requests that it may get, or the reason why it gets none.
//!
//! Drain, slow start, maintenance, health and breaker of one member are combined here; the balancer selects among the
//! members. Invariants: only a drained member has no weight.

use crate::domain::{Drain, Time};

use crate::traffic::health::{HealthState, SLOW_START};

/// The part of its normal share that a member gets during drain and slow start, in 65,536ths. Never 0: a member without
/// weight is [`Eligibility::Drained`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight(u32);

impl Weight {
    /// The whole share.
    pub const FULL: Weight = Weight(1 << 16);

    /// Returns the weight that drain and slow start leave at `now`; `None` when the drain is over.
    ///
    /// The drain falls from the whole share to nothing in a straight line (protocol §6), the slow start rises from a tenth
    /// to the whole.
    pub fn at(drain: Option<Drain>, healthy_since: Option<Time>, now: Time) -> Option<Self> {
        let drained = drain.map_or(Self::FULL.0, |drain| remains(drain, now));
        let started = healthy_since.map_or(Self::FULL.0, |since| slow_start(since, now));
        (drained > 0).then(|| Self((drained * (started / 2) / (Self::FULL.0 / 2)).max(1)))
    }

    /// Returns the weight in 65,536ths, at least 1.
    pub const fn parts(self) -> u32 {
        self.0
    }

    /// Returns true if a request with these random bits belongs to the member's share.
    pub(crate) const fn covers(self, bits: u64) -> bool {
        bits & 0xffff < self.0 as u64
    }
}

/// Returns the part that a drain leaves, in 65,536ths; at least 1 until the drain is over.
fn remains(drain: Drain, now: Time) -> u32 {
    let left = drain.ends().since(now).millis().min(drain.span.millis());
    scaled(left, drain.span.millis()).max(u32::from(left > 0))
}

fn slow_start(since: Time, now: Time) -> u32 {
    let tenth = Weight::FULL.0 / 10;
    let gone = now.since(since).millis().min(SLOW_START.millis());
    let whole = u64::from(Weight::FULL.0 - tenth);
    tenth + u32::try_from(whole * gone / SLOW_START.millis()).unwrap_or(Weight::FULL.0 - tenth)
}

/// Returns `part` of `whole` in 65,536ths. A span is a year at most, so nothing overflows.
#[expect(clippy::cast_possible_truncation, reason = "a part is no more than the whole")]
fn scaled(part: u64, whole: u64) -> u32 {
    part.saturating_mul(u64::from(Weight::FULL.0)).checked_div(whole).unwrap_or(0) as u32
}

/// The state of a member at the moment of a request.
#[derive(Clone, Copy, Debug)]
pub struct MemberState {
    /// True if its route is in maintenance.
    pub maintenance: bool,
    /// The drain of its session.
    pub drain: Option<Drain>,
    /// Its health, from [`crate::traffic::EndpointHealth::state`].
    pub health: HealthState,
    /// True if it gets no requests while it is unhealthy, from [`crate::traffic::CheckKind::excludes_unhealthy`].
    pub excludes_unhealthy: bool,
    /// The result of [`crate::traffic::EndpointBreaker::refused_until`]; `None` without a breaker.
    pub refused_until: Option<Time>,
}

/// The ability of a member to take a request: its weight, or the reason why it takes none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eligibility {
    /// It can take requests.
    Ready(Weight),
    /// None of its checks has finished yet: it gets requests only while no member is ready.
    Unchecked(Weight),
    /// It fails the default check, or connects to it fail: it gets requests only while no other member can.
    Degraded(Weight),
    /// It is in maintenance.
    Maintenance,
    /// Its drain is over.
    Drained,
    /// It fails a check that was set with `HEALTH_SET`.
    Unhealthy,
    /// Its breaker is open, or half open with all trials in flight.
    BreakerOpen {
        /// The time when the breaker may let a request through.
        retry_at: Time,
    },
}

impl MemberState {
    /// Returns the eligibility at `now`. Of several reasons against it, the most lasting one.
    pub fn eligibility(&self, now: Time) -> Eligibility {
        if self.maintenance {
            return Eligibility::Maintenance;
        }
        let since = match self.health {
            HealthState::Healthy { since } => since,
            HealthState::Unchecked | HealthState::Unhealthy => None,
        };
        let Some(weight) = Weight::at(self.drain, since, now) else { return Eligibility::Drained };
        match (self.health, self.refused_until) {
            (HealthState::Unhealthy, _) if self.excludes_unhealthy => Eligibility::Unhealthy,
            (_, Some(retry_at)) => Eligibility::BreakerOpen { retry_at },
            (HealthState::Unhealthy, None) => Eligibility::Degraded(weight),
            (HealthState::Unchecked, None) => Eligibility::Unchecked(weight),
            (HealthState::Healthy { .. }, None) => Eligibility::Ready(weight),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::Span;

    const WELL: MemberState = MemberState {
        maintenance: false,
        drain: None,
        health: HealthState::Healthy { since: None },
        excludes_unhealthy: false,
        refused_until: None,
    };

    fn percent(weight: Option<Weight>) -> f64 {
        f64::from(weight.map_or(0, Weight::parts)) / f64::from(Weight::FULL.parts()) * 100.0
    }

    #[test]
    fn a_member_that_became_healthy_starts_with_a_tenth() {
        let at = |now| percent(Weight::at(None, Some(Time(1_000)), Time(now)));
        for (now, expected) in [(0, 10.0), (1_000, 10.0), (6_000, 55.0), (11_000, 100.0), (u64::MAX, 100.0)] {
            assert!((at(now) - expected).abs() < 0.01, "{} at {now}", at(now));
        }
    }

    #[test]
    fn drain_and_slow_start_multiply() {
        let drain = Some(Drain { started: Time(0), span: Span::from_secs(10), by_operator: false });
        assert!((percent(Weight::at(drain, Some(Time(0)), Time(5_000))) - 27.5).abs() < 0.01);
    }

    proptest! {
        #[test]
        fn a_drains_weight_is_its_percentage(
            started in 0..2_000_000_000_000_u64, span in 1..=Span::MAX.millis(), share in 0..1_500_u64,
        ) {
            let drain = Drain { started: Time(started), span: Span::from_millis(span), by_operator: false };
            let now = Time(started + span / 1_000 * share);
            let weight = Weight::at(Some(drain), None, now);
            let left = drain.remaining(now).secs_f64() / drain.span.secs_f64() * 100.0;
            prop_assert!((percent(weight) - left).abs() < 0.01);
            prop_assert_eq!(weight.is_none(), now >= drain.ends());
        }
    }

    #[test]
    fn of_several_reasons_the_most_lasting_one_is_given() {
        let over = Some(Drain { started: Time(0), span: Span::from_millis(1), by_operator: false });
        let open = WELL.refused_until.or(Some(Time(70)));
        let all = MemberState {
            maintenance: true,
            drain: over,
            health: HealthState::Unhealthy,
            excludes_unhealthy: true,
            refused_until: open,
        };
        let steps = [
            (all, Eligibility::Maintenance),
            (MemberState { maintenance: false, ..all }, Eligibility::Drained),
            (MemberState { maintenance: false, drain: None, ..all }, Eligibility::Unhealthy),
            (
                MemberState { health: HealthState::Unhealthy, refused_until: open, ..WELL },
                Eligibility::BreakerOpen { retry_at: Time(70) },
            ),
            (MemberState { health: HealthState::Unhealthy, ..WELL }, Eligibility::Degraded(Weight::FULL)),
            (MemberState { health: HealthState::Unchecked, ..WELL }, Eligibility::Unchecked(Weight::FULL)),
            (
                MemberState { health: HealthState::Unchecked, excludes_unhealthy: true, ..WELL },
                Eligibility::Unchecked(Weight::FULL),
            ),
            (WELL, Eligibility::Ready(Weight::FULL)),
        ];
        for (candidate, standing) in steps {
            assert_eq!(candidate.eligibility(Time(10)), standing);
        }
    }
}
