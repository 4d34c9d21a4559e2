//! Backend connections that belong to one client connection, because somebody logs in on them.
//!
//! A backend that was told NTLM or Negotiate serves whatever comes on the connection as that user. What must hold: such a
//! connection carries the requests of one client connection and of nobody else, and ends with it.

use std::cell::RefCell;
use std::rc::Rc;

use crate::domain::Time;
use crate::proxy::upstream::conn::Upstream;
use crate::proxy::upstream::idle_pools::Idle;
use crate::traffic::{Eligibility, Pool};

/// The idle connections that one client connection keeps, the last used at the end.
#[derive(Default)]
pub(crate) struct Logins(RefCell<Vec<Upstream>>);

impl Logins {
    /// To so many backends at once; the one not used for longest makes room.
    const MAX: usize = 8;

    pub(crate) fn put(&self, upstream: Upstream) {
        let mut kept = self.0.borrow_mut();
        if kept.len() >= Self::MAX {
            kept.remove(0);
        }
        kept.push(upstream);
    }

    /// The client's own connection to a backend.
    pub(crate) fn take(&self, home: &Rc<Idle>) -> Option<Upstream> {
        let mut kept = self.0.borrow_mut();
        let at = kept.iter().rposition(|upstream| upstream.is_at_home(home))?;
        Some(kept.remove(at))
    }

    /// The place of the member where the client is logged in, if it can take requests.
    pub(crate) fn place(&self, pool: &Pool, now: Time) -> Option<usize> {
        let kept = self.0.borrow();
        let place_of = |upstream: &Upstream| {
            pool.members().iter().position(|member| {
                upstream.leads_to(member) && matches!(member.eligibility(now), Eligibility::Ready(_))
            })
        };
        kept.iter().rev().find_map(place_of)
    }
}
