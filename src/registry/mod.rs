//! Decides on commands, keeps the catalog, and runs the one task that changes it.

mod ports;
mod views;

pub use ports::{Boxed, Fetched, Loaded, Publish, Store, StoreError, Traffic};
pub use views::RouteNumbers;
