//! A certificate from files, renewed when they change.
//!
//! It reads files and decides; the task in `reloader` serves what it gives. Invariants: contents that cannot be used are
//! refused with one line in the log, and the certificate before them is served on; an expiry is warned of once a day.

use std::path::Path;

use crate::certificates::{CertificateFacts, CertificateFiles, ServedCertificate, TlsFileError};
use crate::domain::{Host, Span, Time};
use crate::file_watch::{FileVersions, Version};
use crate::registry::CertificateView;

/// The longest time before the expiry at which warnings begin. For a short certificate it is a third of its lifetime.
const WARN_BEFORE: Span = Span::from_secs(30 * 24 * 60 * 60);
/// The interval of warnings.
const WARN_EVERY: Span = Span::from_secs(24 * 60 * 60);

/// A certificate from files.
#[derive(Clone, Debug)]
pub(super) struct WatchedCertificate {
    /// The files. Their section is `pipe`, `api` or `tls`.
    pub(super) files: CertificateFiles,
    domains: Vec<Host>,
    /// The certificate that is served.
    pub(super) current: ServedCertificate,
    versions: FileVersions,
    last_error: Option<String>,
    warned_at: Option<Time>,
}

impl WatchedCertificate {
    /// Loads a certificate for `domains`, or for its own names if there are none.
    ///
    /// # Errors
    /// If a file cannot be read or used.
    pub(super) fn load(files: CertificateFiles, domains: Vec<Host>) -> Result<Self, TlsFileError> {
        // Before the files are read: what is written meanwhile is another version then.
        let version = Version::read(paths(&files));
        let current = load(&files, &domains)?;
        let (versions, last_error, warned_at) = (FileVersions::using(version), None, None);
        Ok(Self { files, domains, current, versions, last_error, warned_at })
    }

    /// Returns true if it is the certificate of these files for these domains.
    pub(super) fn is_of(&self, files: &CertificateFiles, domains: &[Host]) -> bool {
        self.files == *files && self.domains == domains
    }

    /// Returns its files.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        paths(&self.files)
    }

    /// Takes over new contents of the files. Returns true if another certificate is to be served now.
    pub(super) fn look(&mut self) -> bool {
        let version = Version::read(paths(&self.files));
        if !self.versions.is_news(&version) {
            if !self.versions.is_refused(&version) {
                self.last_error = None;
            }
            return false;
        }
        let loaded = load(&self.files, &self.domains);
        self.versions.tried(version, loaded.is_ok());
        let (section, cert) = (self.files.section, self.files.cert.display());
        match loaded {
            Ok(new) => {
                let is_other = new.key.cert != self.current.key.cert || new.authorities != self.current.authorities;
                tracing::info!(section, %cert, serial = new.facts.serial, expires = %new.facts.not_after, "the certificate was renewed");
                (self.current, self.last_error, self.warned_at) = (new, None, None);
                is_other
            }
            Err(error) => {
                tracing::warn!(section, %error, "the new certificate is not used; the one before is served on");
                self.last_error = Some(error.to_string());
                false
            }
        }
    }

    /// Warns in the log if the certificate is out of date or expires soon, once a day.
    pub(super) fn warn(&mut self, now: Time) {
        let state = state(&self.current.facts, now);
        if state == "valid" || self.warned_at.is_some_and(|warned| now < warned.after(WARN_EVERY)) {
            return;
        }
        self.warned_at = Some(now);
        let (section, cert, expires) = (self.files.section, self.files.cert.display(), self.current.facts.not_after);
        match state {
            "expired" => tracing::warn!(section, %cert, %expires, "the certificate has expired"),
            "not_yet_valid" => tracing::warn!(section, %cert, "the certificate is not valid yet"),
            _ => tracing::warn!(section, %cert, %expires, "the certificate expires soon; renew it"),
        }
    }

    /// Returns what operators see.
    pub(super) fn view(&self, now: Time) -> CertificateView {
        let facts = &self.current.facts;
        CertificateView {
            names: self.current.names.iter().map(ToString::to_string).collect(),
            port: if self.files.section == "tls" { "proxy" } else { self.files.section },
            source: "files",
            file: Some(self.files.cert.display().to_string()),
            state: state(facts, now),
            not_before: Some(facts.not_before),
            not_after: Some(facts.not_after),
            issuer: Some(facts.issuer.clone()),
            serial: Some(facts.serial.clone()),
            last_error: self.last_error.clone(),
            next_attempt: None,
        }
    }
}

fn paths(files: &CertificateFiles) -> impl Iterator<Item = &Path> {
    [Some(&files.cert), Some(&files.key), files.client_ca.as_ref()].into_iter().flatten().map(AsRef::as_ref)
}

fn load(files: &CertificateFiles, domains: &[Host]) -> Result<ServedCertificate, TlsFileError> {
    // Only the proxy chooses among certificates by name.
    if files.section != "tls" {
        return ServedCertificate::load(files, domains);
    }
    let named = ServedCertificate::load_named(files, domains)?;
    for name in named.foreign_names() {
        let cert = files.cert.display();
        tracing::warn!(%cert, %name, "the certificate does not hold this name of its domains; clients refuse it there");
    }
    Ok(named)
}

/// Returns the state of a certificate at `now`, as operators see it.
fn state(facts: &CertificateFacts, now: Time) -> &'static str {
    let lifetime = facts.not_after.since(facts.not_before);
    let before = WARN_BEFORE.min(Span::from_millis(lifetime.millis() / 3));
    if now > facts.not_after {
        "expired"
    } else if now < facts.not_before {
        "not_yet_valid"
    } else if now.after(before) >= facts.not_after {
        "expires_soon"
    } else {
        "valid"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 60 * 60 * 1000;

    fn facts(days: u64) -> CertificateFacts {
        CertificateFacts {
            names: Vec::new(),
            not_before: Time(10 * DAY),
            not_after: Time((10 + days) * DAY),
            serial: String::new(),
            issuer: String::new(),
        }
    }

    #[test]
    fn an_expiry_is_near_in_the_last_30_days_or_the_last_third() {
        for (days, day, expected) in [
            (365, 9, "not_yet_valid"),
            (365, 10, "valid"),
            (365, 344, "valid"),
            (365, 345, "expires_soon"),
            (365, 375, "expires_soon"),
            (365, 376, "expired"),
            (6, 13, "valid"),
            (6, 14, "expires_soon"),
        ] {
            assert_eq!(state(&facts(days), Time(day * DAY)), expected, "{days} days, day {day}");
        }
    }

    fn write(folder: &Path, name: &str, cert: bool, key: bool) {
        let own = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        if cert {
            std::fs::write(folder.join("cert"), own.cert.pem()).unwrap();
        }
        if key {
            std::fs::write(folder.join("key"), own.signing_key.serialize_pem()).unwrap();
        }
    }

    #[test]
    fn unusable_files_are_refused_and_the_certificate_before_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = (folder.path().join("cert"), folder.path().join("key"));
        write(folder.path(), "a.example", true, true);
        let files = CertificateFiles { section: "tls", cert: cert.clone(), key: key.clone(), client_ca: None };
        let mut watched = WatchedCertificate::load(files, Vec::new()).unwrap();
        assert!(!watched.look(), "nothing changed");
        let first = watched.current.facts.serial.clone();
        let whole = std::fs::read(&cert).unwrap();
        let breaks: [&dyn Fn(); 4] = [
            &|| write(folder.path(), "b.example", true, false),
            &|| std::fs::write(&cert, &whole[..whole.len() / 2]).unwrap(),
            &|| std::fs::write(&cert, "").unwrap(),
            &|| std::fs::remove_file(&cert).unwrap(),
        ];
        for (at, break_it) in breaks.iter().enumerate() {
            break_it();
            assert!(!watched.look(), "{at}");
            assert!(watched.last_error.is_some() && watched.current.facts.serial == first, "{at}");
        }
        std::fs::write(&cert, &whole).unwrap();
        assert!(!watched.look() && watched.last_error.is_none(), "the one that is served came back");
        write(folder.path(), "b.example", true, true);
        assert!(watched.look() && watched.last_error.is_none());
        assert_eq!(watched.view(Time(0)).names, ["b.example"]);
    }
}
