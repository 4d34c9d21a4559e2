//! The program of the operator that sets a TXT record.
//!
//! Invariants: it runs for a bounded time; what it prints is read up to a bound; it never gets a secret.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::lifecycle;

/// The longest time that the program may take. Some name servers publish a record only after minutes.
const HOOK_TIME: Duration = Duration::from_mins(4);
/// The most bytes of its errors that are read.
const ERRORS_BYTES_MAX: u64 = 300;

/// Runs `program` with the name of the record and its value. It must end with status 0 once the record is published.
///
/// # Errors
/// If it cannot be started, takes too long, or ends otherwise: in words, with what it printed as an error.
pub(super) async fn run(program: &Path, record: &str, value: &str) -> Result<(), String> {
    run_within(HOOK_TIME, program, record, value).await
}

async fn run_within(limit: Duration, program: &Path, record: &str, value: &str) -> Result<(), String> {
    let mut command = Command::new(program);
    command.args([record, value]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn().map_err(|error| format!("{} cannot be started: {error}", program.display()))?;
    let pid = Pid::from_child(&child);
    let (tell, told) = oneshot::channel();
    // It fails if the attempt was given up; then nobody waits.
    let wait = move || drop(tell.send(ended(child)));
    lifecycle::spawn_thread("dns hook".to_owned(), wait).map_err(|error| format!("no thread for it: {error}"))?;
    let mut running = Running { pid: Some(pid) };
    let ended = timeout(limit, told).await;
    if ended.is_ok() {
        running.pid = None;
    }
    match ended {
        Ok(Ok(ended)) => ended,
        Ok(Err(_)) => Err("it ended in an unknown way".to_owned()),
        Err(_) => Err(format!("it did not end within {} s", limit.as_secs())),
    }
}

/// A program that runs. Dropping it kills the program.
struct Running {
    pid: Option<Pid>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(pid) = self.pid {
            // It fails if the program ends just now.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// Waits for the end of the program.
fn ended(mut child: Child) -> Result<(), String> {
    let mut errors = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        let _ = stderr.take(ERRORS_BYTES_MAX).read_to_end(&mut errors);
    }
    match child.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("it ended with {status}: {}", String::from_utf8_lossy(&errors).trim())),
        Err(error) => Err(format!("its end is unknown: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    async fn run_script(script: &str, limit: Duration) -> (String, Result<(), String>) {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("hook");
        fs::write(&program, format!("#!/bin/sh\ncd {}\n{script}\n", folder.path().display())).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let ran = run_within(limit, &program, "_acme-challenge.shop.example", "value; rm -rf *").await;
        (fs::read_to_string(folder.path().join("out")).unwrap_or_default(), ran)
    }

    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn it_gets_the_name_and_the_value_and_its_status_counts() {
        let (out, ran) = run_script("printf '%s|' \"$@\" > out", LONG).await;
        assert_eq!((out.as_str(), ran), ("_acme-challenge.shop.example|value; rm -rf *|", Ok(())));
        let (_, ran) = run_script("echo no such zone >&2; exit 3", LONG).await;
        let said = ran.unwrap_err();
        assert!(said.contains('3') && said.contains("no such zone"), "{said}");
        let (_, ran) = run_script("yes no >&2", LONG).await;
        assert!(ran.unwrap_err().len() < 500, "what it prints is bounded");
        let absent = run_within(LONG, Path::new("/nowhere/hook"), "a", "b").await.unwrap_err();
        assert!(absent.contains("/nowhere/hook cannot be started"), "{absent}");
    }

    #[tokio::test]
    async fn one_that_hangs_is_killed() {
        let (_, ran) = run_script("exec sleep 1000", Duration::from_millis(50)).await;
        assert!(ran.unwrap_err().contains("did not end"));
    }
}
