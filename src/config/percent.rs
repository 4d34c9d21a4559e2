//! The percent-encoding of lists in variables of OpenTelemetry, which is that of W3C Baggage.

/// Returns the text that is meant (W3C Baggage §3.3.1.3); `None` if `%` is not followed by two hexadecimal digits.
pub(super) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.trim().bytes();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'%' => digit(rest.next()?)? << 4 | digit(rest.next()?)?,
            plain => plain,
        };
        bytes.push(byte);
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Returns the pairs of a list such as `a=1,b=2`; `None` in place of a pair that is malformed.
pub(super) fn pairs(list: &str) -> impl Iterator<Item = Option<(String, String)>> {
    let given = list.split(',').filter(|pair| !pair.trim().is_empty());
    given.map(|pair| {
        let (key, value) = pair.split_once('=')?;
        Some((decoded(key)?, decoded(value)?)).filter(|(key, _)| !key.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_percent_encoded_octet_is_decoded_whatever_its_case() {
        for (text, expected) in [
            ("plain", Some("plain")),
            (" x%20y ", Some("x y")),
            ("%2c%2C%3d%3D", Some(",,==")),
            ("%C3%a4%41%25", Some("äA%")),
            ("%E4", Some("\u{FFFD}")),
            ("a+b", Some("a+b")),
            ("100%", None),
            ("%4", None),
            ("%zz", None),
            ("%+1", None),
        ] {
            assert_eq!(decoded(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_list_is_split_before_it_is_decoded_and_spaces_around_its_parts_do_not_count() {
        let pair = |key: &str, value: &str| Some((key.to_owned(), value.to_owned()));
        let read: Vec<_> = pairs(" a = 1 , b=x%2Cy%3D=z,,c,=d, e=%,").collect();
        assert_eq!(read, [pair("a", "1"), pair("b", "x,y==z"), None, None, None]);
    }
}
