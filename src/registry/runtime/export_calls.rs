//! The export of all instances, and the import of such a document.

use std::sync::Arc;

use crate::domain::Error;

use crate::registry::audit::CallOrigin;
use crate::registry::calls::{Command, CommandCall};
use crate::registry::commands::{Precondition, PutInstance};
use crate::registry::exports::{ExportedInstance, ImportOutcome, InstancesExport};

use super::registry::Registry;

impl Registry {
    /// Returns all instances with their active configurations.
    pub fn export(&self) -> InstancesExport {
        InstancesExport::of(&self.catalog())
    }

    /// Makes instances of the operators from an export, in one commit. An instance that is refused leaves the others alone.
    ///
    /// # Errors
    /// `Invalid` for a document of a later form.
    pub async fn import(
        &self,
        origin: CallOrigin,
        export: InstancesExport,
        dry_run: bool,
    ) -> Result<ImportOutcome, Error> {
        export.check_format()?;
        let names: Vec<_> =
            export.instances.iter().map(|one| (one.service_name.clone(), one.instance_name.clone())).collect();
        let put = |exported: ExportedInstance| -> Command {
            let ExportedInstance { service_name, instance_name, owner: _, config } = exported;
            let precondition = Precondition::None;
            let config = Arc::new(config);
            PutInstance { service: service_name, instance: instance_name, config, precondition, dry_run }.into()
        };
        let commands = export.instances.into_iter().map(put).collect();
        let mut outcome = ImportOutcome { dry_run, ..ImportOutcome::default() };
        for ((service, instance), answer) in names.into_iter().zip(self.execute(origin, commands).await) {
            let put = answer.and_then(|reply| PutInstance::reply_of(reply).ok_or_else(super::registry::mismatch));
            outcome.add(service, instance, put);
        }
        Ok(outcome)
    }
}
