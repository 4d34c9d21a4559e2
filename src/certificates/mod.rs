//! The certificates that Signalbox shows to its callers and clients: read from files, chosen by the name that a client asks
//! for, replaced while connections are open.
//!
//! It does no handshake: `tls` and `proxy` do. It does not decide when a certificate is renewed. Invariants: a certificate is
//! only taken with the key that belongs to it; the choice among several for one name is always the same; a session with a
//! client certificate is never resumed where another authority is required; a new certificate ends neither connections nor
//! session tickets.

mod authorities;
mod challenges;
mod facts;
mod files;
mod groups;
mod selection;
mod served;
mod set;
mod store;

pub use authorities::ClientAuthorities;
pub use challenges::HttpChallenges;
pub use facts::CertificateFacts;
pub use files::{CertificateFiles, TlsFileError};
pub use groups::TlsGroup;
pub use selection::{Selection, TlsIdentity};
pub use served::{CertificateSource, ServedCertificate, covers};
pub use set::CertificateSet;
pub use store::Certificates;
