//! Lines that apply, drop or describe staged changes.

use crate::domain::Sections;
use crate::registry::Query;
use crate::registry::commands::{ConfigApply, ConfigRollback};

use super::fields::{CommandRow, Fields};
use super::request::Parsed;

/// The commands of this group, in the order of the protocol.
pub(super) const TABLE: &[CommandRow] = &[
    ("CONFIG_VALIDATE", validate),
    ("CONFIG_APPLY", apply),
    ("CONFIG_ROLLBACK", rollback),
    ("CONFIG_DIFF", diff),
    ("CONFIG_APPLY_PARTIAL", apply_partial),
];

fn validate<'a>(fields: Fields<'a, '_>) -> Parsed<'a> {
    fields.query("OK", [], |session, []| Ok(Query::ConfigValidate(session)))
}

fn apply<'a>(fields: Fields<'a, '_>) -> Parsed<'a> {
    fields.command("OK", [], |session, []| {
        Ok(ConfigApply {
            subject: session.into(),
            sections: Sections::ALL,
            expected: None,
            reason: None,
            confirm: None,
        })
    })
}

fn rollback<'a>(fields: Fields<'a, '_>) -> Parsed<'a> {
    fields.command("OK", [], |session, []| Ok(ConfigRollback { subject: session.into() }))
}

fn diff<'a>(fields: Fields<'a, '_>) -> Parsed<'a> {
    fields.query("DIFF_OK", [], |session, []| Ok(Query::ConfigDiff(session)))
}

fn apply_partial<'a>(fields: Fields<'a, '_>) -> Parsed<'a> {
    fields.command("OK", ["scopes"], |session, [scopes]| {
        Ok(ConfigApply {
            subject: session.into(),
            sections: Sections::parse(scopes)?,
            expected: None,
            reason: None,
            confirm: None,
        })
    })
}
