//! Logins that hold for a connection rather than for a request: NTLM, Negotiate and their kin (RFC 4559 §5).
//!
//! The backend knows such a user by the connection that the login came on. What must hold: a field that may begin such a
//! login is never overlooked; to take another field for one costs a connection and is harmless.

use http::header::{AUTHORIZATION, HeaderMap, HeaderName, PROXY_AUTHENTICATE, WWW_AUTHENTICATE};

/// The ways to log in that hold for the connection.
const SCHEMES: [&[u8]; 6] = [b"ntlm", b"negotiate", b"nego2", b"kerberos", b"gss-negotiate", b"credssp"];

/// True for a request that logs its connection in.
pub fn authenticates_connection(headers: &HeaderMap) -> bool {
    names_scheme(headers, &AUTHORIZATION)
}

/// True for a response that asks for a login of its connection, or goes on with one.
pub fn challenges_connection(headers: &HeaderMap) -> bool {
    names_scheme(headers, &WWW_AUTHENTICATE) || names_scheme(headers, &PROXY_AUTHENTICATE)
}

/// Several challenges may stand in one line, in several, and in any case of letters (RFC 9110 §11.6.1).
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
    fn a_login_of_the_connection_is_seen_in_every_form() {
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
    fn a_login_of_the_request_is_none_of_the_connection() {
        for lines in [&["Basic realm=\"x\""][..], &["Bearer ntlmX", "Digest realm=\"negotiated\""], &[]] {
            assert!(!asks(lines), "{lines:?}");
        }
    }
}
