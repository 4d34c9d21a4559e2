//! The text of a scrape: its bytes, compressed or not, and their bound.

use std::fmt;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use prometheus_client::encoding::{prometheus_text, text as open_metrics_text};
use prometheus_client::registry::Registry;

use super::accept::{AcceptedText, TextFormat};
use super::content::Content;
use super::snapshot::Snapshot;

/// The maximum length of a text in bytes.
const PLAIN_BYTES_MAX: usize = 128 << 20;
/// The maximum length of a text before it is compressed. It shrinks to about a twentieth.
const GZIP_BYTES_MAX: usize = 1 << 30;

/// The text of a scrape.
#[derive(Debug)]
pub struct ScrapeText {
    /// Its content type.
    pub content_type: &'static str,
    /// True if it is compressed with gzip.
    pub gzip: bool,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The error of a text that would be longer than its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the metrics are longer than {max} bytes; let the scraper accept gzip, or register fewer routes")]
pub struct TextTooLong {
    max: usize,
}

/// Writes a snapshot as the text that a scrape accepts.
///
/// # Errors
/// If the text is too long.
pub fn text(snapshot: Snapshot, accepted: AcceptedText) -> Result<ScrapeText, TextTooLong> {
    let AcceptedText { format, gzip } = accepted;
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Content(snapshot)));
    let max = if gzip { GZIP_BYTES_MAX } else { PLAIN_BYTES_MAX };
    let mut sink = TextSink::new(gzip, max);
    let written = match format {
        TextFormat::OpenMetrics => open_metrics_text::encode(&mut sink, &registry),
        TextFormat::Prometheus => prometheus_text::encode(&mut sink, &registry),
    };
    let bytes = written.ok().and_then(|()| sink.finish()).ok_or(TextTooLong { max })?;
    Ok(ScrapeText { content_type: format.content_type(), gzip, bytes })
}

/// Takes the pieces of a text. It fails once there are more bytes than allowed.
struct TextSink {
    to: TextBytes,
    left: usize,
}

enum TextBytes {
    Plain(Vec<u8>),
    Gzip(GzEncoder<Vec<u8>>),
}

impl TextSink {
    fn new(gzip: bool, max: usize) -> Self {
        let compressed = || GzEncoder::new(Vec::new(), Compression::fast());
        let to = if gzip { TextBytes::Gzip(compressed()) } else { TextBytes::Plain(Vec::new()) };
        Self { to, left: max }
    }

    fn finish(self) -> Option<Vec<u8>> {
        match self.to {
            TextBytes::Plain(bytes) => Some(bytes),
            // Writing to memory does not fail.
            TextBytes::Gzip(writer) => writer.finish().ok(),
        }
    }
}

impl fmt::Write for TextSink {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        self.left = self.left.checked_sub(piece.len()).ok_or(fmt::Error)?;
        match &mut self.to {
            TextBytes::Plain(bytes) => bytes.extend_from_slice(piece.as_bytes()),
            TextBytes::Gzip(writer) => writer.write_all(piece.as_bytes()).map_err(|_| fmt::Error)?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn a_text_ends_with_an_error_at_its_bound_and_not_later() {
        for gzip in [false, true] {
            let mut sink = TextSink::new(gzip, 10);
            assert!(sink.write_str("0123456789").is_ok() && sink.write_str("").is_ok());
            assert!(sink.write_str("0").is_err(), "{gzip}");
        }
    }

    #[test]
    fn a_compressed_text_is_the_same_text() {
        let mut sink = TextSink::new(true, 1 << 20);
        (0..10_000).for_each(|number| writeln!(sink, "signalbox_{number} 1").unwrap());
        let bytes = sink.finish().unwrap();
        let mut text = String::new();
        GzDecoder::new(bytes.as_slice()).read_to_string(&mut text).unwrap();
        assert!(text.ends_with("signalbox_9999 1\n") && text.lines().count() == 10_000 && bytes.len() * 2 < text.len());
    }
}
