//! Https beside nginx and HAProxy: CPU per request and per handshake, and memory per idle connection.
//!
//! Certificates have P-256 keys. The client of the handshakes is this program again, on core 1.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, fs, thread};

use crate::tls_client::IDLE;
use crate::{Contender, cpu_seconds, haproxy, load, nginx, number, under_test};

/// Compares CPU and memory.
pub fn compare() {
    let home = tempfile::tempdir().expect("a directory");
    write_certificate(home.path());
    let (_backend, backend) = nginx::backend(home.path());
    let url = format!("http://{backend}");
    let (process, address) = nginx::secure_proxy(home.path(), &backend);
    let nginx = Contender { name: "nginx", address, pids: nginx::workers(process.0.id()), _process: process };
    let (process, address) = haproxy::secure_proxy(home.path(), &backend);
    let haproxy = Contender { name: "haproxy", address, pids: vec![process.0.id()], _process: process };
    let (process, address) = under_test::start_secure(home.path(), "own", env!("CARGO_BIN_EXE_signalbox"), &url, "");
    let own = Contender { name: "signalbox", address, pids: vec![process.0.id()], _process: process };
    let mut contenders = vec![nginx, haproxy, own];
    if let Ok(earlier) = env::var("PROXY_BENCH_EARLIER") {
        let (process, address) = under_test::start_secure(home.path(), "earlier", &earlier, &url, "");
        contenders.push(Contender { name: "earlier", address, pids: vec![process.0.id()], _process: process });
    }
    let seconds = number("PROXY_BENCH_SECONDS", 3);
    println!("{:<28} {:>12} {:>12} {:>12} {:>10}", "", "proxy", "CPU µs each", "per second", "ratio");
    for (name, path) in [("https keep-alive, 1 KiB", "/"), ("https keep-alive, 64 KiB", "/64k")] {
        report(name, &contenders, seconds, &|contender| {
            let port = contender.address.rsplit(':').next().unwrap_or_default();
            load(&format!("https://localhost:{port}{path}"), "localhost", false, seconds)
        });
    }
    for (name, path) in [("https, HTTP/2, 1 KiB", "/"), ("https, HTTP/2, 64 KiB", "/64k")] {
        report(name, &contenders, seconds, &|contender| {
            // By name, which the handshake tells.
            let port = contender.address.rsplit(':').next().unwrap_or_default();
            load_http2(&format!("https://localhost:{port}{path}"), &[], seconds)
        });
    }
    for (name, resumes) in [("full handshakes", "full"), ("resumed handshakes", "resumed")] {
        report(name, &contenders, seconds, &|contender| {
            client("tls-client", home.path(), contender, &[resumes, &seconds.to_string()])
        });
    }
    for (name, what) in [("idle https connection", "idle"), ("idle HTTP/2 connection", "idle-http2")] {
        for contender in &contenders {
            let each = idle(home.path(), contender, what);
            println!("{name:<28} {:>12} {each:>12.1} KiB", contender.name);
        }
    }
}

/// Writes the files `cert`, `key` and `both` of a certificate for `localhost`.
pub fn write_certificate(home: &Path) {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (cert, key) = (own.cert.pem(), own.signing_key.serialize_pem());
    fs::write(home.join("cert"), &cert).expect("a file");
    fs::write(home.join("key"), &key).expect("a file");
    fs::write(home.join("both"), cert + &key).expect("a file");
}

/// Prints the median of the CPU time for each unit of work.
pub fn report(name: &str, contenders: &[Contender], seconds: u32, work: &dyn Fn(&Contender) -> f64) {
    let mut measured = vec![Vec::new(); contenders.len()];
    for _ in 0..number("PROXY_BENCH_ROUNDS", 5) {
        for (contender, measured) in contenders.iter().zip(&mut measured) {
            let before: f64 = cpu_seconds(&contender.pids).iter().sum();
            let count = work(contender);
            let after: f64 = cpu_seconds(&contender.pids).iter().sum();
            measured.push(((after - before) * 1e6 / count, count / f64::from(seconds)));
        }
    }
    let medians: Vec<(f64, f64)> = measured
        .iter_mut()
        .map(|rounds| {
            rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
            rounds[rounds.len() / 2]
        })
        .collect();
    for (contender, (micros, per_second)) in contenders.iter().zip(&medians) {
        let ratio = micros / medians[0].0;
        println!("{name:<28} {:>12} {micros:>12.1} {per_second:>12.0} {ratio:>10.2}", contender.name);
    }
}

/// Runs a client of this program for a while. Returns how many handshakes or requests it counted.
pub fn client(kind: &str, home: &Path, contender: &Contender, arguments: &[&str]) -> f64 {
    let mut client = Command::new("taskset");
    client.args(["-c", "1"]).arg(env::current_exe().expect("this program")).arg(kind).arg(&contender.address);
    let output = client.arg(home.join("cert")).args(arguments).output().expect("the client runs");
    let said = String::from_utf8_lossy(&output.stdout);
    said.trim().parse().unwrap_or_else(|_| panic!("the client said {said}{}", String::from_utf8_lossy(&output.stderr)))
}

/// Requests from 8 connections with 16 streams each. Returns how many were answered; any that failed spoils the run.
pub fn load_http2(url: &str, arguments: &[&str], seconds: u32) -> f64 {
    let mut h2load = Command::new("taskset");
    h2load.args(["-c", "1", "h2load", "-t1", "-c8", "-m16", "-D", &seconds.to_string()]);
    let output = h2load.args(arguments).arg(url).output().expect("h2load runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains(" 0 failed, 0 errored, 0 timeout"), "not every request succeeded:\n{said}");
    let answered =
        said.lines().find_map(|line| line.strip_prefix("status codes: ")?.split_once(" 2xx, 0 3xx, 0 4xx, 0 5xx"));
    let count = answered.and_then(|(count, _)| count.parse().ok()).filter(|count| *count > 0.0);
    count.unwrap_or_else(|| panic!("h2load said:\n{said}"))
}

/// Returns the KiB that an idle connection takes.
fn idle(home: &Path, contender: &Contender, what: &str) -> f64 {
    let resident = || -> f64 {
        let of = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = |status: String| status.lines().find_map(|line| line.strip_prefix("VmRSS:").map(str::to_owned));
        let kib = |line: String| line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok());
        contender.pids.iter().filter_map(|pid| line(of(pid)).and_then(kib)).sum()
    };
    let before = resident();
    let mut client = Command::new(env::current_exe().expect("this program"));
    client.arg("tls-client").arg(&contender.address).arg(home.join("cert")).arg(what);
    let mut client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the client runs");
    let mut ready = [0];
    client.stdout.take().expect("piped").read_exact(&mut ready).expect("it is ready");
    thread::sleep(Duration::from_secs(1));
    let after = resident();
    drop(client.stdin.take());
    let _ = client.wait();
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let each = (after - before) / IDLE as f64;
    each
}
