//! The values of keys that have a few choices.

use std::path::PathBuf;

/// The treatment of a request that no route matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmatched {
    /// A page with status 404.
    NotFound,
    /// The connection closes without a response.
    Close,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text for people.
    Human,
    /// JSON for programs.
    Json,
}

/// The form of a line of the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessFormat {
    /// A JSON object.
    Json,
    /// The combined format of Apache httpd and nginx.
    Combined,
}

/// The place that the access log is written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessPlace {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file.
    File(PathBuf),
}

/// The protocol to a collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CollectorSpeaks {
    /// gRPC.
    Grpc,
    /// Protobuf over HTTP.
    Http,
}

impl CollectorSpeaks {
    /// Returns the protocol with this name, as OpenTelemetry names it.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "grpc" => Some(Self::Grpc),
            "http/protobuf" => Some(Self::Http),
            _ => None,
        }
    }
}
