//! A circuit breaker: leaves an endpoint alone that keeps failing, and tries it again with a few requests.
//!
//! What a failure is, the caller says (no connection, timeout, reset, 5xx). The whole state is one atomic word and every
//! step a pure function from word to word, so workers share it without a lock, and a closed breaker without failures is only
//! ever read. Not kept over a restart. What must hold: never more than `half_open_requests` trials under way, those
//! aside that take longer than the timeout; what was admitted before the breaker last opened or was reset changes nothing afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::{Breaker as Settings, BreakerState as State, Span, Time};

/// Shared by all workers and by all applies that leave its settings as they are.
#[derive(Debug)]
pub struct Breaker {
    settings: Settings,
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
pub struct Permit {
    era: u32,
    trial: bool,
}

/// True if a request may be sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Pass(Permit),
    /// It may, and much depends on how it ends.
    Trial {
        /// To be given back.
        permit: Permit,
        /// `HalfOpened` for the first trial after the timeout.
        flip: Option<Flip>,
    },
    /// It may not.
    Refused {
        /// When it is worth asking again: the end of the timeout, or in a second when all trials are under way.
        retry_at: Time,
    },
}

/// How a request ended, as far as the breaker cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The endpoint answered, below 500.
    Success,
    /// No connection, timeout, reset, or 5xx (protocol §6).
    Failure,
    /// Neither: the client went away, or the request was never sent.
    Abandoned,
}

/// A change of state, for events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flip {
    /// It failed too often, or a trial failed.
    Opened,
    /// The timeout is over and the first trial under way.
    HalfOpened,
    /// Every trial succeeded, or it was reset.
    Closed,
}

impl Flip {
    /// The state after it.
    pub const fn state(self) -> State {
        match self {
            Flip::Opened => State::Open,
            Flip::HalfOpened => State::HalfOpen,
            Flip::Closed => State::Closed,
        }
    }
}

/// What `CIRCUIT_BREAKER_STATUS` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its state.
    pub state: State,
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
    pub const fn new(settings: Settings) -> Self {
        Self { settings, word: AtomicU64::new(0), last_failure: AtomicU64::new(0), last_trial: AtomicU64::new(0) }
    }

    /// The old one where its settings stay the same, else a new one, closed.
    pub fn reconfigure(old: Option<&Arc<Self>>, settings: Settings) -> Arc<Self> {
        match old {
            Some(old) if old.settings == settings => Arc::clone(old),
            _ => Arc::new(Self::new(settings)),
        }
    }

    /// What it was made with.
    pub const fn settings(&self) -> Settings {
        self.settings
    }

    /// Asks for leave to send a request.
    pub fn admit(&self, now: Time) -> Admission {
        let mut flip = None;
        let changed = self.change(|mut word| {
            flip = None;
            match &mut word.phase {
                Phase::Open { until } if now >= *until => {
                    word.phase = Phase::HalfOpen { trials: 1, successes: 0 };
                    flip = Some(Flip::HalfOpened);
                }
                Phase::HalfOpen { trials, successes } if *trials + *successes < self.settings.half_open_requests => {
                    *trials += 1;
                }
                // Those under way give up their places, and what comes of them counts no more.
                Phase::HalfOpen { successes, .. } if self.trials_are_slow(now) => {
                    let successes = *successes;
                    word = word.next_era(Phase::HalfOpen { trials: 1, successes });
                }
                Phase::Closed { .. } | Phase::Open { .. } | Phase::HalfOpen { .. } => return None,
            }
            self.last_trial.fetch_max(now.0, Ordering::AcqRel);
            Some(word)
        });
        match changed {
            Ok(word) => Admission::Trial { permit: Permit { era: word.era, trial: true }, flip },
            Err(Word { era, phase: Phase::Closed { .. } }) => Admission::Pass(Permit { era, trial: false }),
            Err(word) => Admission::Refused { retry_at: word.phase.retry_at(now) },
        }
    }

    /// Takes a permit back, with how its request ended.
    #[expect(clippy::needless_pass_by_value, reason = "a permit is good for one request")]
    pub fn record(&self, permit: Permit, outcome: Outcome, now: Time) -> Option<Flip> {
        let mut flip = None;
        let mut counted = false;
        let _ = self.change(|word| {
            (flip, counted) = (None, word.era == permit.era);
            let next = if counted { self.judged(word, permit.trial, outcome, now)? } else { return None };
            flip = word.phase.flip_to(next.phase);
            Some(next)
        });
        if counted && outcome == Outcome::Failure {
            self.last_failure.fetch_max(now.0, Ordering::Relaxed);
        }
        flip
    }

    /// When asking is worth it, if [`Self::admit`] would refuse now; `None` if it would not. Changes nothing.
    pub fn refused_until(&self, now: Time) -> Option<Time> {
        let word = Word::unpack(self.word.load(Ordering::Acquire));
        let refuses = match word.phase {
            Phase::Closed { .. } => false,
            Phase::Open { until } => now < until,
            Phase::HalfOpen { trials, successes } => {
                trials + successes >= self.settings.half_open_requests && !self.trials_are_slow(now)
            }
        };
        refuses.then(|| word.phase.retry_at(now))
    }

    /// True if every trial under way has taken as long as the timeout.
    fn trials_are_slow(&self, now: Time) -> bool {
        now >= Time(self.last_trial.load(Ordering::Acquire)).after(self.settings.timeout)
    }

    /// True if [`Self::admit`] would let a request through now. Changes nothing.
    pub fn would_admit(&self, now: Time) -> bool {
        self.refused_until(now).is_none()
    }

    /// How it stands. An open one whose timeout is over stays `Open` until a request comes to try.
    pub fn status(&self) -> Status {
        let last = self.last_failure.load(Ordering::Relaxed);
        let (state, failures, successes, next_attempt) = match Word::unpack(self.word.load(Ordering::Acquire)).phase {
            Phase::Closed { failures } => (State::Closed, failures, 0, None),
            Phase::Open { until } => (State::Open, self.settings.threshold, 0, Some(until)),
            Phase::HalfOpen { successes, .. } => (State::HalfOpen, self.settings.threshold, successes, None),
        };
        Status { state, failures, successes, last_failure: (last > 0).then_some(Time(last)), next_attempt }
    }

    /// Closes it, forgetting what is under way. `None` if it was closed already.
    pub fn reset(&self) -> Option<Flip> {
        let mut flip = None;
        let _ = self.change(|word| {
            let closed = Phase::Closed { failures: 0 };
            flip = word.phase.flip_to(closed);
            Some(word.next_era(closed))
        });
        self.last_failure.store(0, Ordering::Relaxed);
        flip
    }

    /// The state after a request of this era; `None` where nothing changes.
    fn judged(&self, word: Word, trial: bool, outcome: Outcome, now: Time) -> Option<Word> {
        let opened = word.next_era(Phase::Open { until: whole(now.after(self.settings.timeout)) });
        let phase = match (word.phase, outcome) {
            (Phase::Closed { failures }, Outcome::Failure) if failures + 1 >= self.settings.threshold => {
                return Some(opened);
            }
            (Phase::Closed { failures }, Outcome::Failure) => Phase::Closed { failures: failures + 1 },
            (Phase::Closed { failures: 1.. }, Outcome::Success) => Phase::Closed { failures: 0 },
            // Only trials are of a half-open era; were it not so, nothing may come of it.
            (Phase::HalfOpen { .. }, _) if !trial => return None,
            (Phase::HalfOpen { .. }, Outcome::Failure) => return Some(opened),
            (Phase::HalfOpen { successes, .. }, Outcome::Success)
                if successes + 1 >= self.settings.half_open_requests =>
            {
                Phase::Closed { failures: 0 }
            }
            (Phase::HalfOpen { trials, successes }, Outcome::Success) => {
                Phase::HalfOpen { trials: trials.saturating_sub(1), successes: successes + 1 }
            }
            (Phase::HalfOpen { trials, successes }, Outcome::Abandoned) => {
                Phase::HalfOpen { trials: trials.saturating_sub(1), successes }
            }
            (Phase::Closed { .. }, Outcome::Success | Outcome::Abandoned) | (Phase::Open { .. }, _) => return None,
        };
        Some(Word { phase, ..word })
    }

    /// One step, again from the start when another worker was faster: the word after it, or the word that it left alone.
    fn change(&self, mut step: impl FnMut(Word) -> Option<Word>) -> Result<Word, Word> {
        let mut seen = self.word.load(Ordering::Acquire);
        loop {
            let word = Word::unpack(seen);
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
struct Word {
    era: u32,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Closed { failures: u32 },
    Open { until: Time },
    HalfOpen { trials: u32, successes: u32 },
}

const COUNT_BITS: u32 = 20;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;
const HELD_BITS: u32 = 42;
const HELD_MAX: u64 = (1 << HELD_BITS) - 1;

impl Word {
    fn pack(self) -> u64 {
        let (tag, held) = match self.phase {
            Phase::Closed { failures } => (0, u64::from(failures).min(COUNT_MAX)),
            Phase::Open { until } => (1, whole(until).0),
            Phase::HalfOpen { trials, successes } => {
                (2, u64::from(trials).min(COUNT_MAX) << COUNT_BITS | u64::from(successes).min(COUNT_MAX))
            }
        };
        tag << (HELD_BITS + COUNT_BITS) | u64::from(self.era) << HELD_BITS | held
    }

    fn unpack(word: u64) -> Self {
        let held = word & HELD_MAX;
        let phase = match word >> (HELD_BITS + COUNT_BITS) {
            0 => Phase::Closed { failures: count(held) },
            1 => Phase::Open { until: Time(held) },
            _ => Phase::HalfOpen { trials: count(held >> COUNT_BITS), successes: count(held) },
        };
        Self { era: count(word >> HELD_BITS), phase }
    }

    fn next_era(self, phase: Phase) -> Self {
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

impl Phase {
    fn retry_at(self, now: Time) -> Time {
        match self {
            Phase::Open { until } => until,
            Phase::Closed { .. } | Phase::HalfOpen { .. } => now.after(Span::from_secs(1)),
        }
    }

    fn flip_to(self, next: Phase) -> Option<Flip> {
        match (self, next) {
            (Phase::Closed { .. }, Phase::Closed { .. }) | (Phase::HalfOpen { .. }, Phase::HalfOpen { .. }) => None,
            (_, Phase::Closed { .. }) => Some(Flip::Closed),
            (_, Phase::Open { .. }) => Some(Flip::Opened),
            (_, Phase::HalfOpen { .. }) => Some(Flip::HalfOpened),
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
        Breaker::new(Settings { threshold, timeout: Span::from_millis(100), half_open_requests })
    }

    fn permit(admission: Admission) -> Permit {
        match admission {
            Admission::Pass(permit) | Admission::Trial { permit, .. } => permit,
            Admission::Refused { retry_at } => panic!("refused until {retry_at}"),
        }
    }

    fn ends(breaker: &Breaker, outcome: Outcome, at: u64) -> Option<Flip> {
        breaker.record(permit(breaker.admit(Time(at))), outcome, Time(at))
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_between_them_does_not() {
        let breaker = breaker(3, 1);
        for outcome in [Outcome::Failure, Outcome::Failure, Outcome::Success, Outcome::Failure, Outcome::Failure] {
            assert_eq!(ends(&breaker, outcome, 1), None);
        }
        assert_eq!(breaker.status().failures, 2);
        assert_eq!(ends(&breaker, Outcome::Failure, 7), Some(Flip::Opened));
        assert_eq!(breaker.admit(Time(50)), Admission::Refused { retry_at: Time(107) });
        assert!(!breaker.would_admit(Time(106)) && breaker.would_admit(Time(107)));
        let status = breaker.status();
        assert_eq!((status.state, status.failures), (State::Open, 3));
        assert_eq!((status.last_failure, status.next_attempt), (Some(Time(7)), Some(Time(107))));
    }

    #[test]
    fn all_trials_must_succeed_and_one_failure_opens_it_again() {
        let breaker = breaker(1, 2);
        assert_eq!(ends(&breaker, Outcome::Failure, 0), Some(Flip::Opened));
        let Admission::Trial { permit: first, flip: Some(Flip::HalfOpened) } = breaker.admit(Time(100)) else {
            panic!("the first trial half-opens it");
        };
        let second = permit(breaker.admit(Time(100)));
        assert_eq!(breaker.admit(Time(100)), Admission::Refused { retry_at: Time(1_100) });
        assert_eq!(breaker.record(first, Outcome::Success, Time(101)), None);
        assert!(!breaker.would_admit(Time(101)), "as many trials as asked for, no more");
        assert_eq!(breaker.record(second, Outcome::Failure, Time(102)), Some(Flip::Opened));
        let trials = [permit(breaker.admit(Time(202))), permit(breaker.admit(Time(202)))];
        let flips = trials.map(|trial| breaker.record(trial, Outcome::Success, Time(203)));
        assert_eq!(flips, [None, Some(Flip::Closed)]);
        assert_eq!(breaker.status().failures, 0);
    }

    #[test]
    fn an_abandoned_trial_frees_its_place() {
        let breaker = breaker(1, 1);
        ends(&breaker, Outcome::Failure, 0);
        let trial = permit(breaker.admit(Time(100)));
        assert!(!breaker.would_admit(Time(100)));
        assert_eq!(breaker.record(trial, Outcome::Abandoned, Time(101)), None);
        assert_eq!(ends(&breaker, Outcome::Success, 102), Some(Flip::Closed));
    }

    #[test]
    fn what_was_admitted_earlier_does_not_disturb_the_trials() {
        let breaker = breaker(1, 1);
        let [late, later] = [permit(breaker.admit(Time(0))), permit(breaker.admit(Time(0)))];
        ends(&breaker, Outcome::Failure, 0);
        let trial = permit(breaker.admit(Time(100)));
        assert_eq!(breaker.record(late, Outcome::Success, Time(101)), None);
        assert_eq!(breaker.record(later, Outcome::Failure, Time(101)), None);
        assert_eq!(breaker.status().state, State::HalfOpen);
        assert_eq!(breaker.reset(), Some(Flip::Closed));
        assert_eq!(breaker.record(trial, Outcome::Failure, Time(102)), None, "reset forgets what is under way");
        assert_eq!((breaker.reset(), breaker.status().state), (None, State::Closed));
    }

    #[test]
    fn settings_that_stay_the_same_keep_the_state() {
        let old = Arc::new(breaker(1, 1));
        ends(&old, Outcome::Failure, 0);
        let same = Breaker::reconfigure(Some(&old), old.settings());
        assert_eq!(same.status().state, State::Open);
        let other = Breaker::reconfigure(Some(&old), Settings { threshold: 2, ..old.settings() });
        assert_eq!(other.status().state, State::Closed);
    }

    #[test]
    fn the_end_of_time_and_the_largest_counts_can_be_kept() {
        let most = Settings { threshold: 1_000_000, timeout: Span::MAX, half_open_requests: 1_000_000 };
        let breaker = Breaker::new(most);
        for _ in 1..1_000_000 {
            assert_eq!(ends(&breaker, Outcome::Failure, u64::MAX), None);
        }
        assert_eq!(ends(&breaker, Outcome::Failure, u64::MAX), Some(Flip::Opened));
        for _ in 1..1_000_000 {
            assert_eq!(ends(&breaker, Outcome::Success, u64::MAX), None);
        }
        assert_eq!(ends(&breaker, Outcome::Success, u64::MAX), Some(Flip::Closed));
    }

    #[test]
    fn trials_that_take_longer_than_the_timeout_no_longer_hold_their_places() {
        let breaker = breaker(1, 2);
        assert_eq!(ends(&breaker, Outcome::Failure, 0), Some(Flip::Opened));
        let Admission::Trial { permit: slow, .. } = breaker.admit(Time(100)) else { panic!("a trial") };
        assert_eq!(ends(&breaker, Outcome::Success, 120), None);
        assert!(!breaker.would_admit(Time(219)) && breaker.would_admit(Time(220)));
        let Admission::Trial { permit, flip: None } = breaker.admit(Time(220)) else { panic!("another trial") };
        assert!(!breaker.would_admit(Time(220)), "it has the place now");
        assert_eq!(breaker.record(slow, Outcome::Failure, Time(221)), None, "nobody waits for it any more");
        assert_eq!(breaker.record(permit, Outcome::Success, Time(222)), Some(Flip::Closed));
    }

    /// The same, told plainly: which permits are out, and what each is worth.
    #[derive(Debug)]
    struct Model {
        settings: Settings,
        state: State,
        until: u64,
        failures: u32,
        successes: u32,
        trials: u32,
        last_trial: u64,
        era: u32,
    }

    impl Model {
        fn admit(&mut self, now: u64) -> Option<(u32, bool)> {
            if self.state == State::Open && now >= self.until {
                (self.state, self.successes, self.trials) = (State::HalfOpen, 0, 0);
            }
            if self.state == State::HalfOpen && self.trials_are_slow(now) {
                self.trials = 0;
                self.era += 1;
            }
            match self.state {
                State::Closed => Some((self.era, false)),
                State::HalfOpen if self.trials + self.successes < self.settings.half_open_requests => {
                    self.trials += 1;
                    self.last_trial = now;
                    Some((self.era, true))
                }
                State::Open | State::HalfOpen => None,
            }
        }

        fn record(&mut self, (era, trial): (u32, bool), outcome: Outcome, now: u64) {
            if era != self.era {
                return;
            }
            self.trials -= u32::from(trial);
            match outcome {
                Outcome::Abandoned => {}
                Outcome::Failure => {
                    self.failures += 1;
                    if trial || self.failures >= self.settings.threshold {
                        (self.state, self.until) = (State::Open, now + self.settings.timeout.millis());
                        self.era += 1;
                    }
                }
                Outcome::Success => {
                    self.failures = 0;
                    self.successes += u32::from(trial);
                    if trial && self.successes >= self.settings.half_open_requests {
                        self.state = State::Closed;
                    }
                }
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Admit,
        Record(prop::sample::Index, Outcome),
        Wait(u64),
        Reset,
    }

    fn step() -> impl Strategy<Value = Step> {
        let outcome = prop_oneof![Just(Outcome::Success), Just(Outcome::Failure), Just(Outcome::Abandoned)];
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
                Model { settings, state: State::Closed, until: 0, failures: 0, successes: 0, trials: 0, last_trial: 0, era: 0 };
            let (mut now, mut out) = (1, Vec::new());
            for step in steps {
                let before = breaker.status().state;
                let mut told = None;
                match step {
                    Step::Wait(millis) => now += millis,
                    Step::Reset => {
                        told = breaker.reset();
                        (model.state, model.failures, model.trials) = (State::Closed, 0, 0);
                        model.era += 1;
                    }
                    Step::Admit => {
                        prop_assert_eq!(breaker.would_admit(Time(now)), model.admit_would(now));
                        match (breaker.admit(Time(now)), model.admit(now)) {
                            (Admission::Pass(permit), Some(known @ (_, false))) => out.push((permit, known)),
                            (Admission::Trial { permit, flip }, Some(known @ (_, true))) => {
                                told = flip;
                                out.push((permit, known));
                            }
                            (Admission::Refused { retry_at }, None) => prop_assert!(retry_at > Time(now)),
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
                if after.state == State::Closed {
                    prop_assert_eq!(after.failures, model.failures);
                }
                if after.state == State::HalfOpen {
                    prop_assert_eq!(after.successes, model.successes);
                }
                let expected = match after.state {
                    state if state == before => None,
                    State::Closed => Some(Flip::Closed),
                    State::Open => Some(Flip::Opened),
                    State::HalfOpen => Some(Flip::HalfOpened),
                };
                prop_assert_eq!(told, expected);
            }
        }

        #[test]
        fn a_word_reads_back(era in 0..=COUNT_MAX as u32, a in 0..=1_000_000_u32, b in 0..=1_000_000_u32, at in 0..=HELD_MAX) {
            let phases =
                [Phase::Closed { failures: a }, Phase::Open { until: Time(at) }, Phase::HalfOpen { trials: a, successes: b }];
            for phase in phases {
                let word = Word { era, phase };
                prop_assert_eq!(Word::unpack(word.pack()), word);
            }
        }
    }

    impl Model {
        fn admit_would(&self, now: u64) -> bool {
            match self.state {
                State::Closed => true,
                State::Open => now >= self.until,
                State::HalfOpen => {
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
            assert_eq!(ends(&breaker, Outcome::Failure, 0), Some(Flip::Opened));
            let run = |seed: usize| {
                for attempt in 0..20 {
                    match breaker.admit(Time(100)) {
                        Admission::Trial { permit, .. } => {
                            most.fetch_max(under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                            passed.fetch_add(1, Ordering::SeqCst);
                            std::thread::yield_now();
                            under_way.fetch_sub(1, Ordering::SeqCst);
                            let abandoned = !(seed + attempt + round).is_multiple_of(3);
                            let outcome = if abandoned { Outcome::Abandoned } else { Outcome::Success };
                            let _ = breaker.record(permit, outcome, Time(100));
                        }
                        Admission::Pass(permit) => {
                            let _ = breaker.record(permit, Outcome::Success, Time(100));
                        }
                        Admission::Refused { .. } => std::thread::yield_now(),
                    }
                }
            };
            std::thread::scope(|scope| (0..4).for_each(|seed| drop(scope.spawn(move || run(seed)))));
        }
        assert!(passed.load(Ordering::SeqCst) > 1_000, "trials took place");
        assert!(most.load(Ordering::SeqCst) <= TRIALS);
    }
}
