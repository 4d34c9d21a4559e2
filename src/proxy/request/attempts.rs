//! The attempts that were made for one request.

use crate::domain::Time;
use crate::proxy::refusal::{AttemptError, Refusal};
use crate::proxy::upstream::login_conns::LoginConns;
use crate::traffic::{AttemptFailure, NoEndpoint, Pool, SelectionInput};

/// The failed attempts of one request.
#[derive(Default)]
pub(crate) struct Attempts {
    // The indexes of the members that were tried.
    tried: Vec<usize>,
    // The last of them, if only a connection was dead: it may be tried again when no other member is left.
    spared: Option<usize>,
    last_refusal: Option<Refusal>,
}

impl Attempts {
    /// Returns the index of the next member to try: first the one where the client is logged in, then another one, else
    /// the one of which only a connection was dead.
    ///
    /// # Errors
    /// If no member can take the request.
    pub(crate) fn next_member(
        &mut self,
        logins: &LoginConns,
        pool: &Pool,
        now: Time,
        input: impl Fn() -> SelectionInput,
    ) -> Result<usize, NoEndpoint> {
        if self.tried.is_empty()
            && let Some(member) = logins.member(pool, now)
        {
            return Ok(member);
        }
        let mut selected = pool.select(now, &self.tried, &input);
        if selected.is_err()
            && let Some(spared) = self.spared.take()
        {
            self.tried.retain(|member| *member != spared);
            selected = pool.select(now, &self.tried, &input);
        }
        selected
    }

    /// Notes a failed attempt at a member. Returns true if another member may be left.
    pub(crate) fn note_failure(&mut self, pool: &Pool, member: usize, error: &AttemptError) -> bool {
        self.tried.push(member);
        self.spared = (error.failure != AttemptFailure::Connect).then_some(member);
        self.last_refusal = Some(error.refusal);
        self.spared.is_some() || self.tried.len() < pool.members().len()
    }

    /// Returns the refusal of the last attempt.
    pub(crate) fn last_refusal(&self) -> Option<Refusal> {
        self.last_refusal
    }
}
