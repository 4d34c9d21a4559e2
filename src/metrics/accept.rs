//! Reads from the fields of a scrape which text it gets.

/// A format of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextFormat {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The text format of Prometheus, version 0.0.4.
    Prometheus,
}

/// The text that a scrape accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptedText {
    /// The format.
    pub format: TextFormat,
    /// True if the text may be compressed with gzip.
    pub gzip: bool,
}

impl TextFormat {
    /// Returns the content type of the format.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

impl AcceptedText {
    /// Reads the values of `Accept` and `Accept-Encoding`, which are empty if the fields are missing.
    pub fn of(accept: &str, encoding: &str) -> Self {
        let open = quality(accept, &["application/openmetrics-text"]);
        let plain = quality(accept, &["text/plain", "text/*", "*/*"]);
        let is_open = open > 0.0 && open >= plain;
        let format = if is_open { TextFormat::OpenMetrics } else { TextFormat::Prometheus };
        Self { format, gzip: quality(encoding, &["gzip", "x-gzip"]) > 0.0 }
    }
}

/// Returns the highest quality (RFC 9110 §12.4.2) that a list gives one of these names; 0 if it has none of them.
fn quality(list: &str, names: &[&str]) -> f32 {
    let entries = list.split(',').filter_map(|entry| {
        let mut parts = entry.split(';').map(str::trim);
        let name = parts.next()?;
        let is_named = names.iter().any(|wanted| wanted.eq_ignore_ascii_case(name));
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        is_named.then(|| weight.map_or(1.0, |weight| weight.trim().parse().unwrap_or(0.0)))
    });
    entries.fold(0.0, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scraper_that_takes_open_metrics_gets_it() {
        let format = |accept| AcceptedText::of(accept, "").format;
        // Prometheus 2 and 3.
        let two = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                   text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let three = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                     text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for accept in [two, three, "application/openmetrics-text", "APPLICATION/OpenMetrics-Text , */*"] {
            assert_eq!(format(accept), TextFormat::OpenMetrics, "{accept}");
        }
        let plain = ["", "*/*", "text/plain", "text/html,*/*;q=0.8", "application/openmetrics-text;q=0, */*"];
        for accept in plain.into_iter().chain(["application/openmetrics-text;q=0.1,text/plain", "q", ";;,,", "\u{7f}"])
        {
            assert_eq!(format(accept), TextFormat::Prometheus, "{accept}");
        }
    }

    #[test]
    fn a_text_is_compressed_for_those_who_say_that_they_can_read_it() {
        let gzip = |encoding| AcceptedText::of("", encoding).gzip;
        assert!(gzip("gzip") && gzip("deflate, gzip;q=0.5") && gzip("X-Gzip"));
        assert!(!gzip("") && !gzip("identity") && !gzip("gzip;q=0") && !gzip("gzip;q=x") && !gzip("*"));
    }
}
