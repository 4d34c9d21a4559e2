//! Maintenance pages: fetched from where sessions say, and kept briefly for the workers to show.

mod refresher;

pub use refresher::{HtmlPage, MaintenancePages, PageRefresher};
