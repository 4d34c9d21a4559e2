//! The changes that an apply would make.

use serde_json::{Value, json};

use crate::grpc::proto::{DiffInstanceConfigResponse, Tally};

use super::JsonShape;

impl JsonShape for DiffInstanceConfigResponse {
    fn json(&self) -> Value {
        let routes = self.routes.clone().unwrap_or_default();
        let tally = |tally: &Option<Tally>| {
            let Tally { added, removed, modified } = tally.unwrap_or_default();
            json!({ "added": added, "removed": removed, "modified": modified })
        };
        json!({
            "routes": { "added": routes.added, "removed": routes.removed, "modified": routes.modified },
            "headers": tally(&self.headers),
            "options": tally(&self.options),
            "health": tally(&self.health),
            "ratelimit": tally(&self.rate_limits),
            "circuit": tally(&self.circuit_breakers),
            "warnings": self.warnings,
        })
    }
}
