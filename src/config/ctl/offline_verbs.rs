//! The verbs of `signalbox ctl` that ask no server: their words.

use clap::{Args, Subcommand, ValueEnum};

/// Work on tokens.
#[derive(Clone, Debug, Subcommand)]
pub enum TokenVerb {
    /// Make a token and print the lines for the file of the server and for the client; nothing is sent
    New(TokenArgs),
}

/// A token to make.
#[derive(Clone, Debug, Args)]
pub struct TokenArgs {
    /// The kind: for operators, or for services that register
    pub kind: TokenKind,
    /// The name of the token, for the log and the audit
    pub name: String,
}

/// A kind of token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TokenKind {
    /// For an operator
    Operator,
    /// For services that register
    Registration,
}

/// A shell with completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CtlShell {
    /// GNU bash
    Bash,
    /// Z shell
    Zsh,
    /// fish
    Fish,
}
