//! Verbs about an apply that waits for its confirmation: tell of it, confirm it, take it back.

use serde_json::json;

use crate::config::ConfirmationArgs;
use crate::ctl::api::Api;
use crate::ctl::failure::CtlFailure;
use crate::ctl::screen::Screen;
use crate::ctl::text::{date, plain};
use crate::grpc::proto::{CancelConfigRequest, ConfirmConfigRequest, Confirmation};

/// Returns what becomes of an apply that waits, and the words that keep it.
pub(super) fn told(of: &Confirmation) -> Vec<(&'static str, String)> {
    let back = match of.reverts_to {
        0 => "the empty configuration".to_owned(),
        number => format!("number {number}"),
    };
    let guard = if of.guard { ", or at once when its 5xx rise" } else { "" };
    vec![
        ("number", of.number.to_string()),
        ("goes back", format!("to {back} at {}{guard}", date(of.until))),
        ("to keep it", format!("signalbox ctl confirm {}", of.id)),
        ("to go back", format!("signalbox ctl cancel {}", of.id)),
    ]
}

pub(crate) async fn confirm(api: &Api, screen: Screen, args: &ConfirmationArgs) -> Result<(), CtlFailure> {
    let message = ConfirmConfigRequest { confirmation_id: args.id.clone() };
    api.ask_registry(message, |mut api, request| async move { api.confirm_config(request).await }).await?;
    done(screen, &format!("the apply that waited for {} stays", plain(&args.id)))
}

pub(crate) async fn cancel(api: &Api, screen: Screen, args: &ConfirmationArgs) -> Result<(), CtlFailure> {
    let message = CancelConfigRequest { confirmation_id: args.id.clone() };
    api.ask_registry(message, |mut api, request| async move { api.cancel_config(request).await }).await?;
    done(screen, &format!("the apply that waited for {} is taken back", plain(&args.id)))
}

fn done(screen: Screen, words: &str) -> Result<(), CtlFailure> {
    if screen.json { screen.document(&json!({ "done": words })) } else { screen.print(&format!("{words}\n")) }
}
