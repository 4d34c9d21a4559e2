//! The selection of records for a list.

use crate::domain::{Error, InstanceName, ServiceName, Time};
use crate::registry::queries::paging::list_page;

use super::record::{ActorKind, AuditAction, AuditRecord};

/// A selection of records. An empty field selects all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AuditFilter {
    /// The service.
    pub service: Option<ServiceName>,
    /// The instance.
    pub instance: Option<InstanceName>,
    /// The action.
    pub action: Option<AuditAction>,
    /// The actor.
    pub actor: Option<ActorFilter>,
    /// The first moment.
    pub since: Option<Time>,
    /// The last moment.
    pub until: Option<Time>,
}

/// A selection of actors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActorFilter {
    /// The kind.
    pub kind: ActorKind,
    /// The name; `None` for all of the kind.
    pub name: Option<String>,
}

impl ActorFilter {
    /// Reads `operator`, `operator:NAME` or `session:SERVICE/INSTANCE`.
    ///
    /// # Errors
    /// `Invalid` for another kind.
    pub fn read(text: &str) -> Result<Self, Error> {
        let (kind, name) = text.split_once(':').map_or((text, None), |(kind, name)| (kind, Some(name)));
        let kind = ActorKind::read(kind).map_err(|_| {
            Error::invalid("actor", "must be session, operator or server, or one of these, a colon and a name")
        })?;
        Ok(Self { kind, name: name.map(str::to_owned) })
    }
}

list_page!(AuditPage of AuditRecord);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_actor_is_a_kind_or_a_kind_with_a_name() {
        let read = |text| ActorFilter::read(text).map(|filter| (filter.kind, filter.name));
        assert_eq!(read("operator"), Ok((ActorKind::Operator, None)));
        assert_eq!(read("operator:ann"), Ok((ActorKind::Operator, Some("ann".to_owned()))));
        assert_eq!(read("session:a:b/c"), Ok((ActorKind::Session, Some("a:b/c".to_owned()))));
        for wrong in ["", "ann", "Operator", ":ann"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
