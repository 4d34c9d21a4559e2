//! The state of each name, and the next piece of work.
//!
//! Invariants: a name has one piece of work in flight at most; names that failed take a part of the places only, so
//! that those that hang leave places to the others; a wait after a failure counts from the record, which outlives a
//! restart and the removal of the route.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::challenge::ChallengeKind;
use super::schedule::{RenewalWindow, Validity, earliest_renewal, renewal_time, wait_after};
use crate::domain::{Host, Span, Time};

/// The most names with work in flight.
const RUNNING_MAX: usize = 64;
/// The most of them that failed before.
const RUNNING_FAILED_MAX: usize = 16;
/// The most characters of an error that are kept.
const ERROR_CHARS_MAX: usize = 500;
/// The shortest and the longest time between two questions for the renewal window (RFC 9773 §4.3.2).
const ASK_AGAIN: (Span, Span) = (Span::from_secs(60), Span::from_secs(24 * 3600));
/// The wait after a question for the renewal window without an answer.
const ASK_AFTER_FAILURE: Span = Span::from_secs(3600);

/// The facts about a name that outlive a restart. Times are milliseconds since the Unix epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::acme) struct NameRecord {
    /// The URL of the directory that the other facts are about.
    directory: String,
    /// The failed attempts since the last certificate.
    failures: u32,
    /// No attempt happens before this time.
    retry_at_ms: u64,
    /// The error of the latest attempt.
    error: Option<String>,
    /// The time of the renewal; 0 without a certificate.
    renew_at_ms: u64,
    /// The end of the certificate that these facts are about; 0 if it is not known.
    expires_ms: u64,
    /// The time of the next question for the renewal window; `None` if the directory has none.
    ask_at_ms: Option<u64>,
    /// The renewal window of the last answer: start and end.
    window_ms: Option<(u64, u64)>,
    /// The way that proved control last.
    worked: Option<ChallengeKind>,
}

/// The state of one name.
#[derive(Debug, Default)]
struct NameState {
    record: NameRecord,
    /// The validity of its certificate.
    validity: Option<Validity>,
    is_wanted: bool,
    /// The work in flight.
    running: Option<Work>,
}

/// A piece of work for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::acme) struct Job {
    pub(in crate::acme) name: Host,
    pub(in crate::acme) work: Work,
}

/// The kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::acme) enum Work {
    /// Orders a certificate.
    Order {
        /// The failed attempts before.
        failures: u32,
        /// The way that proved control last.
        worked: Option<ChallengeKind>,
    },
    /// Asks for the renewal window.
    AskWindow,
}

/// The reason why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::acme) struct FailedAttempt {
    /// The words for operators.
    pub(in crate::acme) words: String,
    /// The wait that the authority asks for.
    pub(in crate::acme) told_wait: Option<Span>,
}

/// The state of a name for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameStatus {
    /// The name.
    pub name: Host,
    /// The step that the name is at.
    pub step: NameStep,
    /// The time of the next attempt to get a certificate; `None` during one.
    pub next_attempt: Option<Time>,
    /// The error of the latest attempt, if that failed.
    pub last_error: Option<String>,
    /// The end of the certificate's validity.
    pub expires: Option<Time>,
}

/// The step that a name is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameStep {
    /// It has no certificate yet.
    Waiting,
    /// An order is in flight.
    Ordering,
    /// It has a certificate, and the latest attempt did not fail.
    Valid,
    /// The latest attempt failed.
    Failing,
}

/// The state of all names.
#[derive(Debug, Default)]
pub(in crate::acme) struct NamePlan {
    directory: String,
    names: BTreeMap<Host, NameState>,
}

impl FailedAttempt {
    /// Creates it with a bounded length of words: they may be those of a stranger.
    pub(in crate::acme) fn new(error: &dyn std::fmt::Display, told_wait: Option<Span>) -> Self {
        Self { words: error.to_string().chars().take(ERROR_CHARS_MAX).collect(), told_wait }
    }
}

impl NamePlan {
    /// Takes in a name with what was kept of it.
    pub(in crate::acme) fn restore(&mut self, name: Host, record: NameRecord, validity: Option<Validity>) {
        let record = record.corrected(validity, &self.directory);
        let state = NameState { record, validity, ..NameState::default() };
        self.names.insert(name, state.of_directory(&self.directory));
    }

    /// Sets the directory. Certificates of another directory are due for renewal, and its failures do not count.
    pub(in crate::acme) fn set_directory(&mut self, directory: &str) {
        directory.clone_into(&mut self.directory);
        let names = std::mem::take(&mut self.names);
        self.names = names.into_iter().map(|(name, state)| (name, state.of_directory(directory))).collect();
    }

    /// Sets the names that need a certificate. Returns true if they were others before.
    pub(in crate::acme) fn set_wanted(&mut self, wanted: &BTreeSet<Host>) -> bool {
        let mut has_changed = false;
        for (name, state) in &mut self.names {
            let was_wanted = std::mem::replace(&mut state.is_wanted, wanted.contains(name));
            has_changed |= was_wanted != state.is_wanted;
        }
        for name in wanted {
            self.names.entry(name.clone()).or_insert_with(|| {
                has_changed = true;
                NameState { is_wanted: true, ..NameState::default() }.of_directory(&self.directory)
            });
        }
        has_changed
    }

    /// Starts the most urgent piece of work that is due: first orders that did not fail before, of names without a
    /// certificate or with the one that ends first.
    pub(in crate::acme) fn start_next(&mut self, now: Time) -> Option<Job> {
        let running = self.names.values().filter(|state| state.running.is_some());
        let (all, failed) =
            running.fold((0, 0), |(all, failed), state| (all + 1, failed + usize::from(state.failed())));
        if all >= RUNNING_MAX {
            return None;
        }
        let may_start = |state: &NameState| !state.failed() || failed < RUNNING_FAILED_MAX;
        let due =
            self.names.iter_mut().filter(|(_, state)| state.due_at().is_some_and(|at| at <= now) && may_start(state));
        let (name, state) = due.min_by_key(|(_, state)| state.urgency())?;
        let work = state.work(now);
        state.running = Some(work);
        Some(Job { name: name.clone(), work })
    }

    /// Returns the time at which the next piece of work is due, regardless of places.
    pub(in crate::acme) fn next_due(&self) -> Option<Time> {
        self.names.values().filter_map(NameState::due_at).min()
    }

    /// Records a certificate for a name. Returns the record to keep.
    pub(in crate::acme) fn obtained(
        &mut self,
        name: &Host,
        validity: Validity,
        worked: Option<ChallengeKind>,
        now: Time,
        chance: u64,
    ) -> Option<&NameRecord> {
        let state = self.names.get_mut(name)?;
        state.running = None;
        state.validity = Some(validity);
        state.record = NameRecord {
            renew_at_ms: renewal_time(validity, None, chance).max(earliest_renewal(validity, now)).0,
            expires_ms: validity.to.0,
            // A directory may need a moment until it knows the window.
            ask_at_ms: Some(now.0 + (validity.lifetime().millis().min(ASK_AFTER_FAILURE.millis()) / 10).max(1000)),
            worked: worked.or(state.record.worked),
            directory: std::mem::take(&mut state.record.directory),
            ..NameRecord::default()
        };
        Some(&state.record)
    }

    /// Records a failed attempt. Returns the record to keep.
    pub(in crate::acme) fn failed(
        &mut self,
        name: &Host,
        failure: &FailedAttempt,
        now: Time,
        chance: u64,
    ) -> Option<&NameRecord> {
        let state = self.names.get_mut(name)?;
        state.running = None;
        let record = &mut state.record;
        record.failures = record.failures.saturating_add(1);
        let wait = wait_after(record.failures, state.validity.map(Validity::lifetime), failure.told_wait, chance);
        record.retry_at_ms = now.after(wait).0;
        record.error = Some(failure.words.clone());
        Some(record)
    }

    /// Records the answer to a question for the renewal window: the window and the time until the next question, or
    /// nothing if the directory has no windows, or a failure. Returns the record to keep.
    pub(in crate::acme) fn answered(
        &mut self,
        name: &Host,
        answer: &Result<Option<(RenewalWindow, Span)>, FailedAttempt>,
        now: Time,
        chance: u64,
    ) -> Option<&NameRecord> {
        let state = self.names.get_mut(name)?;
        state.running = None;
        let (record, validity) = (&mut state.record, state.validity?);
        match answer {
            Ok(Some((window, again))) => {
                record.ask_at_ms = Some(now.after((*again).clamp(ASK_AGAIN.0, ASK_AGAIN.1)).0);
                let seen = (window.start.0, window.end.0);
                // The moment is drawn once for each window.
                if record.window_ms.replace(seen) != Some(seen) {
                    record.renew_at_ms = renewal_time(validity, Some(*window), chance).0;
                }
            }
            Ok(None) => record.ask_at_ms = None,
            Err(_) => record.ask_at_ms = Some(now.after(ASK_AFTER_FAILURE).0),
        }
        Some(record)
    }

    /// Records that all work in flight was given up.
    pub(in crate::acme) fn stop_all(&mut self) {
        self.names.values_mut().for_each(|state| state.running = None);
    }

    /// Returns the time of a name's next attempt to get a certificate.
    pub(in crate::acme) fn next_attempt(&self, name: &Host) -> Option<Time> {
        self.names.get(name)?.status(name).next_attempt
    }

    /// Removes names that no route has any more, once their certificates have expired and their waits are over.
    /// Returns them.
    pub(in crate::acme) fn forget_stale(&mut self, now: Time) -> Vec<Host> {
        let stale = |state: &NameState| {
            let ended = state.validity.is_none_or(|validity| validity.to < now);
            !state.is_wanted && state.running.is_none() && ended && state.record.retry_at_ms <= now.0
        };
        let stale: Vec<Host> =
            self.names.iter().filter(|(_, state)| stale(state)).map(|(name, _)| name.clone()).collect();
        stale.iter().for_each(|name| drop(self.names.remove(name)));
        stale
    }

    /// Returns the state of every name that a route has, by name.
    pub(in crate::acme) fn statuses(&self) -> Vec<NameStatus> {
        self.names.iter().filter(|(_, state)| state.is_wanted).map(|(name, state)| state.status(name)).collect()
    }
}

impl NameRecord {
    /// Returns the record, or a new one if it is older than the certificate: a crash may come between the two.
    fn corrected(self, validity: Option<Validity>, directory: &str) -> Self {
        let Some(validity) = validity else { return self };
        let is_older = self.renew_at_ms == 0 || ![0, validity.to.0].contains(&self.expires_ms);
        // That of another directory is due for renewal.
        if !is_older || !["", directory].contains(&self.directory.as_str()) {
            return self;
        }
        Self {
            directory: directory.to_owned(),
            renew_at_ms: renewal_time(validity, None, 0).0,
            expires_ms: validity.to.0,
            ask_at_ms: Some(0),
            worked: self.worked,
            ..Self::default()
        }
    }
}

impl NameState {
    fn of_directory(mut self, directory: &str) -> Self {
        if self.record.directory != directory {
            self.record = NameRecord { directory: directory.to_owned(), ..NameRecord::default() };
        }
        self
    }

    fn failed(&self) -> bool {
        self.record.failures > 0
    }

    /// Returns the time at which an order is due.
    fn order_at(&self) -> u64 {
        self.record.retry_at_ms.max(if self.validity.is_some() { self.record.renew_at_ms } else { 0 })
    }

    /// Returns the time at which some work is due; `None` for a name that needs none or has some in flight.
    fn due_at(&self) -> Option<Time> {
        let ask_at = self.validity.and(self.record.ask_at_ms).unwrap_or(u64::MAX);
        (self.is_wanted && self.running.is_none()).then(|| Time(self.order_at().min(ask_at)))
    }

    /// Returns the key by which work is ordered, the most urgent first.
    fn urgency(&self) -> (bool, Time) {
        (self.failed(), self.validity.map_or(Time(0), |validity| validity.to))
    }

    fn work(&self, now: Time) -> Work {
        if self.order_at() <= now.0 {
            Work::Order { failures: self.record.failures, worked: self.record.worked }
        } else {
            Work::AskWindow
        }
    }

    fn status(&self, name: &Host) -> NameStatus {
        let is_ordering = matches!(self.running, Some(Work::Order { .. }));
        let step = match self.validity {
            _ if is_ordering => NameStep::Ordering,
            _ if self.failed() => NameStep::Failing,
            Some(_) => NameStep::Valid,
            None => NameStep::Waiting,
        };
        NameStatus {
            name: name.clone(),
            step,
            next_attempt: (!is_ordering).then(|| Time(self.order_at())),
            last_error: self.record.error.clone(),
            expires: self.validity.map(|validity| validity.to),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(1_000_000_000);
    const HOUR: Span = Span::from_secs(3600);
    const ORDER: Work = Work::Order { failures: 0, worked: None };

    fn name(text: &str) -> Host {
        Host::parse(text).unwrap()
    }

    fn plan(names: &[&str]) -> NamePlan {
        let mut plan = NamePlan::default();
        plan.set_directory("https://ca.example/dir");
        plan.set_wanted(&names.iter().map(|text| name(text)).collect());
        plan
    }

    fn names(count: usize) -> NamePlan {
        let names: Vec<String> = (0..count).map(|at| format!("n{at:03}.example")).collect();
        plan(&names.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn failure() -> FailedAttempt {
        FailedAttempt { words: "the authority says no".to_owned(), told_wait: None }
    }

    fn validity(hours: u64) -> Validity {
        Validity { from: NOW, to: NOW.after(Span::from_secs(hours * 3600)) }
    }

    fn started(plan: &mut NamePlan, now: Time) -> Vec<Job> {
        std::iter::from_fn(|| plan.start_next(now)).collect()
    }

    #[test]
    fn a_new_name_is_ordered_at_once_and_only_once() {
        let mut plan = plan(&["a.example", "*.a.example"]);
        assert_eq!(plan.next_due(), Some(Time(0)));
        let jobs = started(&mut plan, NOW);
        assert_eq!(jobs, ["a.example", "*.a.example"].map(|text| Job { name: name(text), work: ORDER }));
        assert_eq!((plan.next_due(), started(&mut plan, NOW)), (None, vec![]));
        plan.set_wanted(&[name("a.example")].into());
        assert_eq!(started(&mut plan, NOW), [], "a change of routes starts no second order");
    }

    #[test]
    fn a_certificate_is_renewed_in_time_and_a_failure_waits_longer_each_time() {
        let mut plan = plan(&["a.example"]);
        let (a, mut waits) = (name("a.example"), Vec::new());
        let mut now = NOW;
        for _ in 0..3 {
            assert_eq!(started(&mut plan, now).len(), 1);
            plan.failed(&a, &failure(), now, 0);
            assert_eq!(plan.statuses()[0].step, NameStep::Failing);
            let due = plan.next_due().unwrap();
            assert_eq!(started(&mut plan, Time(due.0 - 1)), []);
            waits.push(due.since(now));
            now = due;
        }
        assert_eq!(waits, [60, 180, 540].map(Span::from_secs));
        let expected = Work::Order { failures: 3, worked: None };
        assert_eq!(started(&mut plan, now), [Job { name: a.clone(), work: expected }]);
        plan.obtained(&a, validity(90), Some(ChallengeKind::TlsAlpn), now, 0);
        let status = &plan.statuses()[0];
        assert_eq!((status.step, &status.last_error), (NameStep::Valid, &None));
        assert_eq!(status.next_attempt, Some(NOW.after(Span::from_secs(60 * 3600))));
        let again = Work::Order { failures: 0, worked: Some(ChallengeKind::TlsAlpn) };
        assert_eq!(started(&mut plan, status.next_attempt.unwrap()), [Job { name: a, work: again }]);
    }

    #[test]
    fn waits_survive_a_restart_and_the_removal_of_the_route() {
        let mut before = plan(&["a.example"]);
        let a = name("a.example");
        started(&mut before, NOW);
        let record = before.failed(&a, &failure(), NOW, 0).unwrap().clone();
        let kept = serde_json::to_string(&record).unwrap();
        let mut after = NamePlan::default();
        after.set_directory("https://ca.example/dir");
        after.restore(a.clone(), serde_json::from_str(&kept).unwrap(), None);
        for plan in [&mut before, &mut after] {
            plan.set_wanted(&BTreeSet::new());
            assert_eq!(plan.forget_stale(NOW), []);
            plan.set_wanted(&[a.clone()].into());
            assert_eq!(plan.next_due(), Some(NOW.after(Span::from_secs(60))));
            assert_eq!(plan.statuses()[0].last_error.as_deref(), Some("the authority says no"));
            plan.set_wanted(&BTreeSet::new());
            assert_eq!(plan.forget_stale(NOW.after(HOUR)), std::slice::from_ref(&a));
        }
    }

    #[test]
    fn another_directory_renews_at_once_and_forgets_failures() {
        let mut plan = plan(&["a.example", "b.example"]);
        started(&mut plan, NOW);
        plan.obtained(&name("a.example"), validity(90), None, NOW, 0);
        plan.failed(&name("b.example"), &failure(), NOW, 0);
        plan.set_directory("https://ca.example/dir");
        assert_eq!(started(&mut plan, NOW), [], "it is the same one");
        plan.set_directory("https://other.example/dir");
        assert_eq!(started(&mut plan, NOW).len(), 2);
    }

    #[test]
    fn names_that_hang_leave_places_to_those_that_did_not_fail() {
        let mut plan = names(RUNNING_MAX);
        assert_eq!(started(&mut plan, NOW).len(), RUNNING_MAX);
        for at in 0..RUNNING_MAX {
            plan.failed(&name(&format!("n{at:03}.example")), &failure(), NOW, 0);
        }
        let later = NOW.after(HOUR);
        assert_eq!(started(&mut plan, later).len(), RUNNING_FAILED_MAX);
        let with_new: BTreeSet<Host> = plan.names.keys().cloned().chain([name("new.example")]).collect();
        plan.set_wanted(&with_new);
        assert_eq!(started(&mut plan, later), [Job { name: name("new.example"), work: ORDER }]);
        let mut many = names(RUNNING_MAX + 5);
        assert_eq!(started(&mut many, NOW).len(), RUNNING_MAX, "places are bounded");
        many.failed(&name("n000.example"), &failure(), NOW, 0);
        assert_eq!(started(&mut many, NOW).len(), 1, "a place that is left goes to the next");
    }

    #[test]
    fn the_certificate_that_ends_first_is_renewed_first_and_a_name_without_one_before_it() {
        let mut plan = plan(&["a.example", "b.example", "c.example"]);
        started(&mut plan, NOW);
        plan.obtained(&name("a.example"), validity(90), None, NOW, 0);
        plan.obtained(&name("b.example"), validity(30), None, NOW, 0);
        plan.failed(&name("c.example"), &failure(), NOW, 0);
        let with_new: BTreeSet<Host> = plan.names.keys().cloned().chain([name("d.example")]).collect();
        plan.set_wanted(&with_new);
        let order: Vec<String> = started(&mut plan, validity(80).to).iter().map(|job| job.name.to_string()).collect();
        assert_eq!(order, ["d.example", "b.example", "a.example", "c.example"]);
    }

    #[test]
    fn the_renewal_window_of_the_authority_decides_and_is_asked_for_again() {
        let mut plan = plan(&["a.example"]);
        let a = name("a.example");
        started(&mut plan, NOW);
        plan.obtained(&a, validity(90), None, NOW, 0);
        let asked = plan.next_due().unwrap();
        assert_eq!(started(&mut plan, asked), [Job { name: a.clone(), work: Work::AskWindow }]);
        assert_eq!(plan.statuses()[0].step, NameStep::Valid);
        let window =
            RenewalWindow { start: NOW.after(Span::from_secs(10 * 3600)), end: NOW.after(Span::from_secs(20 * 3600)) };
        plan.answered(&a, &Ok(Some((window, HOUR))), asked, 1 << 63);
        let renewal = plan.statuses()[0].next_attempt.unwrap();
        assert_eq!(renewal, NOW.after(Span::from_secs(15 * 3600)));
        assert_eq!(plan.next_due(), Some(asked.after(HOUR)));
        started(&mut plan, asked.after(HOUR));
        plan.answered(&a, &Ok(Some((window, Span::from_secs(1)))), asked.after(HOUR), 0);
        assert_eq!(plan.statuses()[0].next_attempt, Some(renewal), "the moment in one window is drawn once");
        assert_eq!(plan.next_due(), Some(asked.after(HOUR).after(ASK_AGAIN.0)), "it is not asked all the time");
        let past = RenewalWindow { start: Time(0), end: Time(1) };
        let now = plan.next_due().unwrap();
        started(&mut plan, now);
        plan.answered(&a, &Ok(Some((past, HOUR))), now, 0);
        assert_eq!(started(&mut plan, now), [Job { name: a, work: ORDER }], "revoked: it is renewed at once");
    }

    #[test]
    fn without_windows_a_third_of_the_lifetime_stays_the_time_of_renewal() {
        for (answer, asks_again) in [(Ok(None), false), (Err(failure()), true)] {
            let mut plan = plan(&["a.example"]);
            let a = name("a.example");
            started(&mut plan, NOW);
            plan.obtained(&a, validity(90), None, NOW, 0);
            let asked = plan.next_due().unwrap();
            started(&mut plan, asked);
            plan.answered(&a, &answer, asked, 0);
            let renewal = NOW.after(Span::from_secs(60 * 3600));
            assert_eq!(plan.statuses()[0].next_attempt, Some(renewal));
            assert_eq!(plan.statuses()[0].last_error, None);
            assert_eq!(plan.next_due(), Some(if asks_again { asked.after(HOUR) } else { renewal }));
        }
    }

    #[test]
    fn a_crash_between_a_certificate_and_its_record_causes_no_order() {
        let old = {
            let mut plan = plan(&["a.example"]);
            started(&mut plan, NOW);
            plan.obtained(&name("a.example"), validity(30), Some(ChallengeKind::Dns), NOW, 0).unwrap().clone()
        };
        let failed = NameRecord { directory: old.directory.clone(), failures: 2, ..NameRecord::default() };
        let third = NOW.after(Span::from_secs(60 * 3600));
        for (record, renewal) in [(NameRecord::default(), third), (failed, third), (old.clone(), third)] {
            let mut plan = plan(&[]);
            plan.restore(name("a.example"), record, Some(validity(90)));
            plan.set_wanted(&[name("a.example")].into());
            assert_eq!(plan.statuses()[0].next_attempt, Some(renewal));
            assert_eq!(started(&mut plan, NOW), [Job { name: name("a.example"), work: Work::AskWindow }]);
        }
        let mut same = plan(&[]);
        same.restore(name("a.example"), old.clone(), Some(validity(30)));
        assert_eq!(same.names[&name("a.example")].record, old, "a record of this certificate stays");
    }

    #[test]
    fn a_certificate_that_ends_soon_by_this_clock_is_not_ordered_again_and_again() {
        let mut plan = plan(&["a.example"]);
        for late in [validity(90).to, Time(validity(90).to.0 - 1000), validity(500).to] {
            started(&mut plan, late);
            plan.obtained(&name("a.example"), validity(90), None, late, 0);
            let next = plan.statuses()[0].next_attempt.unwrap();
            assert!(next >= late.after(HOUR), "{next}");
            plan.stop_all();
        }
    }

    #[test]
    fn a_certificate_without_a_route_is_neither_renewed_nor_forgotten_before_it_ends() {
        let mut plan = plan(&["a.example"]);
        started(&mut plan, NOW);
        plan.obtained(&name("a.example"), validity(90), None, NOW, 0);
        plan.set_wanted(&BTreeSet::new());
        assert_eq!((plan.next_due(), plan.statuses()), (None, vec![]));
        assert_eq!(plan.forget_stale(validity(90).to), []);
        assert_eq!(plan.forget_stale(validity(91).to), [name("a.example")]);
    }
}
