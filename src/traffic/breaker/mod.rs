//! A circuit breaker: leaves an endpoint alone that keeps failing, and tries it again with a few requests.
//!
//! What a failure is, the caller says (no connection, timeout, reset, 5xx). The whole state is one atomic word and every
//! step a pure function from word to word, so workers share it without a lock, and a closed breaker without failures is only
//! ever read. Not kept over a restart. What must hold: never more than `half_open_requests` trials under way, those
//! aside that take longer than the timeout; what was admitted before the breaker last opened or was reset changes nothing afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::{Breaker as BreakerSettings, BreakerState, Span, Time};

/// Shared by all workers and by all applies that leave its settings as they are.
#[derive(Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    word: AtomicU64,
    // Milliseconds since the epoch; 0 for never.
    last_failure: AtomicU64,
    // When a trial was last let through, in milliseconds. Told before it is, so that it is never thought slow too early.
    last_trial: AtomicU64,
}

/// Leave to send one request. Must be given back through [`Breaker::record`], whatever comes of the request: a
/// trial holds its place until then, but no longer than the timeout.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "an outcome must be recorded for it, `Abandoned` at least"]
pub struct BreakerPermit {
    era: u32,
    trial: bool,
}

/// True if a request may be sent.
#[derive(Debug, PartialEq, Eq)]
pub enum BreakerDecision {
    /// It may.
    Pass(BreakerPermit),
    /// It may, and much depends on how it ends.
    Trial {
        /// To be given back.
        permit: BreakerPermit,
        /// `HalfOpened` for the first trial after the timeout.
        transition: Option<BreakerTransition>,
    },
    /// It may not.
    Refused {
        /// When it is worth asking again: the end of the timeout, or in a second when all trials are under way.
        retry_at: Time,
    },
}

/// How a request ended, as far as the breaker cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerOutcome {
    /// The endpoint answered, below 500.
    Success,
    /// No connection, timeout, reset, or 5xx (protocol §6).
    Failure,
    /// Neither: the client went away, or the request was never sent.
    Abandoned,
}

/// A change of state, for events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerTransition {
    /// It failed too often, or a trial failed.
    Opened,
    /// The timeout is over and the first trial under way.
    HalfOpened,
    /// Every trial succeeded, or it was reset.
    Closed,
}

impl BreakerTransition {
    /// The state after it.
    pub const fn state(self) -> BreakerState {
        match self {
            BreakerTransition::Opened => BreakerState::Open,
            BreakerTransition::HalfOpened => BreakerState::HalfOpen,
            BreakerTransition::Closed => BreakerState::Closed,
        }
    }
}

/// What `CIRCUIT_BREAKER_STATUS` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerStatus {
    /// Its state.
    pub state: BreakerState,
    /// Consecutive failures; the threshold while it is not closed.
    pub failures: u32,
    /// Trials that succeeded since it half-opened; 0 in the other states.
    pub successes: u32,
    /// When a failure was last recorded that counted.
    pub last_failure: Option<Time>,
    /// While open: from when on a request is let through as a trial.
    pub next_attempt: Option<Time>,
}

impl Breaker {
    /// A closed one.
    pub const fn new(settings: BreakerSettings) -> Self {
        Self { settings, word: AtomicU64::new(0), last_failure: AtomicU64::new(0), last_trial: AtomicU64::new(0) }
    }

    /// The old one where its settings stay the same, else a new one, closed.
    pub fn reconfigure(old: Option<&Arc<Self>>, settings: BreakerSettings) -> Arc<Self> {
        match old {
            Some(old) if old.settings == settings => Arc::clone(old),
            _ => Arc::new(Self::new(settings)),
        }
    }

    /// What it was made with.
    pub const fn settings(&self) -> BreakerSettings {
        self.settings
    }

    /// Asks for leave to send a request.
    pub fn acquire(&self, now: Time) -> BreakerDecision {
        let mut transition = None;
        let changed = self.change(|mut word| {
            transition = None;
            match &mut word.phase {
                BreakerPhase::Open { until } if now >= *until => {
                    word.phase = BreakerPhase::HalfOpen { trials: 1, successes: 0 };
                    transition = Some(BreakerTransition::HalfOpened);
                }
                BreakerPhase::HalfOpen { trials, successes }
                    if *trials + *successes < self.settings.half_open_requests =>
                {
                    *trials += 1;
                }
                // Those under way give up their places, and what comes of them counts no more.
                BreakerPhase::HalfOpen { successes, .. } if self.trials_are_slow(now) => {
                    let successes = *successes;
                    word = word.next_era(BreakerPhase::HalfOpen { trials: 1, successes });
                }
                BreakerPhase::Closed { .. } | BreakerPhase::Open { .. } | BreakerPhase::HalfOpen { .. } => return None,
            }
            self.last_trial.fetch_max(now.0, Ordering::AcqRel);
            Some(word)
        });
        match changed {
            Ok(word) => BreakerDecision::Trial { permit: BreakerPermit { era: word.era, trial: true }, transition },
            Err(BreakerWord { era, phase: BreakerPhase::Closed { .. } }) => {
                BreakerDecision::Pass(BreakerPermit { era, trial: false })
            }
            Err(word) => BreakerDecision::Refused { retry_at: word.phase.retry_at(now) },
        }
    }

    /// Takes a permit back, with how its request ended.
    #[expect(clippy::needless_pass_by_value, reason = "a permit is good for one request")]
    pub fn record(&self, permit: BreakerPermit, outcome: BreakerOutcome, now: Time) -> Option<BreakerTransition> {
        let mut transition = None;
        let mut counted = false;
        let _ = self.change(|word| {
            (transition, counted) = (None, word.era == permit.era);
            let next = if counted { self.judged(word, permit.trial, outcome, now)? } else { return None };
            transition = word.phase.transition_to(next.phase);
            Some(next)
        });
        if counted && outcome == BreakerOutcome::Failure {
            self.last_failure.fetch_max(now.0, Ordering::Relaxed);
        }
        transition
    }

    /// When asking is worth it, if [`Self::acquire`] would refuse now; `None` if it would not. Changes nothing.
    pub fn refused_until(&self, now: Time) -> Option<Time> {
        let word = BreakerWord::unpack(self.word.load(Ordering::Acquire));
        let refuses = match word.phase {
            BreakerPhase::Closed { .. } => false,
            BreakerPhase::Open { until } => now < until,
            BreakerPhase::HalfOpen { trials, successes } => {
                trials + successes >= self.settings.half_open_requests && !self.trials_are_slow(now)
            }
        };
        refuses.then(|| word.phase.retry_at(now))
    }

    /// True if every trial under way has taken as long as the timeout.
    fn trials_are_slow(&self, now: Time) -> bool {
        now >= Time(self.last_trial.load(Ordering::Acquire)).after(self.settings.timeout)
    }

    /// True if [`Self::acquire`] would let a request through now. Changes nothing.
    pub fn would_allow(&self, now: Time) -> bool {
        self.refused_until(now).is_none()
    }

    /// How it stands. An open one whose timeout is over stays `Open` until a request comes to try.
    pub fn status(&self) -> BreakerStatus {
        let last = self.last_failure.load(Ordering::Relaxed);
        let (state, failures, successes, next_attempt) =
            match BreakerWord::unpack(self.word.load(Ordering::Acquire)).phase {
                BreakerPhase::Closed { failures } => (BreakerState::Closed, failures, 0, None),
                BreakerPhase::Open { until } => (BreakerState::Open, self.settings.threshold, 0, Some(until)),
                BreakerPhase::HalfOpen { successes, .. } => {
                    (BreakerState::HalfOpen, self.settings.threshold, successes, None)
                }
            };
        BreakerStatus { state, failures, successes, last_failure: (last > 0).then_some(Time(last)), next_attempt }
    }

    /// Closes it, forgetting what is under way. `None` if it was closed already.
    pub fn reset(&self) -> Option<BreakerTransition> {
        let mut transition = None;
        let _ = self.change(|word| {
            let closed = BreakerPhase::Closed { failures: 0 };
            transition = word.phase.transition_to(closed);
            Some(word.next_era(closed))
        });
        self.last_failure.store(0, Ordering::Relaxed);
        transition
    }

    /// The state after a request of this era; `None` where nothing changes.
    fn judged(&self, word: BreakerWord, trial: bool, outcome: BreakerOutcome, now: Time) -> Option<BreakerWord> {
        let opened = word.next_era(BreakerPhase::Open { until: whole(now.after(self.settings.timeout)) });
        let phase = match (word.phase, outcome) {
            (BreakerPhase::Closed { failures }, BreakerOutcome::Failure) if failures + 1 >= self.settings.threshold => {
                return Some(opened);
            }
            (BreakerPhase::Closed { failures }, BreakerOutcome::Failure) => {
                BreakerPhase::Closed { failures: failures + 1 }
            }
            (BreakerPhase::Closed { failures: 1.. }, BreakerOutcome::Success) => BreakerPhase::Closed { failures: 0 },
            // Only trials are of a half-open era; were it not so, nothing may come of it.
            (BreakerPhase::HalfOpen { .. }, _) if !trial => return None,
            (BreakerPhase::HalfOpen { .. }, BreakerOutcome::Failure) => return Some(opened),
            (BreakerPhase::HalfOpen { successes, .. }, BreakerOutcome::Success)
                if successes + 1 >= self.settings.half_open_requests =>
            {
                BreakerPhase::Closed { failures: 0 }
            }
            (BreakerPhase::HalfOpen { trials, successes }, BreakerOutcome::Success) => {
                BreakerPhase::HalfOpen { trials: trials.saturating_sub(1), successes: successes + 1 }
            }
            (BreakerPhase::HalfOpen { trials, successes }, BreakerOutcome::Abandoned) => {
                BreakerPhase::HalfOpen { trials: trials.saturating_sub(1), successes }
            }
            (BreakerPhase::Closed { .. }, BreakerOutcome::Success | BreakerOutcome::Abandoned)
            | (BreakerPhase::Open { .. }, _) => return None,
        };
        Some(BreakerWord { phase, ..word })
    }

    /// One step, again from the start when another worker was faster: the word after it, or the word that it left alone.
    fn change(&self, mut step: impl FnMut(BreakerWord) -> Option<BreakerWord>) -> Result<BreakerWord, BreakerWord> {
        let mut seen = self.word.load(Ordering::Acquire);
        loop {
            let word = BreakerWord::unpack(seen);
            let Some(next) = step(word) else { return Err(word) };
            match self.word.compare_exchange_weak(seen, next.pack(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(next),
                Err(other) => seen = other,
            }
        }
    }
}

/// The state, and how often it opened or was reset: outcomes of an earlier era do not count.
///
/// Packed: 2 bits say which phase, 20 bits the era, 42 bits what the phase holds (two counts of up to a million, or
/// milliseconds until the year 2109). An era comes again after a million openings; a request would have to last as long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct BreakerWord {
    era: u32,
    phase: BreakerPhase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BreakerPhase {
    Closed { failures: u32 },
    Open { until: Time },
    HalfOpen { trials: u32, successes: u32 },
}

const COUNT_BITS: u32 = 20;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;
const HELD_BITS: u32 = 42;
const HELD_MAX: u64 = (1 << HELD_BITS) - 1;

impl BreakerWord {
    fn pack(self) -> u64 {
        let (tag, held) = match self.phase {
            BreakerPhase::Closed { failures } => (0, u64::from(failures).min(COUNT_MAX)),
            BreakerPhase::Open { until } => (1, whole(until).0),
            BreakerPhase::HalfOpen { trials, successes } => {
                (2, u64::from(trials).min(COUNT_MAX) << COUNT_BITS | u64::from(successes).min(COUNT_MAX))
            }
        };
        tag << (HELD_BITS + COUNT_BITS) | u64::from(self.era) << HELD_BITS | held
    }

    fn unpack(word: u64) -> Self {
        let held = word & HELD_MAX;
        let phase = match word >> (HELD_BITS + COUNT_BITS) {
            0 => BreakerPhase::Closed { failures: count(held) },
            1 => BreakerPhase::Open { until: Time(held) },
            _ => BreakerPhase::HalfOpen { trials: count(held >> COUNT_BITS), successes: count(held) },
        };
        Self { era: count(word >> HELD_BITS), phase }
    }

    fn next_era(self, phase: BreakerPhase) -> Self {
        Self { era: count(u64::from(self.era) + 1), phase }
    }
}

const fn count(bits: u64) -> u32 {
    (bits & COUNT_MAX) as u32
}

/// The latest moment that can be kept, at most.
fn whole(time: Time) -> Time {
    Time(time.0.min(HELD_MAX))
}

impl BreakerPhase {
    fn retry_at(self, now: Time) -> Time {
        match self {
            BreakerPhase::Open { until } => until,
            BreakerPhase::Closed { .. } | BreakerPhase::HalfOpen { .. } => now.after(Span::from_secs(1)),
        }
    }

    fn transition_to(self, next: BreakerPhase) -> Option<BreakerTransition> {
        match (self, next) {
            (BreakerPhase::Closed { .. }, BreakerPhase::Closed { .. })
            | (BreakerPhase::HalfOpen { .. }, BreakerPhase::HalfOpen { .. }) => None,
            (_, BreakerPhase::Closed { .. }) => Some(BreakerTransition::Closed),
            (_, BreakerPhase::Open { .. }) => Some(BreakerTransition::Opened),
            (_, BreakerPhase::HalfOpen { .. }) => Some(BreakerTransition::HalfOpened),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::cast_possible_truncation, reason = "small numbers")]

    use std::sync::atomic::AtomicUsize;

    use proptest::prelude::*;

    use super::*;

    fn breaker(threshold: u32, half_open_requests: u32) -> Breaker {
        Breaker::new(BreakerSettings { threshold, timeout: Span::from_millis(100), half_open_requests })
    }

    fn permit(admission: BreakerDecision) -> BreakerPermit {
        match admission {
            BreakerDecision::Pass(permit) | BreakerDecision::Trial { permit, .. } => permit,
            BreakerDecision::Refused { retry_at } => panic!("refused until {retry_at}"),
        }
    }

    fn ends(breaker: &Breaker, outcome: BreakerOutcome, at: u64) -> Option<BreakerTransition> {
        breaker.record(permit(breaker.acquire(Time(at))), outcome, Time(at))
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_between_them_does_not() {
        let breaker = breaker(3, 1);
        for outcome in [
            BreakerOutcome::Failure,
            BreakerOutcome::Failure,
            BreakerOutcome::Success,
            BreakerOutcome::Failure,
            BreakerOutcome::Failure,
        ] {
            assert_eq!(ends(&breaker, outcome, 1), None);
        }
        assert_eq!(breaker.status().failures, 2);
        assert_eq!(ends(&breaker, BreakerOutcome::Failure, 7), Some(BreakerTransition::Opened));
        assert_eq!(breaker.acquire(Time(50)), BreakerDecision::Refused { retry_at: Time(107) });
        assert!(!breaker.would_allow(Time(106)) && breaker.would_allow(Time(107)));
        let status = breaker.status();
        assert_eq!((status.state, status.failures), (BreakerState::Open, 3));
        assert_eq!((status.last_failure, status.next_attempt), (Some(Time(7)), Some(Time(107))));
    }

    #[test]
    fn all_trials_must_succeed_and_one_failure_opens_it_again() {
        let breaker = breaker(1, 2);
        assert_eq!(ends(&breaker, BreakerOutcome::Failure, 0), Some(BreakerTransition::Opened));
        let BreakerDecision::Trial { permit: first, transition: Some(BreakerTransition::HalfOpened) } =
            breaker.acquire(Time(100))
        else {
            panic!("the first trial half-opens it");
        };
        let second = permit(breaker.acquire(Time(100)));
        assert_eq!(breaker.acquire(Time(100)), BreakerDecision::Refused { retry_at: Time(1_100) });
        assert_eq!(breaker.record(first, BreakerOutcome::Success, Time(101)), None);
        assert!(!breaker.would_allow(Time(101)), "as many trials as asked for, no more");
        assert_eq!(breaker.record(second, BreakerOutcome::Failure, Time(102)), Some(BreakerTransition::Opened));
        let trials = [permit(breaker.acquire(Time(202))), permit(breaker.acquire(Time(202)))];
        let flips = trials.map(|trial| breaker.record(trial, BreakerOutcome::Success, Time(203)));
        assert_eq!(flips, [None, Some(BreakerTransition::Closed)]);
        assert_eq!(breaker.status().failures, 0);
    }

    #[test]
    fn an_abandoned_trial_frees_its_place() {
        let breaker = breaker(1, 1);
        ends(&breaker, BreakerOutcome::Failure, 0);
        let trial = permit(breaker.acquire(Time(100)));
        assert!(!breaker.would_allow(Time(100)));
        assert_eq!(breaker.record(trial, BreakerOutcome::Abandoned, Time(101)), None);
        assert_eq!(ends(&breaker, BreakerOutcome::Success, 102), Some(BreakerTransition::Closed));
    }

    #[test]
    fn what_was_admitted_earlier_does_not_disturb_the_trials() {
        let breaker = breaker(1, 1);
        let [late, later] = [permit(breaker.acquire(Time(0))), permit(breaker.acquire(Time(0)))];
        ends(&breaker, BreakerOutcome::Failure, 0);
        let trial = permit(breaker.acquire(Time(100)));
        assert_eq!(breaker.record(late, BreakerOutcome::Success, Time(101)), None);
        assert_eq!(breaker.record(later, BreakerOutcome::Failure, Time(101)), None);
        assert_eq!(breaker.status().state, BreakerState::HalfOpen);
        assert_eq!(breaker.reset(), Some(BreakerTransition::Closed));
        assert_eq!(breaker.record(trial, BreakerOutcome::Failure, Time(102)), None, "reset forgets what is under way");
        assert_eq!((breaker.reset(), breaker.status().state), (None, BreakerState::Closed));
    }

    #[test]
    fn settings_that_stay_the_same_keep_the_state() {
        let old = Arc::new(breaker(1, 1));
        ends(&old, BreakerOutcome::Failure, 0);
        let same = Breaker::reconfigure(Some(&old), old.settings());
        assert_eq!(same.status().state, BreakerState::Open);
        let other = Breaker::reconfigure(Some(&old), BreakerSettings { threshold: 2, ..old.settings() });
        assert_eq!(other.status().state, BreakerState::Closed);
    }

    #[test]
    fn the_end_of_time_and_the_largest_counts_can_be_kept() {
        let most = BreakerSettings { threshold: 1_000_000, timeout: Span::MAX, half_open_requests: 1_000_000 };
        let breaker = Breaker::new(most);
        for _ in 1..1_000_000 {
            assert_eq!(ends(&breaker, BreakerOutcome::Failure, u64::MAX), None);
        }
        assert_eq!(ends(&breaker, BreakerOutcome::Failure, u64::MAX), Some(BreakerTransition::Opened));
        for _ in 1..1_000_000 {
            assert_eq!(ends(&breaker, BreakerOutcome::Success, u64::MAX), None);
        }
        assert_eq!(ends(&breaker, BreakerOutcome::Success, u64::MAX), Some(BreakerTransition::Closed));
    }

    #[test]
    fn trials_that_take_longer_than_the_timeout_no_longer_hold_their_places() {
        let breaker = breaker(1, 2);
        assert_eq!(ends(&breaker, BreakerOutcome::Failure, 0), Some(BreakerTransition::Opened));
        let BreakerDecision::Trial { permit: slow, .. } = breaker.acquire(Time(100)) else { panic!("a trial") };
        assert_eq!(ends(&breaker, BreakerOutcome::Success, 120), None);
        assert!(!breaker.would_allow(Time(219)) && breaker.would_allow(Time(220)));
        let BreakerDecision::Trial { permit, transition: None } = breaker.acquire(Time(220)) else {
            panic!("another trial")
        };
        assert!(!breaker.would_allow(Time(220)), "it has the place now");
        assert_eq!(breaker.record(slow, BreakerOutcome::Failure, Time(221)), None, "nobody waits for it any more");
        assert_eq!(breaker.record(permit, BreakerOutcome::Success, Time(222)), Some(BreakerTransition::Closed));
    }

    /// The same, told plainly: which permits are out, and what each is worth.
    #[derive(Debug)]
    struct Model {
        settings: BreakerSettings,
        state: BreakerState,
        until: u64,
        failures: u32,
        successes: u32,
        trials: u32,
        last_trial: u64,
        era: u32,
    }

    impl Model {
        fn acquire(&mut self, now: u64) -> Option<(u32, bool)> {
            if self.state == BreakerState::Open && now >= self.until {
                (self.state, self.successes, self.trials) = (BreakerState::HalfOpen, 0, 0);
            }
            if self.state == BreakerState::HalfOpen && self.trials_are_slow(now) {
                self.trials = 0;
                self.era += 1;
            }
            match self.state {
                BreakerState::Closed => Some((self.era, false)),
                BreakerState::HalfOpen if self.trials + self.successes < self.settings.half_open_requests => {
                    self.trials += 1;
                    self.last_trial = now;
                    Some((self.era, true))
                }
                BreakerState::Open | BreakerState::HalfOpen => None,
            }
        }

        fn record(&mut self, (era, trial): (u32, bool), outcome: BreakerOutcome, now: u64) {
            if era != self.era {
                return;
            }
            self.trials -= u32::from(trial);
            match outcome {
                BreakerOutcome::Abandoned => {}
                BreakerOutcome::Failure => {
                    self.failures += 1;
                    if trial || self.failures >= self.settings.threshold {
                        (self.state, self.until) = (BreakerState::Open, now + self.settings.timeout.millis());
                        self.era += 1;
                    }
                }
                BreakerOutcome::Success => {
                    self.failures = 0;
                    self.successes += u32::from(trial);
                    if trial && self.successes >= self.settings.half_open_requests {
                        self.state = BreakerState::Closed;
                    }
                }
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Admit,
        Record(prop::sample::Index, BreakerOutcome),
        Wait(u64),
        Reset,
    }

    fn step() -> impl Strategy<Value = Step> {
        let outcome =
            prop_oneof![Just(BreakerOutcome::Success), Just(BreakerOutcome::Failure), Just(BreakerOutcome::Abandoned)];
        prop_oneof![
            6 => Just(Step::Admit),
            6 => (any::<prop::sample::Index>(), outcome).prop_map(|(which, outcome)| Step::Record(which, outcome)),
            2 => (1..80_u64).prop_map(Step::Wait),
            1 => Just(Step::Reset),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn it_does_what_the_plain_model_does(
            threshold in 1..4_u32, half_open_requests in 1..4_u32, steps in prop::collection::vec(step(), 1..120),
        ) {
            let breaker = breaker(threshold, half_open_requests);
            let settings = breaker.settings();
            let mut model =
                Model { settings, state: BreakerState::Closed, until: 0, failures: 0, successes: 0, trials: 0, last_trial: 0, era: 0 };
            let (mut now, mut out) = (1, Vec::new());
            for step in steps {
                let before = breaker.status().state;
                let mut told = None;
                match step {
                    Step::Wait(millis) => now += millis,
                    Step::Reset => {
                        told = breaker.reset();
                        (model.state, model.failures, model.trials) = (BreakerState::Closed, 0, 0);
                        model.era += 1;
                    }
                    Step::Admit => {
                        prop_assert_eq!(breaker.would_allow(Time(now)), model.admit_would(now));
                        match (breaker.acquire(Time(now)), model.acquire(now)) {
                            (BreakerDecision::Pass(permit), Some(known @ (_, false))) => out.push((permit, known)),
                            (BreakerDecision::Trial { permit, transition }, Some(known @ (_, true))) => {
                                told = transition;
                                out.push((permit, known));
                            }
                            (BreakerDecision::Refused { retry_at }, None) => prop_assert!(retry_at > Time(now)),
                            (admission, known) => prop_assert!(false, "{:?}, but the model {:?}", admission, known),
                        }
                    }
                    Step::Record(which, outcome) if !out.is_empty() => {
                        let (permit, known) = out.swap_remove(which.index(out.len()));
                        told = breaker.record(permit, outcome, Time(now));
                        model.record(known, outcome, now);
                    }
                    Step::Record(..) => {}
                }
                let after = breaker.status();
                prop_assert_eq!(after.state, model.state);
                if after.state == BreakerState::Closed {
                    prop_assert_eq!(after.failures, model.failures);
                }
                if after.state == BreakerState::HalfOpen {
                    prop_assert_eq!(after.successes, model.successes);
                }
                let expected = match after.state {
                    state if state == before => None,
                    BreakerState::Closed => Some(BreakerTransition::Closed),
                    BreakerState::Open => Some(BreakerTransition::Opened),
                    BreakerState::HalfOpen => Some(BreakerTransition::HalfOpened),
                };
                prop_assert_eq!(told, expected);
            }
        }

        #[test]
        fn a_word_reads_back(era in 0..=COUNT_MAX as u32, a in 0..=1_000_000_u32, b in 0..=1_000_000_u32, at in 0..=HELD_MAX) {
            let phases =
                [BreakerPhase::Closed { failures: a }, BreakerPhase::Open { until: Time(at) }, BreakerPhase::HalfOpen { trials: a, successes: b }];
            for phase in phases {
                let word = BreakerWord { era, phase };
                prop_assert_eq!(BreakerWord::unpack(word.pack()), word);
            }
        }
    }

    impl Model {
        fn admit_would(&self, now: u64) -> bool {
            match self.state {
                BreakerState::Closed => true,
                BreakerState::Open => now >= self.until,
                BreakerState::HalfOpen => {
                    self.trials + self.successes < self.settings.half_open_requests || self.trials_are_slow(now)
                }
            }
        }

        fn trials_are_slow(&self, now: u64) -> bool {
            let is_full = self.trials + self.successes >= self.settings.half_open_requests;
            is_full && now >= self.last_trial + self.settings.timeout.millis()
        }
    }

    #[test]
    fn many_threads_never_get_more_trials_than_asked_for() {
        const TRIALS: usize = 3;
        let (under_way, most, passed) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        for round in 0..500 {
            let breaker = breaker(1, TRIALS as u32);
            assert_eq!(ends(&breaker, BreakerOutcome::Failure, 0), Some(BreakerTransition::Opened));
            let run = |seed: usize| {
                for attempt in 0..20 {
                    match breaker.acquire(Time(100)) {
                        BreakerDecision::Trial { permit, .. } => {
                            most.fetch_max(under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                            passed.fetch_add(1, Ordering::SeqCst);
                            std::thread::yield_now();
                            under_way.fetch_sub(1, Ordering::SeqCst);
                            let abandoned = !(seed + attempt + round).is_multiple_of(3);
                            let outcome = if abandoned { BreakerOutcome::Abandoned } else { BreakerOutcome::Success };
                            let _ = breaker.record(permit, outcome, Time(100));
                        }
                        BreakerDecision::Pass(permit) => {
                            let _ = breaker.record(permit, BreakerOutcome::Success, Time(100));
                        }
                        BreakerDecision::Refused { .. } => std::thread::yield_now(),
                    }
                }
            };
            std::thread::scope(|scope| (0..4).for_each(|seed| drop(scope.spawn(move || run(seed)))));
        }
        assert!(passed.load(Ordering::SeqCst) > 1_000, "trials took place");
        assert!(most.load(Ordering::SeqCst) <= TRIALS);
    }
}
