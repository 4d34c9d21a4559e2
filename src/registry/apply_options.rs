//! The wishes of an apply, as callers write them in JSON.

use serde::Deserialize;
use utoipa::ToSchema;

use crate::domain::{ApplyReason, ConfirmWithin, Error, Section, Sections, Span, Subject};
use crate::json::numbers::Duration;
use crate::json::values::present;

use super::commands::apply::{ConfigApply, ConfirmRequest};

/// The wishes of an apply.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
#[schema(as = Apply, example = json!({ "scopes": ["routes", "headers", "options", "health", "ratelimit", "circuit"], "reason": "the new checkout" }))]
pub struct ApplyOptions {
    /// The sections; the other ones stay staged. All sections if left out.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false, min_items = 1)]
    scopes: Option<Vec<Section>>,
    /// The reason, for the history and the audit.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false)]
    reason: Option<ApplyReason>,
    /// The time within which the apply must be confirmed, 1s to 24h; after it, the configuration before is restored.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false)]
    confirm_within: Option<Duration>,
    /// True to restore the configuration before at once when the share of 5xx on the changed routes rises by 5 points
    /// over at least 50 requests. Needs `confirm_within`.
    #[serde(default)]
    guard: bool,
}

impl ApplyOptions {
    /// Returns the apply. `nonce` must be 128 random bits.
    ///
    /// # Errors
    /// `Invalid` for an empty list of sections, a time out of bounds, and a guard without a time.
    pub fn command(self, subject: Subject, expected: Option<Vec<u64>>, nonce: u128) -> Result<ConfigApply, Error> {
        let sections = match self.scopes.as_deref() {
            None => Sections::ALL,
            Some([]) => return Err(Error::invalid("scopes", "is empty; leave it out to apply all")),
            Some(scopes) => scopes.iter().fold(Sections::default(), |all, scope| all | *scope),
        };
        let confirm = confirm(self.confirm_within.map(|within| within.0), self.guard, nonce)?;
        Ok(ConfigApply { subject, sections, expected, reason: self.reason, confirm })
    }
}

/// Returns the wish that an apply waits for its confirmation. `nonce` must be 128 random bits.
///
/// # Errors
/// `Invalid` for a time out of bounds, and a guard without a time.
pub fn confirm(within: Option<Span>, guard: bool, nonce: u128) -> Result<Option<ConfirmRequest>, Error> {
    let Some(within) = within else {
        let alone = Error::invalid("guard", "needs confirm_within, such as 5m");
        return if guard { Err(alone) } else { Ok(None) };
    };
    let within = ConfirmWithin::new(within)?;
    Ok(Some(ConfirmRequest { within, nonce, guard: guard.then(Default::default) }))
}
