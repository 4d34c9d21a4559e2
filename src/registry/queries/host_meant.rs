//! Guesses the host that a request without a route meant: one that is spelled almost like its own, or one that differs by labels at the
//! start.
//!
//! It compares names and knows no paths. Invariants: a guess is far if one of its labels is, however much of the names is the same; the
//! order of the rules decides nothing.

use crate::domain::{Host, letters_apart};

/// The longest host that is compared by its spelling, in bytes. Comparing costs the product of the lengths.
const LENGTH_MAX: usize = 64;
/// The letters by which a whole name may differ.
const LETTERS_MAX: usize = 4;
/// The letters for which a label too many at the start of a name counts.
const LETTERS_OF_LABEL: usize = 2;

/// A guess at the host that was meant. The nearest one is the smallest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HostGuess<'a> {
    distance: usize,
    is_staged: bool,
    form: GuessForm,
    name: &'a str,
}

/// The way in which the known name is like the host that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum GuessForm {
    /// It is spelled almost like it.
    Alike,
    /// It stands behind further labels of the host.
    Above,
    /// It is the base of a wildcard, which does not cover the base itself.
    Base,
    /// It is the base of a wildcard, and spelled almost like the end of the host.
    BaseAlike,
}

impl<'a> HostGuess<'a> {
    /// Returns the guess that a rule allows, if it is near.
    pub(super) fn of(host: &str, rule: &'a Host, is_staged: bool) -> Option<Self> {
        let (distance, form, name) = match rule {
            Host::Exact(name) => match labels_before(host, name) {
                Some(before) => (LETTERS_OF_LABEL * before, GuessForm::Above, name),
                None => (alike(host, name)?, GuessForm::Alike, name),
            },
            Host::Below(base) => match end_of(host, labels(base))? {
                ("", end) => (alike(end, base)?, GuessForm::Base, base),
                (_, end) => (alike(end, base)?, GuessForm::BaseAlike, base),
            },
            Host::Any => return None,
        };
        Some(Self { distance, is_staged, form, name })
    }

    /// True if the host that was asked for is the base of the wildcard.
    pub(super) fn is_base_of(&self, host: &str) -> bool {
        self.form == GuessForm::Base && self.name == host
    }

    /// Returns the guess in words, behind which those for a rule that is only `staged` may stand.
    pub(super) fn words(&self, host: &str, staged: &str) -> String {
        let name = self.name;
        let is_staged = |what: &str| if self.is_staged { format!("{what} {staged}") } else { String::new() };
        match self.form {
            GuessForm::Alike => format!("; did you mean the host {name}?{}", is_staged(" It is")),
            GuessForm::Above => {
                let is_staged = is_staged(" It is");
                let stop = if self.is_staged { ";" } else { "" };
                format!("; did you mean the host {name}?{is_staged}{stop} *.{name} would cover names below it")
            }
            GuessForm::Base => format!(
                "; did you mean a name below {name}? *.{name} covers names below it, not the name itself{}",
                is_staged("; it is")
            ),
            GuessForm::BaseAlike => {
                let before = end_of(host, labels(name)).map_or("", |(before, _)| before);
                format!("; did you mean the host {before}{name}? *.{name} covers it{}", is_staged(", and is"))
            }
        }
    }
}

/// Returns the number of labels that the host has before the name; `None` if it does not end with the name.
fn labels_before(host: &str, name: &str) -> Option<usize> {
    let before = host.strip_suffix(name)?.strip_suffix('.')?;
    Some(labels(before))
}

fn labels(name: &str) -> usize {
    name.bytes().filter(|byte| *byte == b'.').count() + 1
}

/// Splits the last labels from a host. The labels before them keep their dot. Returns `None` if the host has fewer.
fn end_of(host: &str, labels_max: usize) -> Option<(&str, &str)> {
    match host.rmatch_indices('.').nth(labels_max - 1) {
        Some((dot, _)) => host.split_at_checked(dot + 1),
        None => (labels(host) == labels_max).then_some(("", host)),
    }
}

/// Returns the number of letters by which two names differ, if few of each label do.
fn alike(host: &str, name: &str) -> Option<usize> {
    if host == name {
        return Some(0);
    }
    if host.len() > LENGTH_MAX || host.len().abs_diff(name.len()) > LETTERS_MAX {
        return None;
    }
    if labels(host) != labels(name) {
        // A dot is missing, or there is one too many.
        return letters_apart(host, name, 1);
    }
    let mut distance = 0;
    for (label, known) in host.split('.').zip(name.split('.')) {
        distance += letters_apart(label, known, label.len().max(known.len()) / 3)?;
    }
    (distance <= LETTERS_MAX).then_some(distance)
}
