//! Lines that choose the events of a session.

use crate::domain::Topics;
use crate::registry::commands::{Subscribe, Unsubscribe};

use super::fields::{CommandRow, Fields};
use super::request::Parsed;

/// The commands of this group, in the order of the protocol.
pub(super) const TABLE: &[CommandRow] = &[("SUBSCRIBE", subscribe), ("UNSUBSCRIBE", unsubscribe)];

fn subscribe<'a>(fields: Fields<'a, '_>) -> Parsed<'a> {
    fields.command("SUBSCRIBE_OK", ["event_type"], |session, [topics]| {
        Ok(Subscribe { session, topics: Topics::parse(topics)? })
    })
}

fn unsubscribe<'a>(fields: Fields<'a, '_>) -> Parsed<'a> {
    fields.command("UNSUBSCRIBE_OK", ["event_type"], |session, [topics]| {
        Ok(Unsubscribe { session, topics: Topics::parse(topics)? })
    })
}
