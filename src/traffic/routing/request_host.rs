//! The host of a request, in the spelling that routes use.
//!
//! It does not check what may be configured; [`crate::domain::Host`] does. A name that no route can have matches no route.

use std::borrow::Cow;
use std::net::Ipv6Addr;

/// Removes the port and a final dot from a `Host` field or authority and turns it into lower case.
///
/// Returns `None` for anything that cannot be a host and port (RFC 9110 §7.2): user info, spaces, a port that is no number.
pub fn request_host(field: &str) -> Option<Cow<'_, str>> {
    let (name, port) = match field.rfind(':') {
        Some(at) if !field.ends_with(']') => (&field[..at], &field[at + 1..]),
        _ => (field, ""),
    };
    // The indexes come from `rfind`, and the table has an entry for each byte, so nothing here can panic.
    if port.len() > 5 || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if let Some(inner) = name.strip_prefix('[') {
        let address: Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
        return Some(Cow::Owned(format!("[{address}]")));
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let kinds = name.bytes().fold(0, |kinds, byte| kinds | KINDS[usize::from(byte)]);
    match kinds {
        0 => Some(Cow::Borrowed(name)),
        UPPER => Some(Cow::Owned(name.to_ascii_lowercase())),
        _ => None,
    }
}

/// An upper-case letter.
const UPPER: u8 = 1;
/// A byte that no host name contains.
const ODD: u8 = 2;

/// The kind of each byte.
static KINDS: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut byte: u8 = 255;
    loop {
        kinds[byte as usize] = match byte {
            b'A'..=b'Z' => UPPER,
            0..=b' '
            | 0x7f..
            | b'/'
            | b'?'
            | b'#'
            | b'@'
            | b':'
            | b'\\'
            | b'"'
            | b'<'
            | b'>'
            | b'['
            | b']'
            | b'^'
            | b'`'
            | b'{'
            | b'|'
            | b'}'
            | b',' => ODD,
            _ => 0,
        };
        if byte == 0 {
            break kinds;
        }
        byte -= 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_port_and_final_dot_make_no_difference() {
        for same in ["shop.example", "SHOP.example:80", "shop.example.", "Shop.Example.:8080", "shop.example:"] {
            assert_eq!(request_host(same).as_deref(), Some("shop.example"), "{same}");
        }
        assert_eq!(request_host("[::0001]:80").as_deref(), Some("[::1]"));
        assert_eq!(request_host("").as_deref(), Some(""));
    }

    #[test]
    fn an_invalid_host_is_refused() {
        for bad in ["a b", "u@a", "a:x", "a:123456", "a/b", "[::1", "[x]", "a:80:80", "a,b", "\u{e9}"] {
            assert_eq!(request_host(bad), None, "{bad}");
        }
    }
}
