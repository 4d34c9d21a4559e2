//! The choice of a way to prove control of a name.

use serde::{Deserialize, Serialize};

/// A way to prove control of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::acme) enum ChallengeKind {
    /// A token at a path of the plain HTTP port (RFC 8555 §8.3).
    #[serde(rename = "http-01")]
    Http,
    /// A certificate for the protocol `acme-tls/1` on the HTTPS port (RFC 8737).
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn,
    /// A TXT record of the name (RFC 8555 §8.4).
    #[serde(rename = "dns-01")]
    Dns,
    /// A TXT record of the name that names the account and stays (draft-ietf-acme-dns-persist).
    #[serde(rename = "dns-persist-01")]
    DnsPersist,
}

/// Chooses one of the `offered` ways. The one that `worked` last comes first; after each failure comes the next one.
///
/// DNS comes last, because a record outside may take long to be seen. A record of each order needs the hook of the
/// configuration; it comes before the record that stays, of which nobody knows here that it is there.
pub(in crate::acme) fn choose(
    offered: &[ChallengeKind],
    has_hook: bool,
    worked: Option<ChallengeKind>,
    failures: u32,
) -> Option<ChallengeKind> {
    let order = worked.into_iter().chain([
        ChallengeKind::Http,
        ChallengeKind::TlsAlpn,
        ChallengeKind::Dns,
        ChallengeKind::DnsPersist,
    ]);
    let mut able: Vec<ChallengeKind> = Vec::with_capacity(offered.len());
    for kind in order.filter(|kind| offered.contains(kind) && (has_hook || *kind != ChallengeKind::Dns)) {
        if !able.contains(&kind) {
            able.push(kind);
        }
    }
    able.get(failures as usize % able.len().max(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::ChallengeKind::{Dns, DnsPersist, Http, TlsAlpn};
    use super::*;

    #[test]
    fn the_way_that_worked_comes_first_and_each_failure_tries_the_next() {
        let turns =
            |has_hook, worked| [0, 1, 2, 3].map(|failures| choose(&[Dns, TlsAlpn, Http], has_hook, worked, failures));
        assert_eq!(turns(false, None), [Http, TlsAlpn, Http, TlsAlpn].map(Some));
        assert_eq!(turns(false, Some(TlsAlpn)), [TlsAlpn, Http, TlsAlpn, Http].map(Some));
        assert_eq!(turns(true, None), [Http, TlsAlpn, Dns, Http].map(Some));
        assert_eq!(turns(true, Some(Dns)), [Dns, Http, TlsAlpn, Dns].map(Some));
    }

    #[test]
    fn a_wildcard_which_only_dns_proves_needs_the_hook() {
        assert_eq!(choose(&[Dns], false, None, 7), None);
        assert_eq!(choose(&[DnsPersist, Dns], false, None, 0), Some(DnsPersist), "or a record that stays");
        assert_eq!(
            [0, 1].map(|failures| choose(&[DnsPersist, Dns], true, None, failures)),
            [Dns, DnsPersist].map(Some)
        );
        assert_eq!(choose(&[Dns], true, None, 7), Some(Dns));
        assert_eq!(choose(&[], true, Some(Http), 0), None);
    }
}
