//! Verbs that ask no server: tokens, completions, manual pages.

use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::config::{self, CtlVerb, TokenArgs, TokenKind, TokenVerb};
use crate::ctl::failure::CtlFailure;
use crate::ctl::screen::Screen;
use crate::domain::{OperatorName, TokenName};
use crate::random;

use super::backup;

/// Runs a verb that asks no server; `None` for the others.
pub(crate) fn run(verb: &CtlVerb, screen: Screen) -> Option<Result<(), CtlFailure>> {
    match verb {
        CtlVerb::Restore(args) => Some(backup::restore(screen, args)),
        CtlVerb::Token(TokenVerb::New(args)) => Some(new_token(screen, args)),
        CtlVerb::Completions { shell } => Some(screen.print(&String::from_utf8_lossy(&config::completions(*shell)))),
        CtlVerb::Man { dir } => Some(man(screen, dir.as_deref())),
        _ => None,
    }
}

fn man(screen: Screen, folder: Option<&std::path::Path>) -> Result<(), CtlFailure> {
    let wrong = |error: std::io::Error| CtlFailure::refused(format!("cannot write the pages: {error}"));
    let Some(folder) = folder else {
        return screen.print(&String::from_utf8_lossy(&config::man().map_err(wrong)?));
    };
    let files = config::man_pages(folder).map_err(wrong)?;
    files.iter().try_for_each(|file| screen.print(&format!("{}\n", file.display())))
}

fn new_token(screen: Screen, args: &TokenArgs) -> Result<(), CtlFailure> {
    let name = match args.kind {
        TokenKind::Operator => OperatorName::parse(&args.name).map(|name| name.to_string()),
        TokenKind::Registration => TokenName::parse(&args.name).map(|name| name.to_string()),
    };
    let name = name.map_err(|error| CtlFailure::usage(format!("the name of the token: {}", error.message())))?;
    let token = format!("{:032x}{:032x}", random::bits(), random::bits());
    let fingerprint: String = Sha256::digest(token.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    // A quoted string of TOML has the escapes of JSON.
    let quoted = json!(name);
    let (lines, client) = match args.kind {
        TokenKind::Operator => {
            (format!("[[operators]]\nname = {quoted}\ntoken = \"{token}\"\n"), format!("SIGNALBOX_CTL_TOKEN={token}"))
        }
        TokenKind::Registration => (
            format!("[[tokens]]\nname = {quoted}\nsha256 = \"{fingerprint}\"\n"),
            format!("\"token\":\"{token}\" in the metadata of REGISTER, or the field `token` over gRPC and REST"),
        ),
    };
    if screen.json {
        let sha256 = (args.kind == TokenKind::Registration).then_some(fingerprint);
        return screen.document(&json!({ "name": name, "token": token, "sha256": sha256, "configuration": lines }));
    }
    screen.print(&format!("# for the file of the server:\n{lines}\n# for the client:\n{client}\n"))
}
