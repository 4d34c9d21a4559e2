//! The calls of operators about the server itself: its certificates, and the reload of its configuration.
//!
//! Nothing is decided here. The tasks that renew certificates and reload the configuration keep the list and take the
//! requests. Invariant: a request is answered, or its caller hears that the server is stopping.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use tokio::sync::{mpsc, oneshot};

use crate::domain::{Error, Kind, Time};

use crate::registry::audit::CallOrigin;
use crate::registry::server_state::{CertificateView, CertificatesView, FileProblem, ReloadRequest, ReloadView};

use super::registry::{Registry, stopping};

impl Registry {
    /// Returns the certificates of the server.
    pub fn certificates(&self) -> CertificatesView {
        let lists = self.server.certificates.load();
        let items = lists.iter().rev().flat_map(|(_, list)| list).cloned().collect();
        CertificatesView { items }
    }

    /// Replaces the list of the certificates of one source, `files` or `acme`.
    pub fn set_certificates(&self, source: &'static str, list: &[CertificateView]) {
        if self.server.certificates.load().get(source).map(Vec::as_slice) != Some(list) {
            self.server.certificates.rcu(|lists| {
                let mut lists = BTreeMap::clone(lists);
                lists.insert(source, list.to_vec());
                lists
            });
        }
    }

    /// Returns the earliest moment at which a certificate of the server expires.
    pub(crate) fn certificate_expiry(&self) -> Option<Time> {
        self.server.certificates.load().values().flatten().filter_map(|certificate| certificate.not_after).min()
    }

    /// Returns the faults of the configuration's files.
    pub(crate) fn config_problems(&self) -> Vec<FileProblem> {
        self.server.problems.load().values().flatten().cloned().collect()
    }

    /// Replaces the faults of one source: `file` for the configuration file, `services` for those of services.
    pub fn set_config_problems(&self, source: &'static str, list: &[FileProblem]) {
        if self.server.problems.load().get(source).map(Vec::as_slice).unwrap_or_default() != list {
            self.server.problems.rcu(|lists| {
                let mut lists = BTreeMap::clone(lists);
                lists.insert(source, list.to_vec());
                lists
            });
        }
    }

    /// Reloads the configuration of the server.
    ///
    /// # Errors
    /// `Refused` if it is invalid, in the words of a start; `Unavailable` if the server stops.
    pub async fn reload(&self, origin: CallOrigin) -> Result<ReloadView, Error> {
        let (sender, answer) = oneshot::channel();
        self.server.reloads.send(ReloadRequest { origin, answer: sender }).await.map_err(|_| stopping())?;
        let answer = answer.await.map_err(|_| stopping())?;
        answer.map_err(|words| Error::new(Kind::Refused, words))
    }

    /// Returns the requests for a reload, once, for the task that answers them.
    pub fn take_reload_requests(&self) -> Option<mpsc::Receiver<ReloadRequest>> {
        self.server.requests.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
