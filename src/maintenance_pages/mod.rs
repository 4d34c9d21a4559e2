//! The maintenance pages of sessions: fetched from the URLs that they name, and cached for the workers.

mod refresher;

pub use refresher::{HtmlPage, MaintenancePages, PageRefresher};
