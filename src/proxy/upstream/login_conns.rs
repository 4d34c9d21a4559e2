//! Backend connections that belong to one client connection, because the client has logged in on them.
//!
//! A backend that was told NTLM or Negotiate serves all requests of the connection as that user. Invariants: such a
//! connection carries the requests of one client connection only, and ends with it.

use std::cell::RefCell;
use std::rc::Rc;

use crate::domain::Time;
use crate::proxy::upstream::http1_conn::Http1Conn;
use crate::proxy::upstream::idle_pools::IdlePool;
use crate::traffic::{Eligibility, Pool};

/// The idle connections of one client connection, the last used at the end.
#[derive(Default)]
pub(crate) struct LoginConns(RefCell<Vec<Http1Conn>>);

impl LoginConns {
    /// The most connections that are kept; the one that was not used for longest makes room.
    const MAX: usize = 8;

    /// Keeps an idle connection.
    pub(crate) fn put(&self, upstream: Http1Conn) {
        let mut kept = self.0.borrow_mut();
        if kept.len() >= Self::MAX {
            kept.remove(0);
        }
        kept.push(upstream);
    }

    /// Returns the client's own connection to the backend of a pool.
    pub(crate) fn take(&self, pool: &Rc<IdlePool>) -> Option<Http1Conn> {
        let mut kept = self.0.borrow_mut();
        let at = kept.iter().rposition(|upstream| upstream.is_of(pool))?;
        Some(kept.remove(at))
    }

    /// Returns the index of the member where the client is logged in, if that member can take requests.
    pub(crate) fn member(&self, pool: &Pool, now: Time) -> Option<usize> {
        let kept = self.0.borrow();
        let index_of = |upstream: &Http1Conn| {
            pool.members().iter().position(|member| {
                upstream.leads_to(member) && matches!(member.eligibility(now), Eligibility::Ready(_))
            })
        };
        kept.iter().rev().find_map(index_of)
    }
}
