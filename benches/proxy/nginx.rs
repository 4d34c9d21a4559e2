//! nginx as the backend and as the proxy to compare with, each with a configuration and directory of its own.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{fs, thread};

use crate::Process;

/// Starts a backend that answers 1 KiB, and 64 KiB at `/64k`. Returns it with its address.
pub fn backend(home: &Path) -> (Process, String) {
    fs::write(home.join("64k"), "x".repeat(64 * 1024)).expect("a file to serve");
    let (root, page) = (home.display(), "x".repeat(1024));
    start(home, "backend", 1, |address| {
        format!(
            "open_file_cache max=10; server {{ listen {address} backlog=4096; \
             location = / {{ return 200 \"{page}\"; }} location = /64k {{ root {root}; }} }}"
        )
    })
}

/// A proxy to `backend`, telling it of the client what ours tells it.
pub fn proxy(home: &Path, backend: &str) -> (Process, String) {
    start(home, "proxy", 0, |address| server(backend, &format!("listen {address} backlog=4096;")))
}

/// The same for https, with the files `cert` and `key` in `home`.
pub fn secure_proxy(home: &Path, backend: &str) -> (Process, String) {
    let files = format!("ssl_certificate {0}/cert; ssl_certificate_key {0}/key;", home.display());
    start(home, "secure", 0, |address| {
        server(backend, &format!("listen {address} ssl http2 backlog=4096; ssl_protocols TLSv1.2 TLSv1.3; {files}"))
    })
}

fn server(backend: &str, listen: &str) -> String {
    format!(
        "upstream backend {{ server {backend}; keepalive 256; keepalive_requests 1000000000; }} \
             server {{ {listen} server_name shop.example localhost; location / {{ \
             proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection \"\"; \
             proxy_set_header Host $http_host; proxy_set_header X-Real-IP $remote_addr; \
             proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme; \
             proxy_set_header X-Forwarded-Host $http_host; proxy_set_header Signalbox-Hops 1; }} }}"
    )
}

/// The workers of a master.
pub fn workers(master: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn start(home: &Path, name: &str, core: u8, servers: impl FnOnce(&str) -> String) -> (Process, String) {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let address = free.to_string();
    let directory = home.join(name);
    fs::create_dir_all(&directory).expect("a directory for nginx");
    let (paths, servers) = (temporary(&directory), servers(&address));
    let configuration = format!(
        "daemon off; user root; worker_processes 1; pid {}/pid; error_log {}/error.log; events {{ worker_connections 4096; }} \
         http {{ access_log off; keepalive_requests 1000000000; sendfile on; tcp_nodelay on; {paths} {servers} }}",
        directory.display(),
        directory.display(),
    );
    let file = directory.join("nginx.conf");
    fs::write(&file, configuration).expect("a configuration for nginx");
    let mut nginx = Command::new("taskset");
    nginx.args(["-c", &core.to_string(), "nginx", "-p"]).arg(&directory).arg("-c").arg(&file).stderr(Stdio::null());
    let process = Process(nginx.spawn().expect("nginx runs"));
    await_port(&address);
    (process, address)
}

fn temporary(directory: &Path) -> String {
    let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    kinds.map(|kind| format!("{kind}_temp_path {}/{kind};", directory.display())).join(" ")
}

fn await_port(address: &str) {
    for _ in 0..500 {
        if TcpStream::connect(address).is_ok() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("nginx does not listen on {address}");
}
