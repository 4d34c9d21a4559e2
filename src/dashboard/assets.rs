//! The files of the page, as they are sent.
//!
//! The page names its files by a path with a hash over all of them, so that browsers may keep them for ever and a new
//! version of the program never runs with old ones.

use std::io::Write as _;
use std::sync::OnceLock;

use axum::body::Bytes;
use axum::http::HeaderValue;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

/// The page. `{files}` stands for the folder of the files.
const PAGE: &str = include_str!("assets/index.html");

macro_rules! files {
    ($($kind:ident: $($name:literal),+;)+) => {
        /// The files: name, media type and content.
        const FILES: &[(&str, &str, &[u8])] =
            &[$($(($name, $kind, include_bytes!(concat!("assets/", $name)))),+),+];
    };
}

files! {
    STYLE: "style.css", "uplot.css";
    IMAGE: "icon.svg";
    SCRIPT: "theme.js", "main.js", "dom.js", "format.js", "api.js", "live.js", "table.js", "dialog.js", "charts.js", "links.js",
        "uplot.js", "actions.js", "overview.js", "services.js", "instance.js", "routes.js", "route.js", "requests.js", "settings.js", "static.js",
        "staged.js", "confirmation.js", "history.js", "server.js", "import.js",
        "events.js", "audit.js", "certificates.js", "explain.js";
}

/// A file of the page.
pub(super) struct Asset {
    /// The media type.
    pub(super) kind: &'static str,
    /// The content.
    pub(super) bytes: Bytes,
    /// The content, compressed.
    pub(super) gzip: Bytes,
    /// The entity tag, made from the content.
    pub(super) etag: HeaderValue,
    name: &'static str,
}

/// The page with its files.
pub(super) struct Assets {
    /// The page itself.
    pub(super) page: Asset,
    version: String,
    files: Vec<Asset>,
}

impl Assets {
    /// Returns the files. They are prepared once.
    pub(super) fn get() -> &'static Self {
        static ASSETS: OnceLock<Assets> = OnceLock::new();
        ASSETS.get_or_init(Self::prepare)
    }

    /// Returns a file of the version, if it has one of this name.
    pub(super) fn file(&self, version: &str, name: &str) -> Option<&Asset> {
        self.files.iter().find(|file| version == self.version && name == file.name)
    }

    fn prepare() -> Self {
        let version = hash(FILES.iter().map(|file| file.2));
        let page = PAGE.replace("{files}", &format!("dashboard/{version}"));
        let files = FILES.iter().map(|(name, kind, bytes)| Asset::new(name, kind, Bytes::from_static(bytes)));
        Self { page: Asset::new("", "text/html; charset=utf-8", page.into()), files: files.collect(), version }
    }
}

impl Asset {
    fn new(name: &'static str, kind: &'static str, bytes: Bytes) -> Self {
        // Weak, because it is the same for the compressed content (RFC 9110 §8.8.3).
        let etag = format!("W/\"{}\"", hash([&*bytes].into_iter()));
        Self {
            kind,
            gzip: gzip(&bytes),
            bytes,
            // A hash has no byte that a field may not have.
            etag: HeaderValue::from_str(&etag).unwrap_or(HeaderValue::from_static("W/\"\"")),
            name,
        }
    }

    /// Returns true if the value of `If-None-Match` names this content.
    pub(super) fn is_in(&self, known: &HeaderValue) -> bool {
        let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        let own = opaque(self.etag.to_str().unwrap_or_default());
        known.to_str().is_ok_and(|known| known.split(',').any(|tag| tag.trim() == "*" || opaque(tag) == own))
    }
}

/// Returns the beginning of a SHA-256 in hexadecimal.
fn hash<'a>(contents: impl Iterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    contents.for_each(|content| hash.update(content));
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Writing to memory does not fail; if it did, the content would not be whole and is not used.
fn gzip(bytes: &[u8]) -> Bytes {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    let _ = packed.write_all(bytes);
    packed.finish().unwrap_or_default().into()
}
