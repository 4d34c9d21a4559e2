//! The `Date` field of responses that have none (RFC 9110 §6.6.1). On HTTP/1 connections hyper adds it.

use std::cell::RefCell;

use http::HeaderValue;

use crate::clock;

/// The last `Date` field, which holds for a second.
#[derive(Debug)]
pub(crate) struct DateField(RefCell<(u64, HeaderValue)>);

impl DateField {
    pub(super) fn new() -> Self {
        Self(RefCell::new((0, HeaderValue::from_static(""))))
    }

    /// Returns the field of the present second.
    pub(super) fn now(&self) -> HeaderValue {
        let now = clock::wall_time(clock::now());
        let (second, field) = &mut *self.0.borrow_mut();
        let is_new = now.0 / 1000 != *second;
        if let Some(new) = is_new.then(|| HeaderValue::try_from(now.http_date()).ok()).flatten() {
            (*second, *field) = (now.0 / 1000, new);
        }
        field.clone()
    }
}
