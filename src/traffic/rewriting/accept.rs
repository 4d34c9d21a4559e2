//! The media types that a client accepts, from its `Accept` (RFC 9110 §12.5.1).

use http::header::{ACCEPT, HeaderMap};

/// Returns true if the client asks for HTML by name, as browsers do for pages. `*/*` does not count because scripts and
/// images send it too.
pub fn accepts_html(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(ACCEPT).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(is_html)
}

fn is_html(range: &str) -> bool {
    let mut parts = range.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default();
    let named = ["text/html", "text/*", "application/xhtml+xml"].iter().any(|html| kind.eq_ignore_ascii_case(html));
    named && !parts.any(is_zero_weight)
}

/// Returns true for `q=0` and `q=0.000`, which exclude the type.
fn is_zero_weight(parameter: &str) -> bool {
    let weight = parameter.split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
    weight.and_then(|(_, weight)| weight.trim().parse::<f32>().ok()).is_some_and(|weight| weight <= 0.0)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn takes(lines: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(ACCEPT, HeaderValue::from_static(line));
        }
        accepts_html(&headers)
    }

    #[test]
    fn a_client_that_names_html_accepts_it() {
        for line in [
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
            "text/html",
            "TEXT/HTML;charset=utf-8",
            "application/json, text/html;q=0.1",
            "text/*",
            "application/xhtml+xml",
        ] {
            assert!(takes(&[line]), "{line}");
        }
        assert!(takes(&["application/json", "text/html"]), "in several lines");
    }

    #[test]
    fn a_client_that_accepts_anything_or_other_types_does_not_ask_for_html() {
        for line in [
            "*/*",
            "",
            "application/json",
            "image/avif,image/webp,image/png,*/*;q=0.8",
            "text/css,*/*;q=0.1",
            "text/event-stream",
            "text/html;q=0",
            "text/html; Q=0.000, */*",
            "text/htmlx",
        ] {
            assert!(!takes(&[line]), "{line}");
        }
        assert!(!takes(&[]));
    }
}
