//! The metrics of the running program, as a scraper reads them.

mod exposition;
mod scrapes;
mod series;
mod values;
