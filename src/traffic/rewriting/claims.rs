//! The request fields that make a claim about the client: its address, or the URL that it asked for.
//!
//! Invariants: no such field of an untrusted peer reaches a backend, in whatever spelling.

use http::header::{HeaderMap, HeaderName};

/// The beginnings of names that make such a claim.
const FAMILIES: [&str; 3] = ["x-forwarded", "forwarded", "x-original-"];
/// Whole names that make such a claim, as proxies, load balancers and content networks use them.
const CLAIMS: [&str; 20] = [
    "x-real-ip",
    "x-rewrite-url",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-proxyuser-ip",
    "x-remote-addr",
    "x-remote-ip",
    "x-scheme",
    "x-url-scheme",
    "x-http-host-override",
    "x-envoy-external-address",
    "x-appengine-user-ip",
    "x-azure-clientip",
    "x-azure-socketip",
    "true-client-ip",
    "client-ip",
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "fastly-client-ip",
    "front-end-https",
];

/// Removes the claims about the client. Of a `trusted` peer only those are removed that CGI and WSGI take for the real field
/// because they are spelled differently (`X_Forwarded_For`): a trusted proxy overwrites the real field, but passes these on.
pub(super) fn drop_claims(headers: &mut HeaderMap, trusted: bool) {
    let goes = |name: &HeaderName| is_claim(name.as_str()) && !(trusted && is_plain(name.as_str()));
    if headers.keys().any(goes) {
        let names: Vec<HeaderName> = headers.keys().filter(|name| goes(name)).cloned().collect();
        for name in names {
            headers.remove(name);
        }
    }
}

fn is_claim(name: &str) -> bool {
    // The first letter rules out most fields.
    matches!(name.as_bytes().first(), Some(b'x' | b'f' | b't' | b'c'))
        && (FAMILIES.iter().any(|family| name.get(..family.len()).is_some_and(|start| reads_as(start, family)))
            || CLAIMS.iter().any(|claim| reads_as(name, claim)))
}

/// Returns true if a name is the claim once every byte that is no letter and no digit becomes a hyphen.
fn reads_as(name: &str, claim: &str) -> bool {
    let joined = |byte: u8| if byte.is_ascii_alphanumeric() { byte } else { b'-' };
    name.len() == claim.len() && name.bytes().map(joined).eq(claim.bytes())
}

fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_known_in_every_spelling() {
        for claim in [
            "x-forwarded-for",
            "x-forwarded-ssl",
            "x-forwarded-client-cert",
            "x_forwarded_for",
            "x-forwarded_for",
            "x.forwarded.for",
            "x_real_ip",
            "forwarded",
            "x-original-url",
            "x_rewrite-url",
            "true_client_ip",
        ] {
            assert!(is_claim(claim), "{claim}");
        }
        for other in ["x-forward", "x-request-id", "content-type", "from", "x-originals", "x-real-ips", "cookie"] {
            assert!(!is_claim(other), "{other}");
        }
    }
}
