//! Lines that apply, drop or describe staged changes.

use crate::domain::Sections;
use crate::registry::Query;
use crate::registry::commands::{ConfigApply, ConfigRollback};

use super::fields::Fields;
use super::request::Parsed;

pub(super) fn validate<'a>(fields: Fields<'a, '_>) -> Parsed<'a> {
    fields.query("OK", [], |session, []| Ok(Query::ConfigValidate(session)))
}

pub(super) fn apply<'a>(fields: Fields<'a, '_>) -> Parsed<'a> {
    fields.command("OK", [], |session, []| Ok(ConfigApply { session, sections: Sections::ALL, expected: None }))
}

pub(super) fn rollback<'a>(fields: Fields<'a, '_>) -> Parsed<'a> {
    fields.command("OK", [], |session, []| Ok(ConfigRollback { session }))
}

pub(super) fn diff<'a>(fields: Fields<'a, '_>) -> Parsed<'a> {
    fields.query("DIFF_OK", [], |session, []| Ok(Query::ConfigDiff(session)))
}

pub(super) fn apply_partial<'a>(fields: Fields<'a, '_>) -> Parsed<'a> {
    fields.command("OK", ["scopes"], |session, [scopes]| {
        Ok(ConfigApply { session, sections: Sections::parse(scopes)?, expected: None })
    })
}
