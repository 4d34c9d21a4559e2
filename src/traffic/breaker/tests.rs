//! Tests of the circuit breaker, among them one against a plain model of it.

#![expect(clippy::cast_possible_truncation, reason = "small numbers")]

use std::sync::atomic::AtomicUsize;

use proptest::prelude::*;

use super::state::{COUNT_MAX, HELD_MAX};
use super::*;
use crate::domain::Span;

fn breaker(threshold: u32, half_open_requests: u32) -> EndpointBreaker {
    EndpointBreaker::new(BreakerSettings { threshold, timeout: Span::from_millis(100), half_open_requests })
}

fn permit(admission: BreakerDecision) -> BreakerPermit {
    match admission {
        BreakerDecision::Pass(permit) | BreakerDecision::Trial { permit, .. } => permit,
        BreakerDecision::Refused { retry_at } => panic!("refused until {retry_at}"),
    }
}

fn ends(breaker: &EndpointBreaker, outcome: BreakerOutcome, at: u64) -> Option<BreakerTransition> {
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
    let transitions = trials.map(|trial| breaker.record(trial, BreakerOutcome::Success, Time(203)));
    assert_eq!(transitions, [None, Some(BreakerTransition::Closed)]);
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
fn requests_from_before_the_trials_do_not_disturb_them() {
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
    let same = EndpointBreaker::reconfigure(Some(&old), old.settings());
    assert_eq!(same.status().state, BreakerState::Open);
    let other = EndpointBreaker::reconfigure(Some(&old), BreakerSettings { threshold: 2, ..old.settings() });
    assert_eq!(other.status().state, BreakerState::Closed);
}

#[test]
fn the_end_of_time_and_the_largest_counts_can_be_kept() {
    let most = BreakerSettings { threshold: 1_000_000, timeout: Span::MAX, half_open_requests: 1_000_000 };
    let breaker = EndpointBreaker::new(most);
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
    assert!(!breaker.would_allow(Time(220)), "the new trial holds the slot");
    assert_eq!(breaker.record(slow, BreakerOutcome::Failure, Time(221)), None, "its outcome no longer counts");
    assert_eq!(breaker.record(permit, BreakerOutcome::Success, Time(222)), Some(BreakerTransition::Closed));
}

/// The same breaker in plain steps: the permits that are out, and the effect of each.
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
