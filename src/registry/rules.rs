//! The rules for decisions that come from the server's configuration.

use crate::domain::{Forbidden, Options, Time};

use super::commands::decision::DecisionContext;
use super::limits::RegistryLimits;
use super::registration_tokens::RegistrationTokens;

/// The rules for decisions that come from the server's configuration. A reload replaces them as a whole.
#[derive(Clone, Debug)]
pub struct RegistryRules {
    /// The bounds.
    pub limits: RegistryLimits,
    /// The registration tokens.
    pub tokens: RegistrationTokens,
    /// The addresses that are never connected to.
    pub forbidden: Forbidden,
    /// The options where neither a route nor its session sets any.
    pub defaults: Options,
}

impl RegistryRules {
    pub(super) fn at(&self, now: Time) -> DecisionContext<'_> {
        DecisionContext { now, limits: &self.limits, tokens: &self.tokens, forbidden: &self.forbidden }
    }
}
