//! CPU per request with an access log in JSON, beside the same process without it: of Signalbox, and of nginx with the same fields.
//!
//! Two processes of one program differ by some per cent for their whole life, which is more than the log takes. So each switches its log on
//! and off by a reload, and every round compares its halves.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::{Process, load, nginx, number, under_test};

/// The fields of a line of Signalbox, as nginx names them.
const FIELDS: &str = r#"{"time":"$time_iso8601","id":"$request_id","client":"$remote_addr","method":"$request_method","scheme":"$scheme","host":"$http_host","path":"$uri","query":"$args","protocol":"$server_protocol","status":$status,"bytes_received":$request_length,"bytes_sent":$body_bytes_sent,"duration_ms":$request_time,"upstream_ms":"$upstream_response_time","service_name":"shop","instance_name":"shop-1","route_id":"r1","attempts":1,"user_agent":"$http_user_agent","referer":"$http_referer","revision":1}"#;
/// The time after which a reload is done.
const RELOAD_TAKES: Duration = Duration::from_millis(500);

/// A place for the lines.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    None,
    Null,
    File,
}

/// Writes the configuration with a log in this file, or without one.
type Configure = Box<dyn Fn(Option<&Path>)>;

/// A proxy whose log can be switched.
struct Logging {
    name: &'static str,
    process: Process,
    address: String,
    configure: Configure,
}

/// Compares each proxy with itself.
pub fn compare() {
    let home = tempfile::tempdir().expect("a directory");
    let (_backend, backend) = nginx::backend(home.path());
    let proxies = [signalbox(home.path(), &backend), nginx(home.path(), &backend)];
    let (rounds, seconds) = (number("PROXY_BENCH_ROUNDS", 11), number("PROXY_BENCH_SECONDS", 1));
    let file = home.path().join("access.log");
    println!("{:<12} {:<14} {:>12} {:>12} {:>8}", "", "log", "CPU µs each", "more µs", "ratio");
    for proxy in &proxies {
        let mut measured = Vec::new();
        for _ in 0..rounds {
            measured.push([Place::None, Place::Null, Place::File].map(|place| proxy.micros(place, &file, seconds)));
        }
        for (at, name) in ["none", "JSON, /dev/null", "JSON, a file"].iter().enumerate() {
            let median = |of: &dyn Fn(&[f64; 3]) -> f64| {
                let mut values: Vec<f64> = measured.iter().map(of).collect();
                values.sort_by(f64::total_cmp);
                values[values.len() / 2]
            };
            let (micros, more) = (median(&|round| round[at]), median(&|round| round[at] - round[0]));
            let ratio = median(&|round| round[at] / round[0]);
            println!("{:<12} {name:<15} {micros:>11.2} {more:>12.2} {ratio:>8.3}", proxy.name);
        }
    }
}

impl Logging {
    /// Returns the CPU time of a request, in microseconds, with the log in this place.
    fn micros(&self, place: Place, file: &Path, seconds: u32) -> f64 {
        (self.configure)(match place {
            Place::None => None,
            Place::Null => Some(Path::new("/dev/null")),
            Place::File => Some(file),
        });
        let pid = self.process.0.id();
        let hangup = Command::new("kill").args(["-HUP", &pid.to_string()]).status();
        assert!(hangup.is_ok_and(|status| status.success()), "the proxy is alive");
        thread::sleep(RELOAD_TAKES);
        let mut pids = nginx::workers(pid);
        pids.push(pid);
        let before = cpu_micros(&pids);
        let requests = load(&format!("http://{}/", self.address), "shop.example", false, seconds);
        let took = cpu_micros(&pids) - before;
        if place == Place::File {
            assert!(file.metadata().is_ok_and(|found| found.len() > 0), "lines were written");
            let _ = fs::File::create(file);
        }
        took / requests
    }
}

fn signalbox(home: &Path, backend: &str) -> Logging {
    let settings = home.join("signalbox.toml");
    fs::write(&settings, "").expect("a configuration");
    let flags = ["--config", &settings.display().to_string()];
    let program = env!("CARGO_BIN_EXE_signalbox");
    let started = under_test::start_with(home, "signalbox", program, &format!("http://{backend}"), &flags);
    let (process, address, _) = started;
    let configure = Box::new(move |file: Option<&Path>| {
        let section = file.map(|file| format!("[log.access]\nfile = \"{}\"\n", file.display()));
        fs::write(&settings, section.unwrap_or_default()).expect("a configuration");
    });
    Logging { name: "Signalbox", process, address, configure }
}

fn nginx(home: &Path, backend: &str) -> Logging {
    let (process, address) = nginx::proxy(home, backend);
    let settings: PathBuf = home.join("proxy/nginx.conf");
    let without = fs::read_to_string(&settings).expect("its configuration");
    let configure = Box::new(move |file: Option<&Path>| {
        let log = file.map(|file| {
            let format = format!("log_format all escape=json '{FIELDS}';");
            format!("{format} access_log {} all buffer=64k flush=1s;", file.display())
        });
        let with = without.replace("access_log off;", log.as_deref().unwrap_or("access_log off;"));
        fs::write(&settings, with).expect("a configuration");
    });
    Logging { name: "nginx", process, address, configure }
}

/// Returns the CPU time of all threads of these processes so far, in microseconds, from the first field of `schedstat`.
fn cpu_micros(pids: &[u32]) -> f64 {
    let threads = pids.iter().flat_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).expect("the proxy is alive"));
    let nanos = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    });
    nanos.sum::<f64>() / 1000.0
}
