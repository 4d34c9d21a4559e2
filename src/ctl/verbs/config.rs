//! Verbs about the staged configuration of an instance.

use serde_json::json;

use crate::config::{ApplyArgs, InstanceArg};
use crate::ctl::api::Api;
use crate::ctl::failure::CtlFailure;
use crate::ctl::screen::Screen;
use crate::ctl::shapes::JsonShape as _;
use crate::ctl::table::{Cell, Heads, Side};
use crate::ctl::text::plain;
use crate::ctl::words::span;
use crate::grpc::proto::{
    ApplyInstanceConfigRequest, DiffInstanceConfigRequest, RollbackInstanceConfigRequest, Section, Tally,
    ValidateInstanceConfigRequest,
};

use super::confirmations::told;
use super::named;

const CHANGES: &Heads =
    &[("SECTION", Side::Left), ("ADDED", Side::Right), ("REMOVED", Side::Right), ("CHANGED", Side::Right)];

pub(crate) async fn diff(api: &Api, screen: Screen, of: &InstanceArg) -> Result<(), CtlFailure> {
    let message = DiffInstanceConfigRequest { service_name: of.service.clone(), instance_name: of.instance.clone() };
    let diff = api.ask(message, |mut api, request| async move { api.diff_instance_config(request).await }).await?;
    if screen.json {
        return screen.document(&diff.json());
    }
    let routes = diff.routes.clone().unwrap_or_default();
    let count = |list: &Vec<String>| u64::try_from(list.len()).unwrap_or(u64::MAX);
    let tally =
        Tally { added: count(&routes.added), removed: count(&routes.removed), modified: count(&routes.modified) };
    let sections = [
        ("routes", Some(tally)),
        ("headers", diff.headers),
        ("options", diff.options),
        ("health", diff.health),
        ("ratelimit", diff.rate_limits),
        ("circuit", diff.circuit_breakers),
    ];
    let changed = sections.into_iter().filter_map(|(name, tally)| Some((name, tally?)));
    let changed: Vec<(&str, Tally)> = changed.filter(|(_, tally)| *tally != Tally::default()).collect();
    if changed.is_empty() {
        screen.print(&format!("nothing is staged at revision {}\n", diff.revision))?;
        return warn(screen, &diff.warnings);
    }
    let row = |(name, tally): &(&str, Tally)| {
        let numbers = [tally.added, tally.removed, tally.modified].map(|number| Cell::new(number.to_string()));
        [Cell::new(name)].into_iter().chain(numbers).collect()
    };
    screen.table(CHANGES, &changed.iter().map(row).collect::<Vec<Vec<Cell>>>())?;
    let lists =
        [("routes added", routes.added), ("routes removed", routes.removed), ("routes changed", routes.modified)];
    let lists = lists.into_iter().filter(|(_, ids)| !ids.is_empty()).map(|(name, ids)| (name, ids.join(" ")));
    screen.details(&lists.collect::<Vec<_>>())?;
    warn(screen, &diff.warnings)
}

fn warn(screen: Screen, warnings: &[String]) -> Result<(), CtlFailure> {
    warnings.iter().try_for_each(|warning| screen.details(&[("warning", warning.clone())]))
}

pub(crate) async fn validate(api: &Api, screen: Screen, of: &InstanceArg) -> Result<(), CtlFailure> {
    let message =
        ValidateInstanceConfigRequest { service_name: of.service.clone(), instance_name: of.instance.clone() };
    let asked = api.ask(message, |mut api, request| async move { api.validate_instance_config(request).await });
    let warnings = asked.await?.warnings;
    if screen.json {
        return screen.document(&json!({ "warnings": warnings }));
    }
    screen.print(&format!("the staged configuration of {} can be applied\n", shown(of)))?;
    warn(screen, &warnings)
}

pub(crate) async fn apply(api: &Api, screen: Screen, args: &ApplyArgs) -> Result<(), CtlFailure> {
    let of = &args.instance;
    let sections = args.sections.iter().map(|name| section(name)).collect::<Result<_, _>>()?;
    let confirm_within = args.confirm_within.as_deref().map(|text| span("--confirm-within", text)).transpose()?;
    let confirm_within = confirm_within.and_then(|within| prost_types::Duration::try_from(within).ok());
    let message = ApplyInstanceConfigRequest {
        service_name: of.service.clone(),
        instance_name: of.instance.clone(),
        sections,
        expected_revision: args.expect_revision,
        reason: args.reason.clone(),
        confirm_within,
        guard: args.guard,
    };
    let asked = api.ask(message, |mut api, request| async move { api.apply_instance_config(request).await });
    let applied = asked.await?;
    if screen.json {
        return screen.document(&applied.json());
    }
    let name = shown(of);
    screen.print(&format!("{name} is at revision {}\n", applied.revision))?;
    match applied.confirmation {
        Some(waits) => screen.details(&told(&waits)),
        None if confirm_within.is_some() => {
            screen.print("nothing was staged, so that nothing changed and nothing waits to be confirmed\n")
        }
        None => Ok(()),
    }
}

fn section(name: &str) -> Result<i32, CtlFailure> {
    let known = Section::from_str_name(&format!("SECTION_{}", section_word(name)));
    known.filter(|section| *section != Section::Unspecified).map(Into::into).ok_or_else(|| {
        CtlFailure::usage(format!(
            "--sections: there is no `{}`; there are routes, headers, options, health, ratelimit, circuit",
            plain(name)
        ))
    })
}

fn section_word(name: &str) -> String {
    if name == "ratelimit" { "RATE_LIMIT".to_owned() } else { name.to_uppercase() }
}

pub(crate) async fn rollback(api: &Api, screen: Screen, of: &InstanceArg) -> Result<(), CtlFailure> {
    let message =
        RollbackInstanceConfigRequest { service_name: of.service.clone(), instance_name: of.instance.clone() };
    api.ask(message, |mut api, request| async move { api.rollback_instance_config(request).await }).await?;
    if screen.json {
        return screen.document(&json!({}));
    }
    screen.print(&format!("nothing is staged for {}\n", shown(of)))
}

fn shown(of: &InstanceArg) -> String {
    plain(&named(&of.service, &of.instance))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_have_the_names_of_the_pipe() {
        for (name, section_of) in [
            ("routes", Section::Routes),
            ("headers", Section::Headers),
            ("options", Section::Options),
            ("health", Section::Health),
            ("ratelimit", Section::RateLimit),
            ("circuit", Section::Circuit),
        ] {
            assert_eq!(section(name).unwrap(), i32::from(section_of));
        }
        for wrong in ["", "route", "unspecified", "\u{1b}"] {
            assert!(section(wrong).unwrap_err().words.contains("there are routes, headers"), "{wrong}");
        }
    }
}
