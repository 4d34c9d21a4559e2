//! The file descriptors of the process: their limit, and the share of each port.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::once_per_second::OncePerSecond;

/// The maximum number of open descriptors.
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

/// The number of descriptors for the store, the listeners, the log, name lookups and checks.
const OTHER_DESCRIPTORS: usize = 1024;

/// Raises the limit of open descriptors as far as the system allows. Logs a warning if it is lower than the given limits
/// of connections need.
pub fn raise_descriptor_limit(pipe: usize, api: usize, proxy: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
    let limit = if raised.is_ok() { maximum } else { current };
    let files = limit.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
    LIMIT.store(files, Ordering::Relaxed);
    // A client of the proxy needs a connection to a backend too.
    let needed = proxy.saturating_mul(2).saturating_add(pipe).saturating_add(api).saturating_add(OTHER_DESCRIPTORS);
    if needed > files {
        tracing::warn!(
            open_files = files,
            needed,
            "the limit of open files ({files}) is lower than the connections may need ({needed}: pipe.connections_max \
             {pipe}, api.connections_max {api}, twice proxy.connections_max {proxy}, and {OTHER_DESCRIPTORS} besides); raise it \
             (LimitNOFILE= under systemd, `ulimit -n` in a shell) or lower these"
        );
    }
}

/// A port's share of the descriptors, in eighths. One eighth is kept for ports with less than their share.
#[derive(Clone, Copy, Debug)]
pub enum DescriptorShare {
    /// The share of the pipe and that of the API port.
    Control = 1,
    /// The share of the proxy's clients. Their connections to backends need as many again.
    Proxy = 3,
}

impl DescriptorShare {
    /// Returns true if descriptors run out and a port with `open` connections has more than its share. Then the new
    /// connection must be refused.
    pub fn is_used_up(self, connection: &impl AsFd, open: usize) -> bool {
        // The system gives the lowest free number, which is about the number of open descriptors.
        let taken = usize::try_from(connection.as_fd().as_raw_fd()).unwrap_or(0);
        self.is_used_up_of(LIMIT.load(Ordering::Relaxed), taken, open)
    }

    fn is_used_up_of(self, limit: usize, taken: usize, open: usize) -> bool {
        let eighth = limit / 8;
        taken >= limit - eighth && open > eighth.saturating_mul(self as usize)
    }
}

/// Returns true if an operation failed because this machine or process has no descriptors, ports or memory left. Such a
/// failure says nothing about the peer.
pub fn is_out_of_resources(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let own = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL, Errno::AGAIN];
    Errno::from_io_error(error).is_some_and(|errno| own.contains(&errno))
}

/// Logs that connections to backends cannot be made, once a second at most.
pub fn warn_used_up() {
    static WARNINGS: OncePerSecond = OncePerSecond::new();
    if WARNINGS.passes() {
        tracing::warn!(
            "no files or ports are left for connections to backends; nothing of this is counted against them"
        );
    }
}

/// Returns true if no descriptor can be opened now. Failed name lookups do not report this reason.
pub fn are_descriptors_used_up() -> bool {
    std::fs::File::open("/dev/null").is_err_and(|error| is_out_of_resources(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_with_more_than_its_part_is_turned_away_once_files_run_out() {
        let (limit, crowded) = (800, 700);
        assert!(!DescriptorShare::Control.is_used_up_of(limit, 699, 600), "there is room");
        assert!(DescriptorShare::Control.is_used_up_of(limit, crowded, 101));
        assert!(!DescriptorShare::Control.is_used_up_of(limit, crowded, 100), "it has its part");
        assert!(!DescriptorShare::Proxy.is_used_up_of(limit, crowded, 300));
        assert!(DescriptorShare::Proxy.is_used_up_of(limit, crowded, 301));
        assert!(!DescriptorShare::Proxy.is_used_up_of(usize::MAX, 1_000_000, 500_000), "without a limit");
    }
}
