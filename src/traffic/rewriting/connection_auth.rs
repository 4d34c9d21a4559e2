//! Authentication that holds for a connection instead of a request: NTLM, Negotiate and similar schemes (RFC 4559 §5).
//!
//! The backend knows such a user by the connection. Invariants: a field that may begin such an authentication is never
//! missed. Taking another field for one costs a connection and does no harm.

use http::header::{AUTHORIZATION, HeaderMap, HeaderName, PROXY_AUTHENTICATE, WWW_AUTHENTICATE};

/// The schemes that authenticate the connection.
const SCHEMES: [&[u8]; 6] = [b"ntlm", b"negotiate", b"nego2", b"kerberos", b"gss-negotiate", b"credssp"];

/// Returns true for a request that authenticates its connection.
pub fn authenticates_connection(headers: &HeaderMap) -> bool {
    names_scheme(headers, &AUTHORIZATION)
}

/// Returns true for a response that asks for authentication of its connection or continues it.
pub fn challenges_connection(headers: &HeaderMap) -> bool {
    names_scheme(headers, &WWW_AUTHENTICATE) || names_scheme(headers, &PROXY_AUTHENTICATE)
}

/// Returns true if a field names such a scheme. One line may hold several challenges, in any case of letters (RFC 9110
/// §11.6.1).
fn names_scheme(headers: &HeaderMap, name: &HeaderName) -> bool {
    let is_separator = |byte: &u8| *byte == b',' || byte.is_ascii_whitespace();
    let is_scheme = |word: &[u8]| SCHEMES.iter().any(|scheme| scheme.eq_ignore_ascii_case(word));
    headers.get_all(name).iter().any(|line| line.as_bytes().split(is_separator).any(is_scheme))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(lines: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(WWW_AUTHENTICATE, http::HeaderValue::from_static(line));
        }
        challenges_connection(&headers)
    }

    #[test]
    fn connection_authentication_is_seen_in_every_form() {
        for lines in [
            &["NTLM"][..],
            &["ntlm TlRMTVNTUAAC"],
            &["Negotiate oRQwEqADCgEA"],
            &["Basic realm=\"x, y\", nEgOtIaTe , NTLM"],
            &["Basic realm=\"x\"", "Digest realm=\"x\", nonce=\"y\",NTLM"],
            &["Basic realm=\"x\"\tNTLM"],
            &["Kerberos"],
        ] {
            assert!(asks(lines), "{lines:?}");
        }
    }

    #[test]
    fn authentication_of_a_request_is_not_that_of_its_connection() {
        for lines in [&["Basic realm=\"x\""][..], &["Bearer ntlmX", "Digest realm=\"negotiated\""], &[]] {
            assert!(!asks(lines), "{lines:?}");
        }
    }
}
