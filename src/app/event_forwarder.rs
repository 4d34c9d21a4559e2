//! Forwarding what traffic observed to the registry.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use crate::registry::commands::{Observe, Sight};
use crate::registry::{CallOrigin, Command, Registry};
use crate::reports::{Report, Reports};
use crate::traffic::RoutingTable;

/// Passes the reports of traffic to the registry, which numbers them as events, until `stop`.
pub(super) async fn forward_events(
    reports: Reports,
    table: Arc<ArcSwap<RoutingTable>>,
    registry: Registry,
    stop: CancellationToken,
) {
    let observe = |report: Report| {
        let (key, event, table) = (report.endpoint.session, report.event.clone(), Arc::clone(&table));
        Command::Observe(Observe { key, event, sight: Sight(Arc::new(move || report.is_current(&table.load()))) })
    };
    let forwarding = async {
        loop {
            let commands = reports.next().await.into_iter().map(observe).collect();
            for refused in registry.execute(CallOrigin::SERVER, commands).await.into_iter().filter_map(Result::err) {
                tracing::warn!(%refused, "an event of traffic could not be told");
            }
        }
    };
    tokio::select! {
        () = forwarding => {}
        () = stop.cancelled() => {}
    }
}
