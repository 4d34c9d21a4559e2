//! How much of a pool's traffic a member may get, and why it may get none.
//!
//! Drain, slow start, maintenance, health and breaker of one member are laid over each other here; who among the members
//! gets a request is [`super::choose`]'s to say. What must hold: only a drained member weighs nothing.

use crate::domain::{Drain, Span, Time};

use super::health::Condition;

/// The time that a member that became healthy takes to get its whole share again.
pub const SLOW_START: Span = Span::from_secs(10);

/// A member's share of what it would get without drain and slow start, in 65,536ths. Never nothing: such a member is [`Standing::Drained`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight(u32);

impl Weight {
    /// The whole of it.
    pub const FULL: Weight = Weight(1 << 16);

    /// What drain and slow start leave at `now`; `None` when the drain is over.
    ///
    /// The drain goes from all to nothing in a straight line (protocol §6), the slow start from a tenth to all.
    pub fn at(drain: Option<Drain>, well_since: Option<Time>, now: Time) -> Option<Self> {
        let drained = drain.map_or(Self::FULL.0, |drain| remains(drain, now));
        let started = well_since.map_or(Self::FULL.0, |since| slow_start(since, now));
        (drained > 0).then(|| Self((drained * (started / 2) / (Self::FULL.0 / 2)).max(1)))
    }

    /// In 65,536ths, from 1.
    pub const fn parts(self) -> u32 {
        self.0
    }

    /// True if a request for which these random bits were drawn is among the member's share.
    pub(super) const fn covers(self, bits: u64) -> bool {
        bits & 0xffff < self.0 as u64
    }
}

/// At least 1 until the drain is over.
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

/// `part` of `whole` in 65,536ths; a span is at most a year, so nothing overflows.
#[expect(clippy::cast_possible_truncation, reason = "a part is no more than the whole")]
fn scaled(part: u64, whole: u64) -> u32 {
    part.saturating_mul(u64::from(Weight::FULL.0)).checked_div(whole).unwrap_or(0) as u32
}

/// What is known of a member when a request comes.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Its route is in maintenance.
    pub maintenance: bool,
    /// Its session's drain.
    pub drain: Option<Drain>,
    /// From [`super::Health::condition`].
    pub condition: Condition,
    /// From [`super::Check::gates`]: whether being ill forbids it requests.
    pub gates: bool,
    /// From [`super::Breaker::refused_until`]; `None` without a breaker.
    pub refused_until: Option<Time>,
}

/// True if a member can take a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It can.
    Ready(Weight),
    /// No check of it has ended yet: only while no other is ready.
    New(Weight),
    /// It is ill by the default check: only while no other can.
    Poorly(Weight),
    /// It is in maintenance.
    Maintenance,
    /// Its drain is over.
    Drained,
    /// It is ill by an explicit check.
    Unhealthy,
    /// Its breaker is open, or half open with all trials under way.
    BreakerOpen {
        /// When it is worth asking again.
        retry_at: Time,
    },
}

impl Candidate {
    /// True if it can take a request at `now`. Of several reasons why not, the one that lasts.
    pub fn standing(&self, now: Time) -> Standing {
        if self.maintenance {
            return Standing::Maintenance;
        }
        let since = match self.condition {
            Condition::Well { since } => since,
            Condition::New | Condition::Ill => None,
        };
        let Some(weight) = Weight::at(self.drain, since, now) else { return Standing::Drained };
        match (self.condition, self.refused_until) {
            (Condition::Ill, _) if self.gates => Standing::Unhealthy,
            (_, Some(retry_at)) => Standing::BreakerOpen { retry_at },
            (Condition::Ill, None) => Standing::Poorly(weight),
            (Condition::New, None) => Standing::New(weight),
            (Condition::Well { .. }, None) => Standing::Ready(weight),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WELL: Candidate = Candidate {
        maintenance: false,
        drain: None,
        condition: Condition::Well { since: None },
        gates: false,
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
    fn drain_and_slow_start_are_laid_over_each_other() {
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
    fn of_several_reasons_the_one_that_lasts_is_told() {
        let over = Some(Drain { started: Time(0), span: Span::from_millis(1), by_operator: false });
        let open = WELL.refused_until.or(Some(Time(70)));
        let all =
            Candidate { maintenance: true, drain: over, condition: Condition::Ill, gates: true, refused_until: open };
        let steps = [
            (all, Standing::Maintenance),
            (Candidate { maintenance: false, ..all }, Standing::Drained),
            (Candidate { maintenance: false, drain: None, ..all }, Standing::Unhealthy),
            (
                Candidate { condition: Condition::Ill, refused_until: open, ..WELL },
                Standing::BreakerOpen { retry_at: Time(70) },
            ),
            (Candidate { condition: Condition::Ill, ..WELL }, Standing::Poorly(Weight::FULL)),
            (Candidate { condition: Condition::New, ..WELL }, Standing::New(Weight::FULL)),
            (Candidate { condition: Condition::New, gates: true, ..WELL }, Standing::New(Weight::FULL)),
            (WELL, Standing::Ready(Weight::FULL)),
        ];
        for (candidate, standing) in steps {
            assert_eq!(candidate.standing(Time(10)), standing);
        }
    }
}
