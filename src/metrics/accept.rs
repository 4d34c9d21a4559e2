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
    /// Reads the values of `Accept` and `Accept-Encoding`, which are empty if the fields are missing. An entry with another version
    /// of a format than the one that is written does not count; without any that counts, the text is that of Prometheus.
    pub fn of(accept: &str, encoding: &str) -> Self {
        let open = quality(accept, &[("application/openmetrics-text", "1.0.0")]);
        let plain = quality(accept, &[("text/plain", "0.0.4"), ("text/*", ""), ("*/*", "")]);
        let is_open = open > 0.0 && open >= plain;
        let format = if is_open { TextFormat::OpenMetrics } else { TextFormat::Prometheus };
        Self { format, gzip: quality(encoding, &[("gzip", ""), ("x-gzip", "")]) > 0.0 }
    }
}

/// Returns the highest quality (RFC 9110 §12.4.2) that a list gives one of these names; 0 if it has none of them. A name may come with
/// the version that is meant.
fn quality(list: &str, names: &[(&str, &str)]) -> f32 {
    let entries = list.split(',').filter_map(|entry| {
        let (name, parameters) = entry.split_once(';').unwrap_or((entry, ""));
        let parameter = |wanted: &str| {
            let mut pairs = parameters.split(';').filter_map(|part| part.split_once('='));
            pairs.find_map(|(key, value)| key.trim().eq_ignore_ascii_case(wanted).then_some(value.trim()))
        };
        let (_, version) = names.iter().find(|(wanted, _)| wanted.eq_ignore_ascii_case(name.trim()))?;
        let is_meant = parameter("version").is_none_or(|said| version.is_empty() || said.trim_matches('"') == *version);
        is_meant.then(|| parameter("q").map_or(1.0, |weight| weight.parse().unwrap_or(0.0)))
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
        let quoted = "application/openmetrics-text; Version=\"1.0.0\"";
        for accept in [two, three, quoted, "application/openmetrics-text", "APPLICATION/OpenMetrics-Text , */*"] {
            assert_eq!(format(accept), TextFormat::OpenMetrics, "{accept}");
        }
        let plain = ["", "*/*", "text/plain", "text/html,*/*;q=0.8", "application/openmetrics-text;q=0, */*"];
        for accept in plain.into_iter().chain(["application/openmetrics-text;q=0.1,text/plain", "q", ";;,,", "\u{7f}"])
        {
            assert_eq!(format(accept), TextFormat::Prometheus, "{accept}");
        }
    }

    #[test]
    fn a_version_that_is_not_written_is_as_if_it_were_not_named() {
        let format = |accept: &str| AcceptedText::of(accept, "").format;
        for version in ["0.0.1", "2.0.0", "1.0", "", "\"0.0.1\""] {
            assert_eq!(format(&format!("application/openmetrics-text;version={version}")), TextFormat::Prometheus);
            let both = format!("application/openmetrics-text;version={version},application/openmetrics-text;q=0.1");
            assert_eq!(format(&both), TextFormat::OpenMetrics);
        }
        let later = "text/plain;version=1.0.0,application/openmetrics-text;version=1.0.0;q=0.5";
        assert_eq!(format(later), TextFormat::OpenMetrics);
    }

    #[test]
    fn a_text_is_compressed_for_those_who_say_that_they_can_read_it() {
        let gzip = |encoding| AcceptedText::of("", encoding).gzip;
        assert!(gzip("gzip") && gzip("deflate, gzip;q=0.5") && gzip("X-Gzip"));
        assert!(!gzip("") && !gzip("identity") && !gzip("gzip;q=0") && !gzip("gzip;q=x") && !gzip("*"));
    }
}
