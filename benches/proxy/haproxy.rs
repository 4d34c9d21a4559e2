//! HAProxy as a proxy to compare with.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{fs, thread};

use crate::Process;

/// Starts it for https on core 0, with the file `both` in `home`. Returns it with its address.
pub fn secure_proxy(home: &Path, backend: &str) -> (Process, String) {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let (address, file) = (free.to_string(), home.join("haproxy.cfg"));
    let configuration = format!(
        "global\n maxconn 5000\n nbthread 1\ndefaults\n mode http\n timeout client 1m\n timeout server 1m\n timeout connect 5s\n \
         option forwardfor\nfrontend front\n bind {address} ssl crt {}/both alpn h2,http/1.1\n \
         http-request set-header X-Forwarded-Proto https\n default_backend back\n\
         backend back\n http-reuse always\n server one {backend}\n",
        home.display()
    );
    fs::write(&file, configuration).expect("a configuration");
    let mut haproxy = Command::new("taskset");
    haproxy.args(["-c", "0", "haproxy", "-db", "-f"]).arg(&file).stderr(Stdio::null()).stdout(Stdio::null());
    let process = Process(haproxy.spawn().expect("haproxy runs"));
    for _ in 0..500 {
        if TcpStream::connect(&address).is_ok() {
            return (process, address);
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("haproxy does not listen on {address}");
}
