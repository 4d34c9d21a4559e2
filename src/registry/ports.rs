//! The ports of the registry to the rest of the server:
//! a store keeps, a publisher shows, traffic observes. Tests put their own there.

use std::pin::Pin;
use std::sync::Arc;

use crate::clock::Reading;
use crate::domain::{Catalog, Change, Forbidden, Options, PageUrl, RouteId, SessionKey, Span};

use super::queries::views::{BreakerNumbers, RouteNumbers};

/// A future that a port gives.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Keeps changes.
pub trait Store: Send + 'static {
    /// Everything kept, as changes to be absorbed by an empty catalog, and the revision it is at.
    ///
    /// # Errors
    /// If what is kept cannot be read or understood.
    fn load(&mut self) -> impl Future<Output = Result<StoredState, StoreError>> + Send;

    /// Moves all kept moments by `skew_ms`, and keeps what the clocks say at this start.
    ///
    /// # Errors
    /// If it cannot be kept.
    fn begin(&mut self, reading: &Reading, skew_ms: i64) -> impl Future<Output = Result<(), StoreError>> + Send {
        let _ = (reading, skew_ms);
        async { Ok(()) }
    }

    /// Keeps `changes` and `revision`, all or nothing: after an error nothing of them is kept.
    /// If one of them [is precious](Change::is_precious), all survive a loss of power once this returns.
    /// Changes that [are not stored](Change::is_stored) are passed over.
    ///
    /// # Errors
    /// If they cannot be kept now.
    fn commit(&mut self, changes: &[Change], revision: u64) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Tries whether changes can be kept now. It may write, but changes nothing that is kept.
    ///
    /// # Errors
    /// If they cannot.
    fn probe(&mut self) -> impl Future<Output = Result<(), StoreError>> + Send {
        async { Ok(()) }
    }

    /// Looks whether what is kept is still where it was put. Quick.
    ///
    /// # Errors
    /// If it is not.
    fn look(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Returns true once what is kept and what was answered differ, or may: only a start anew brings them together.
    fn has_diverged(&self) -> bool {
        false
    }

    /// Closes it in good order.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// The state that a store kept.
#[derive(Debug, Default)]
pub struct StoredState {
    /// The revision at the last commit.
    pub revision: u64,
    /// Sessions (replaced ones before those that replaced them), active configurations, staged ones.
    pub changes: Vec<Change>,
    /// The clocks at the last start; empty if they are not known.
    pub reading: Reading,
}

/// A store's failure. For the log; clients hear that the registry is unavailable.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Shows changes to traffic before they are answered.
pub trait Publish: Send + 'static {
    /// Takes in `changes`, which made `catalog` of the one before. Must be quick: the writer waits.
    fn publish(&mut self, catalog: &Arc<Catalog>, changes: &[Change]);
}

/// The observations of traffic, and the pages that it can fetch. The default methods observe nothing and reach nothing.
pub trait Traffic: Send + Sync + 'static {
    /// A route's numbers since it has its backend.
    fn numbers(&self, session: SessionKey, route: RouteId) -> RouteNumbers {
        let _ = (session, route);
        RouteNumbers::default()
    }

    /// Returns the state of a route's breaker and the health of its backend.
    fn breaker(&self, session: SessionKey, route: RouteId) -> BreakerNumbers {
        let _ = (session, route);
        BreakerNumbers::default()
    }

    /// Closes a route's circuit breaker and forgets what it counted.
    fn reset_breaker(&self, session: SessionKey, route: RouteId) {
        let _ = (session, route);
    }

    /// The names of the parts of the server that carry and check traffic and have not moved for more than a second.
    fn silent_parts(&self) -> Vec<String> {
        Vec::new()
    }

    /// Requests and tunnels of a session under way.
    fn in_flight(&self, session: SessionKey) -> u64 {
        let _ = session;
        0
    }

    /// Returns the addresses that are never connected to. Called once.
    fn forbidden(&self) -> Forbidden {
        Forbidden::default()
    }

    /// The options of a route for which neither it nor its session sets any; asked for once.
    fn default_options(&self) -> Options {
        Options::default()
    }

    /// Reports that the backends of routes have just answered, so that the routes serve at once.
    fn vouch(&self, session: SessionKey, routes: &[RouteId]) {
        let _ = (session, routes);
    }

    /// Gets a page for a session, without following redirects, and reads at most 64 KiB of it.
    /// The error is fit for the client's eyes.
    fn get<'a>(
        &'a self,
        session: SessionKey,
        page: &'a PageUrl,
        timeout: Span,
        trust: PageTrust,
    ) -> BoxFuture<'a, Result<PageResponse, String>> {
        let _ = (session, page, timeout, trust);
        Box::pin(async { Err("nobody answers".to_owned()) })
    }
}

/// The policy for a page whose server has an invalid certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PageTrust {
    /// The page is not fetched.
    Required,
    /// The page is fetched all the same, and [`PageResponse::tls_valid`] is false.
    Reported,
    /// It is got as the health checks of this route ask, `Host` and method included; of its certificate becomes what becomes of it
    /// for requests.
    AsRoute(SessionKey, RouteId),
}

/// The response for a fetched page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageResponse {
    /// The status code.
    pub status: u16,
    /// The time from the start of the connection to the end of the response head.
    pub took: Span,
    /// True if a certificate was shown that is trusted and is the host's; never so without TLS.
    pub tls_valid: bool,
}
