//! Tests whether a backend answers, for the client of a session.

use crate::domain::{Error, HealthPath, PageUrl, Session, Span};

use crate::registry::calls::Query;
use crate::registry::ports::PageTrust;
use crate::registry::queries::status::{BackendTest, BackendView};

use super::registry::Registry;

impl Registry {
    /// Tests a backend, for at most 5 s. A backend that does not answer is not an error.
    ///
    /// # Errors
    /// `NotFound` when the session does not exist, `Denied` or `Invalid` when the session may not test this backend,
    /// `Limited` when too many probes are under way.
    pub async fn test_backend(&self, test: &BackendTest) -> Result<BackendView, Error> {
        self.answer(&Query::Ping(test.session.clone()))?;
        let backend = match &test.backend {
            Ok(backend) => backend,
            Err(no_url) => return Ok(BackendView::unreachable(no_url.message().to_owned())),
        };
        let rules = self.rules();
        let allowed =
            |session: &Session| rules.tokens.of(&session.record)?.map_or(Ok(()), |token| token.check_backend(backend));
        let catalog = self.catalog();
        let session = catalog.session(test.session.reveal())?;
        allowed(session)?;
        rules.forbidden.check_url("backend_url", backend)?;
        let _permit = self.probes.begin(session.key)?;
        let page = PageUrl::of_backend(backend, &HealthPath::root());
        Ok(match self.traffic.get(session.key, &page, Span::from_secs(5), PageTrust::Reported).await {
            Ok(fetched) => BackendView {
                reachable: true,
                response_time_ms: Some(fetched.took.millis()),
                status_code: Some(fetched.status),
                tls_valid: Some(fetched.tls_valid),
                error: None,
            },
            Err(error) => BackendView::unreachable(error),
        })
    }
}
