//! What a request expects, and how its body is held back until its backend wants it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Waker};

use http::HeaderMap;
use http::header::EXPECT;

/// What the `Expect` field of a request says (RFC 9110 §10.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expectation {
    /// Nothing: the body comes unasked.
    None,
    /// The body comes once it is asked for.
    Continue,
    /// Anything else. hyper would not ask for the body, and a client that waits for that would wait in vain.
    Unknown,
}

/// The expectation of a request with these fields.
pub(crate) fn of(headers: &HeaderMap) -> Expectation {
    headers.get_all(EXPECT).iter().fold(Expectation::None, |before, value| match value.as_bytes() {
        b"" if before == Expectation::None => Expectation::None,
        said if said.eq_ignore_ascii_case(b"100-continue") && before != Expectation::Unknown => Expectation::Continue,
        _ => Expectation::Unknown,
    })
}

/// Holds a body back until the backend wants it (RFC 9110 §10.1.1). hyper asks the client for it when it is first
/// polled, and calls back from where it demands `Sync`, so this is no `Cell`.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    open: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Gate {
    pub(crate) fn open(&self) {
        self.open.store(true, Ordering::Relaxed);
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        waker.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    pub(crate) fn wait(&self, cx: &Context<'_>) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_100_continue_is_understood() {
        let said = |values: &[&'static str]| {
            of(&values.iter().map(|value| (EXPECT, http::HeaderValue::from_static(value))).collect())
        };
        for none in [&[][..], &[""]] {
            assert_eq!(said(none), Expectation::None, "{none:?}");
        }
        for asked in [&["100-continue"][..], &["100-Continue"], &["100-continue", "100-CONTINUE"]] {
            assert_eq!(said(asked), Expectation::Continue, "{asked:?}");
        }
        for unknown in [
            &["200-ok"][..],
            &["100-continue, x"],
            &["x, 100-continue"],
            &["100-continue, 100-continue"],
            &["100-continue;q=1"],
            &["100-continue="],
            &["100 continue"],
            &[","],
            &["100-continue", "x"],
            &["x", "100-continue"],
            &["100-continue", ""],
            &["x", ""],
        ] {
            assert_eq!(said(unknown), Expectation::Unknown, "{unknown:?}");
        }
    }
}
