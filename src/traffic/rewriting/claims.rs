//! The request fields that only a proxy may set: those that make a claim about the client, its address or the URL that it asked for, and
//! those that this proxy writes into every request.
//!
//! Invariants: no such field of an untrusted peer reaches a backend, in whatever spelling; none of a trusted one in another spelling than
//! the real one.

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

/// Whole names of the other fields that the proxy writes itself: a backend must not find a second one in another spelling.
const OWN: [&str; 4] = ["x-request-id", "signalbox-hops", "content-length", "transfer-encoding"];

/// Removes the claims about the client. Of a `trusted` peer only those are removed that CGI and WSGI take for the real field
/// because they are spelled differently (`X_Forwarded_For`): a trusted proxy overwrites the real field, but passes these on.
pub(super) fn drop_claims(headers: &mut HeaderMap, trusted: bool) {
    let goes = |name: &HeaderName| match field_kind(name.as_str()) {
        FieldKind::Other => false,
        FieldKind::Claim => !(trusted && is_plain(name.as_str())),
        // The real one has been read and replaced, or belongs to the message.
        FieldKind::Own => !is_plain(name.as_str()),
    };
    if headers.keys().any(goes) {
        let names: Vec<HeaderName> = headers.keys().filter(|name| goes(name)).cloned().collect();
        for name in names {
            headers.remove(name);
        }
    }
}

/// The kind of a field by its name, in any spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FieldKind {
    /// A claim about the client.
    Claim,
    /// A field that the proxy writes itself.
    Own,
    Other,
}

fn field_kind(name: &str) -> FieldKind {
    let reads_as_one = |names: &[&str]| names.iter().any(|known| reads_as(name, known));
    let starts_as = |family: &&str| name.get(..family.len()).is_some_and(|start| reads_as(start, family));
    // The first letter rules out most fields.
    match name.as_bytes().first() {
        Some(b'x' | b'f' | b't' | b'c' | b's') => {}
        _ => return FieldKind::Other,
    }
    if FAMILIES.iter().any(starts_as) || reads_as_one(&CLAIMS) {
        FieldKind::Claim
    } else if reads_as_one(&OWN) {
        FieldKind::Own
    } else {
        FieldKind::Other
    }
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
            assert_eq!(field_kind(claim), FieldKind::Claim, "{claim}");
        }
        for other in [
            "x-forward",
            "x-request-ids",
            "content-type",
            "sec-fetch-mode",
            "from",
            "x-originals",
            "x-real-ips",
            "cookie",
        ] {
            assert_eq!(field_kind(other), FieldKind::Other, "{other}");
        }
    }

    #[test]
    fn a_field_that_the_proxy_writes_itself_comes_in_no_other_spelling() {
        for trusted in [false, true] {
            for own in OWN {
                let mut headers = HeaderMap::new();
                let spellings = [own.to_owned(), own.replace('-', "_"), own.replacen('-', ".", 1)];
                for name in &spellings {
                    headers.insert(HeaderName::try_from(name).unwrap(), http::HeaderValue::from_static("1"));
                }
                drop_claims(&mut headers, trusted);
                assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), [own]);
            }
        }
    }
}
