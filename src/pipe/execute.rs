//! Executes a batch of lines of one connection: lines become calls, and calls become replies.
//!
//! It neither parses nor renders, and waits only for the registry and for a full socket. Invariants: replies have the
//! order of their lines; consecutive commands go to the registry together; a query is answered after the commands
//! before it; lines after a `CLIENT_SHUTDOWN` or after a line of another protocol are not executed.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use crate::domain::{Error, Kind};
use crate::registry::queries::paging::ListRequest;
use crate::registry::{Answer, Call, CallMark, Command, Query, Registry, Reply, RevisionsRequest, Verification};

use super::connection::{Connection, OUTCOMES_MAX};
use super::foreign;
use super::line::InputLine;
use super::parse::{Form, LineRefusal, Request};
use super::render::{MaintenanceOutcome, ReplyHead};

/// The maximum number of commands that go to the registry at once.
const BATCH_MAX: usize = 1024;
/// The number of bytes of replies above which they are written before further lines are executed.
const REPLIES_BYTES_MAX: usize = 256 * 1024;

/// Commands that go to the registry together, with what their replies need.
#[derive(Default)]
struct CommandBatch<'a> {
    commands: Vec<Command>,
    pending: Vec<PendingReply<'a>>,
}

struct PendingReply<'a> {
    head: ReplyHead<'a>,
    permit: Option<mpsc::OwnedPermit<Box<MaintenanceOutcome>>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Executes the lines that have been read, and counts them.
    pub(super) async fn execute_batch<'a>(&mut self, lines: impl IntoIterator<Item = InputLine<'a>>) -> io::Result<()> {
        let done = self.execute_lines(lines).await;
        self.registry.count_queries(&mut self.tally);
        done
    }

    async fn execute_lines<'a>(&mut self, lines: impl IntoIterator<Item = InputLine<'a>>) -> io::Result<()> {
        let mut batch = CommandBatch::default();
        for line in lines {
            let parsed = match line {
                InputLine::Whole(line) => self.parser.read(line),
                InputLine::TooLong(_) => Some(Err(too_long(self.settings.max_line))),
            };
            match parsed {
                None => continue,
                Some(Ok(request)) => {
                    self.understood = true;
                    self.dispatch(request, &mut batch).await?;
                }
                Some(Err(refusal)) => {
                    self.run_batch(&mut batch).await;
                    let (InputLine::Whole(text) | InputLine::TooLong(text)) = line;
                    if let Some(foreign) = foreign::spoken(text, !self.understood) {
                        self.refuse_protocol(foreign);
                    } else {
                        self.count_refusal(text, &refusal);
                        self.replies.refusal(&refusal);
                    }
                }
            }
            if self.closing {
                return Ok(());
            }
            if self.replies.bytes().len() > REPLIES_BYTES_MAX {
                self.flush().await?;
            }
        }
        self.run_batch(&mut batch).await;
        Ok(())
    }

    async fn dispatch<'a>(&mut self, request: Request<'a>, batch: &mut CommandBatch<'a>) -> io::Result<()> {
        let head = ReplyHead { word: request.word, transaction: request.transaction, form: request.form };
        match request.call {
            Call::Command(command) => self.command(command, head, batch).await,
            // Most lines are pings; their answers need no waiting.
            Call::Query(ping @ Query::Ping(_)) => {
                self.run_batch(batch).await;
                let answered = self.registry.answer(&ping);
                self.count(ping.name(), answered.as_ref().err());
                match answered {
                    Ok(answer) => self.replies.answer(head, &answer),
                    Err(error) => self.replies.error(head.transaction, &error),
                }
            }
            Call::Query(query) => {
                self.run_batch(batch).await;
                self.query(&query, head).await;
            }
            Call::Revisions(RevisionsRequest { session, limit }) => {
                self.run_batch(batch).await;
                let page = ListRequest { after: None, limit };
                let listed = self.registry.revisions(&session.into(), &page).await;
                self.count("ConfigHistory", listed.as_ref().err());
                match listed {
                    Ok(page) => self.replies.revisions(head, &page.items),
                    Err(error) => self.replies.error(head.transaction, &error),
                }
            }
            Call::Apply(apply) => {
                self.run_batch(batch).await;
                let origin = self.call_origin.clone().marked(CallMark::of_call());
                let applied = self.registry.apply(origin.clone(), *apply).await;
                self.count_undecided("ConfigApply", &origin, applied.as_ref().err());
                match applied {
                    Ok(applied) => self.replies.applied(head, &applied),
                    Err(error) => self.replies.error(head.transaction, &error),
                }
            }
            Call::Revert(request) => {
                self.run_batch(batch).await;
                let origin = self.call_origin.clone().marked(CallMark::of_call());
                let reverted = self.registry.revert(origin.clone(), request).await;
                self.count_undecided("ConfigRevert", &origin, reverted.as_ref().err());
                match reverted {
                    Ok(applied) => self.replies.reverted(head, &applied),
                    Err(error) => self.replies.error(head.transaction, &error),
                }
            }
            Call::BackendTest(test) => {
                self.run_batch(batch).await;
                self.flush().await?;
                let tested = self.registry.test_backend(&test).await;
                self.count("BackendTest", tested.as_ref().err());
                match tested {
                    Ok(view) => self.replies.backend(head, &view),
                    Err(error) => self.replies.error(head.transaction, &error),
                }
            }
        }
        Ok(())
    }

    async fn query(&mut self, query: &Query, head: ReplyHead<'_>) {
        if self.replies.refuses(head, self.registry.fewest_entries(query)) {
            // The line still counts as activity of the session.
            let _ = self.registry.answer(&Query::Ping(query.session().clone()));
            return self.registry.count_call(query.name(), &self.call_origin, Err(Kind::Limited));
        }
        let (replies, registry) = (&mut self.replies, &self.registry);
        let answering = registry.answer_as(query, |answer| match answer {
            Ok(answer) => {
                note_warnings(registry, query, &answer);
                replies.answer(head, &answer);
                None
            }
            Err(error) => {
                replies.error(head.transaction, &error);
                Some(error)
            }
        });
        let refusal = answering.await;
        self.count(query.name(), refusal.as_ref());
        // Listing a large session takes long; this lets other tasks run.
        tokio::task::yield_now().await;
    }

    /// Adds a command to the batch, and executes the batch if no command may follow.
    async fn command<'a>(&mut self, mut command: Command, head: ReplyHead<'a>, batch: &mut CommandBatch<'a>) {
        let permit = match head.form {
            Form::Plain | Form::Compressed => None,
            Form::Outcome(_) => {
                let Ok(permit) = self.outcomes_in.clone().try_reserve_owned() else {
                    self.run_batch(batch).await;
                    let refusal = too_many_outcomes();
                    self.count_undecided(command.name(), &self.call_origin, Some(&refusal));
                    return self.replies.error(head.transaction, &refusal);
                };
                Some(permit)
            }
        };
        if matches!(command, Command::Register(_) | Command::Reconnect(_)) {
            self.mailbox.will_bind();
        }
        if let Command::Register(register) = &mut command {
            register.origin = self.origin;
        }
        let last = matches!(command, Command::ClientShutdown(_));
        batch.commands.push(command);
        batch.pending.push(PendingReply { head, permit });
        if last || batch.commands.len() == BATCH_MAX {
            self.run_batch(batch).await;
        }
    }

    /// Executes the commands in `batch`, and appends their replies.
    async fn run_batch(&mut self, batch: &mut CommandBatch<'_>) {
        if batch.commands.is_empty() {
            return;
        }
        let ends = matches!(batch.commands.last(), Some(Command::ClientShutdown(_)));
        let origin = self.call_origin.clone();
        let replies = self.registry.execute(origin, std::mem::take(&mut batch.commands)).await;
        // Only the last command of a batch can end the session.
        self.closing |= ends && matches!(replies.last(), Some(Ok(_)));
        for (pending, reply) in batch.pending.drain(..).zip(replies) {
            match reply {
                Ok(reply) => self.reply(pending, reply),
                Err(error) => self.replies.error(pending.head.transaction, &error),
            }
        }
    }

    fn reply(&mut self, pending: PendingReply<'_>, reply: Reply) {
        self.replies.reply(pending.head, &reply);
        if let (Reply::Maintenance(verification), Form::Outcome(target), Some(permit)) =
            (reply, pending.head.form, pending.permit)
        {
            self.await_outcome(verification, target.to_owned(), pending.head.transaction.map(str::to_owned), permit);
        }
    }

    /// Waits for the outcome of a maintenance request in a task. If the connection ends, the request continues and its
    /// outcome is dropped.
    fn await_outcome(
        &self,
        verification: Verification,
        target: String,
        transaction: Option<String>,
        permit: mpsc::OwnedPermit<Box<MaintenanceOutcome>>,
    ) {
        let (registry, stopping) = (self.registry.clone(), self.lifecycle.stopping().clone());
        self.lifecycle.spawn_one("pipe maintenance", async move {
            let verified = stopping.run_until_cancelled(registry.verify(&verification)).await;
            let Some(result) = verified else { return };
            permit.send(Box::new(MaintenanceOutcome { target, transaction, result }));
        });
    }
}

/// Logs the warnings of a validation, because the reply line has no room for them.
fn note_warnings(registry: &Registry, query: &Query, answer: &Answer) {
    let Answer::Valid(warnings) = answer else { return };
    if let (false, Ok(session)) = (warnings.is_empty(), registry.catalog().session(query.session().reveal())) {
        let (service, instance) = (&session.record.service, &session.record.instance);
        tracing::info!(%service, %instance, warnings = warnings.join("; "), "validated, with warnings");
    }
}

fn too_long<'a>(limit: usize) -> LineRefusal<'a> {
    let error = Error::new(Kind::Limited, format!("line too long (limit {limit} bytes)"));
    LineRefusal::Wrong { transaction: None, error }
}

fn too_many_outcomes() -> Error {
    let message = format!("too many maintenance requests wait for their outcome (limit {OUTCOMES_MAX})");
    Error::new(Kind::Limited, message)
}
