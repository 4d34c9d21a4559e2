//! The export of all instances, and the import of such a document.

use std::sync::Arc;

use crate::domain::{Error, Owner};

use crate::registry::audit::CallOrigin;
use crate::registry::commands::{ListedInstance, OwnedSet, PutSets};
use crate::registry::exports::{ExportedInstance, ImportOutcome, ImportWishes, InstancesExport};

use super::registry::Registry;

impl Registry {
    /// Returns all instances with their active configurations.
    pub fn export(&self) -> InstancesExport {
        InstancesExport::of(&self.catalog())
    }

    /// Makes instances of the operators from an export, in one commit: all of them or, if asked, those that can be made.
    ///
    /// # Errors
    /// `Invalid` for a document of a later form. If an instance is refused and the others are not asked for: all refusals.
    pub async fn import(
        &self,
        origin: CallOrigin,
        export: InstancesExport,
        wishes: ImportWishes,
    ) -> Result<ImportOutcome, Error> {
        export.check_format()?;
        let names: Vec<_> =
            export.instances.iter().map(|one| (one.service_name.clone(), one.instance_name.clone())).collect();
        let listed = |ExportedInstance { service_name, instance_name, owner: _, config }: ExportedInstance| {
            ListedInstance { service: service_name, instance: instance_name, config: Arc::new(config) }
        };
        let set = |instances| OwnedSet { owner: Owner::Operator, instances, is_whole: false };
        let ImportWishes { dry_run, partial } = wishes;
        let listed = export.instances.into_iter().map(listed);
        // A dry run tells the outcome of each instance.
        let alone = partial || dry_run;
        let sets = if alone { listed.map(|one| set(vec![one])).collect() } else { vec![set(listed.collect())] };
        let outcomes = self.call(origin, PutSets { sets, dry_run }).await?;
        ImportOutcome::of(names, outcomes, wishes)
    }
}
