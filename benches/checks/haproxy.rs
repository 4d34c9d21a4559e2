//! HAProxy checks the same backends at the same interval.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{fs, thread};

use crate::{Backends, address, cpu_time, row};

/// Measures it over `secs` after a first round, or says why not.
pub(crate) fn measure(backends: &mut Backends, servers: u32, interval: u32, secs: u32) {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("haproxy.cfg");
    let socket = home.path().join("haproxy.sock");
    fs::write(&file, configuration(&socket, servers, interval, backends.port)).expect("written");
    let mut command = Command::new("haproxy");
    command.args(["-q", "-db", "-f"]).arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut process) = command.spawn() else { return println!("HAProxy: not installed, not measured") };
    let warmed_up = Duration::from_secs(u64::from(interval) + 5);
    thread::sleep(warmed_up);
    let id = process.id().to_string();
    if process.try_wait().expect("its state").is_some() {
        return println!("HAProxy: it does not run here, perhaps for want of open files; not measured");
    }
    let (checks, cpu) = (backends.answered(), cpu_time(&id));
    thread::sleep(Duration::from_secs(secs.into()));
    row("HAProxy", backends.answered() - checks, cpu_time(&id).saturating_sub(cpu), secs);
    let _ = process.kill();
    let _ = process.wait();
}

fn configuration(socket: &Path, servers: u32, interval: u32, port: u16) -> String {
    let mut text = format!(
        "global\n maxconn 100\n nbthread 1\n\
         defaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n timeout check 5s\n\
         frontend nobody\n bind {socket}\n default_backend checked\n\
         backend checked\n option httpchk\n\
         \x20http-check send meth GET uri / ver HTTP/1.1 hdr host checked hdr connection close\n\
         \x20http-check expect rstatus ^[23]\n default-server check inter {interval}s\n",
        socket = socket.display()
    );
    for server in 1..=servers {
        let _ = writeln!(text, " server s{server} {}:{port}", address(server));
    }
    text
}
