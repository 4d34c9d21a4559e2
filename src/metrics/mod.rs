//! The metrics of the server, as text for Prometheus: OpenMetrics 1.0, or the text format 0.0.4.
//!
//! It counts nothing: the parts count, `app` collects a [`Snapshot`] when a scrape asks, and this module writes it. So a series ends with
//! the route that it is about. Invariants: each metric is one row in `families`; no label has a value that a client of the proxy
//! chose; a text is not longer than its bound.

mod accept;
mod content;
mod families;
mod otlp;
mod otlp_points;
mod process;
mod series;
mod snapshot;
mod text;

pub use accept::{AcceptedText, TextFormat};
pub use otlp::otlp;
pub use process::ProcessSample;
pub use snapshot::{InstanceSample, ListenerSample, RouteSample, Snapshot, StoreSample};
pub use text::{ScrapeText, TextTooLong, text};
