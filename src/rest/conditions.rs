//! The conditions of a change of an instance: `If-Match` and `If-None-Match` (RFC 9110 §13.1).

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::{IF_MATCH, IF_NONE_MATCH};
use axum::http::request::Parts;

use crate::registry::commands::Precondition;

use super::extract::if_match;
use super::problem::Problem;
use super::state::RestState;

/// The state of an instance in which a change may happen.
#[derive(Debug)]
pub(super) struct Conditions(pub(super) Precondition);

impl FromRequestParts<RestState> for Conditions {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &RestState) -> Result<Self, Problem> {
        precondition(&parts.headers).map(Self)
    }
}

fn precondition(fields: &HeaderMap) -> Result<Precondition, Problem> {
    let mut absent = fields.get_all(IF_NONE_MATCH).iter();
    match (absent.next(), absent.next(), fields.contains_key(IF_MATCH)) {
        (None, _, false) => Ok(Precondition::None),
        (None, _, true) => Ok(if_match(fields)?.map_or(Precondition::Exists, Precondition::Revision)),
        (Some(tag), None, false) if tag.as_bytes().trim_ascii() == b"*" => Ok(Precondition::Absent),
        (Some(_), _, false) => Err(Problem::wrong("If-None-Match", &"must be *, for an instance that is new")),
        (Some(_), _, true) => Err(Problem::wrong("If-None-Match", &"contradicts If-Match; send one of them")),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    fn read(fields: &[(HeaderName, &str)]) -> Option<Precondition> {
        precondition(&fields.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()).ok()
    }

    #[test]
    fn the_fields_say_in_which_state_a_change_may_happen() {
        assert_eq!(read(&[]), Some(Precondition::None));
        assert_eq!(read(&[(IF_MATCH, "*")]), Some(Precondition::Exists));
        assert_eq!(read(&[(IF_MATCH, "\"3\", \"4\"")]), Some(Precondition::Revision(vec![3, 4])));
        assert_eq!(read(&[(IF_NONE_MATCH, " * ")]), Some(Precondition::Absent));
        for wrong in [
            &[(IF_MATCH, "3")][..],
            &[(IF_NONE_MATCH, "\"3\"")],
            &[(IF_NONE_MATCH, "*"), (IF_NONE_MATCH, "*")],
            &[(IF_NONE_MATCH, "*"), (IF_MATCH, "*")],
        ] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }
}
