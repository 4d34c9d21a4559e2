//! The configuration: flags beat the environment, the environment beats the file, the file beats the defaults.
//!
//! One definition, three faces: each section below is at once a section of the file and a set of flags with
//! their variables. A value is parsed by its type wherever it comes from. The environment is read here alone.

mod command;
mod file;
mod sections;
mod values;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use ipnet::IpNet;

use crate::connection_limits::ConnectionLimits;
use crate::domain::{HeaderKey, Host, Options, Secret, Span};
use crate::registry::{RegistrationToken, RegistrationTokens};
use crate::tls::Files;

pub use command::Cli;
pub use sections::{LogFormat, Unmatched};

use sections::{ApiSection, PipeSection, ProxySection, Sections, SessionSection, TokenSection};
use values::{Count, Network};

/// All that the server is told, complete and checked.
#[derive(Debug)]
pub struct Config {
    /// The pipe door.
    pub pipe: Pipe,
    /// The API port.
    pub api: Api,
    /// The proxy.
    pub proxy: Proxy,
    /// Registration tokens.
    pub grants: RegistrationTokens,
    /// Where the store is.
    pub store_url: String,
    /// The registry's bounds.
    pub limits: crate::registry::RegistryLimits,
    /// Bytes that peers can make the process hold.
    pub memory: usize,
    /// Networks that the server never connects to for a client.
    pub deny: Vec<IpNet>,
    /// A file of certificates that are trusted of backends beside the system's.
    pub ca: Option<PathBuf>,
    /// For every route, below a session's own.
    pub default_headers: Vec<(HeaderKey, Arc<str>)>,
    /// For every route, below a session's own.
    pub default_options: Options,
    /// What is logged.
    pub log_filter: String,
    /// How; by the kind of the log's destination if `None`.
    pub log_format: Option<LogFormat>,
}

/// The pipe door.
#[derive(Debug)]
pub struct Pipe {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Bytes of a command line.
    pub max_line: usize,
    /// Bytes of a reply line.
    pub max_reply: usize,
    /// For a line that is begun.
    pub line_timeout: Span,
    /// For a connection without session.
    pub idle_timeout: Span,
    /// Connections at once.
    pub connections: ConnectionLimits,
    /// What it shows, if it speaks TLS.
    pub tls: Option<Files>,
}

/// The API port.
#[derive(Debug)]
pub struct Api {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What operators show; none for those who sit at this machine.
    pub operator_tokens: Vec<Secret>,
    /// Further hosts under which it may be asked while nothing protects it.
    pub hosts: Vec<Host>,
    /// Bytes of a request body or message.
    pub max_body: usize,
    /// Connections at once.
    pub connections: ConnectionLimits,
    /// Origins whose pages may call it from a browser.
    pub cors: Vec<String>,
    /// What it shows, if it speaks TLS.
    pub tls: Option<Files>,
}

/// The proxy.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub http: SocketAddr,
    /// Worker threads, 0 for one per core.
    pub workers: usize,
    /// Peers whose forwarding fields are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// What a request gets that no route matches.
    pub unmatched: Unmatched,
    /// Client connections at once.
    pub connections: ConnectionLimits,
}

impl Sections {
    fn over(self, below: Self) -> Self {
        Self {
            pipe: self.pipe.over(below.pipe),
            api: self.api.over(below.api),
            proxy: self.proxy.over(below.proxy),
            store: self.store.over(below.store),
            session: self.session.over(below.session),
            limits: self.limits.over(below.limits),
            backends: self.backends.over(below.backends),
            log: self.log.over(below.log),
            // These stand in the file alone.
            defaults: below.defaults,
            tokens: below.tokens,
        }
    }

    fn complete(self) -> anyhow::Result<Config> {
        let mut limits = self.session.limits();
        limits.sessions_per_origin_max = match self.limits.sessions_per_address {
            Some(most) => Some(most.0).filter(|most| *most > 0),
            // Behind a proxy all have its address.
            None if self.proxy.trusted_proxies.as_ref().is_some_and(|proxies| !proxies.is_empty()) => None,
            None => Some(limits.sessions_max.div_ceil(4)),
        };
        if let Some(most) = self.api.streams_max {
            limits.streams_max = most.0;
        }
        let grants = grants(self.tokens)?;
        let config = Config {
            pipe: self.pipe.complete(!grants.is_empty())?,
            api: self.api.complete()?,
            proxy: self.proxy.complete(),
            grants,
            store_url: self.store.url.unwrap_or_else(|| "sqlite://signalbox.db".to_owned()),
            limits,
            memory: self.limits.memory.map_or_else(crate::memory_budget::default_bytes, |size| size.0),
            deny: match self.backends.deny {
                Some(deny) => networks(deny),
                None => denied_by_default()?,
            },
            ca: self.backends.ca,
            default_headers: self.defaults.headers.0,
            default_options: self.defaults.options.0,
            log_filter: self.log.level.map_or_else(|| "info,sqlx=warn".to_owned(), |filter| filter.0),
            log_format: self.log.format.map(|format| format.0),
        };
        config.apart()?;
        Ok(config)
    }
}

impl Config {
    /// Refuses two doors on one address.
    fn apart(&self) -> anyhow::Result<()> {
        let doors =
            [("pipe.listen", self.pipe.listen), ("api.listen", self.api.listen), ("proxy.http", self.proxy.http)];
        for (at, (key, address)) in doors.iter().enumerate() {
            let twin = doors.iter().skip(at + 1).find(|(_, other)| other == address && address.port() != 0);
            if let Some((other, _)) = twin {
                bail!("{key} and {other} are both {address}; give each its own port");
            }
        }
        Ok(())
    }
}

fn grants(tokens: Vec<TokenSection>) -> anyhow::Result<RegistrationTokens> {
    let mut names = BTreeSet::new();
    for token in &tokens {
        if !names.insert(token.name.0.as_str()) {
            bail!("tokens: there are two called {}; give each its own name", token.name.0);
        }
    }
    let grant = |token: TokenSection| RegistrationToken {
        name: token.name.0,
        secret: token.sha256.0,
        services: token.services.into_iter().map(|rule| rule.0).collect(),
        domains: token.domains.into_iter().map(|domain| domain.0).collect(),
        path_prefixes: token.path_prefixes.into_iter().map(|prefix| prefix.0).collect(),
        backends: networks(token.backends),
        max_routes: token.max_routes.map(|count| count.0),
        max_sessions: token.max_sessions.map(|count| count.0),
    };
    Ok(tokens.into_iter().map(grant).collect::<Vec<_>>().into())
}

impl ApiSection {
    fn complete(self) -> anyhow::Result<Api> {
        let mut operator_tokens: Vec<Secret> =
            self.operator_tokens.unwrap_or_default().into_iter().map(|token| token.0).collect();
        if let Some(path) = &self.operator_tokens_file {
            operator_tokens.extend(tokens_in(path)?);
        }
        let listen = self.listen.map_or(loopback(8182), |address| address.0);
        if !is_local(listen) && operator_tokens.is_empty() && !self.insecure.is_some_and(|insecure| insecure.0) {
            bail!(
                "api.listen: other machines reach {listen}, and there is no operator token; set api.operator_tokens \
                 or api.operator_tokens_file, or else api.insecure = true"
            );
        }
        Ok(Api {
            listen,
            operator_tokens,
            hosts: self.hosts.unwrap_or_default().into_iter().map(|host| host.0).collect(),
            max_body: self.max_body.map_or(1024 * 1024, |size| size.0),
            connections: connections(self.connections_max, 14_000, self.address_connections_max),
            tls: tls("api", self.cert, self.key, self.client_ca)?,
            cors: self.cors.unwrap_or_default().into_iter().map(|origin| origin.0).collect(),
        })
    }
}

/// The tokens that stand in a file, one a line; empty lines and those that begin with `#` are none.
fn tokens_in(path: &Path) -> anyhow::Result<Vec<Secret>> {
    let told = || format!("api.operator_tokens_file: cannot use {}", path.display());
    let text = std::fs::read_to_string(path).with_context(told)?;
    let lines = text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let token =
        |(at, line)| values::operator_token(line).map_err(|why| anyhow!("line {}: {why}", at + 1)).with_context(told);
    let tokens: Vec<Secret> = lines.map(token).collect::<Result<_, _>>()?;
    if tokens.is_empty() {
        return Err(anyhow!("it holds no token")).with_context(told);
    }
    Ok(tokens)
}

fn networks(list: Vec<Network>) -> Vec<IpNet> {
    list.into_iter().map(|network| network.0).collect()
}

/// Says whether only this machine reaches an address.
fn is_local(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// Where cloud machines keep their credentials, link-local addresses, and spellings of "this machine".
fn denied_by_default() -> anyhow::Result<Vec<IpNet>> {
    let nets = ["169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128", "0.0.0.0/8", "::/128"];
    nets.iter().map(|net| net.parse().context("the built-in deny list")).collect()
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// The connections that a port takes: of one client address three quarters of all unless that is given.
fn connections(all: Option<Count>, default: usize, of_origin: Option<Count>) -> ConnectionLimits {
    let all = all.map_or(default, |count| count.0);
    ConnectionLimits { all, of_origin: of_origin.map_or((all - all / 4).max(1), |count| count.0) }
}

/// The files for a door's TLS; none are named, or certificate and key both.
fn tls(
    section: &'static str,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    client_ca: Option<PathBuf>,
) -> anyhow::Result<Option<Files>> {
    match (cert, key, client_ca) {
        (None, None, None) => Ok(None),
        (Some(cert), Some(key), client_ca) => Ok(Some(Files { section, cert, key, client_ca })),
        (Some(_), None, _) => bail!("{section}.cert is set and {section}.key is not; TLS needs both"),
        (None, Some(_), _) => bail!("{section}.key is set and {section}.cert is not; TLS needs both"),
        (None, None, Some(_)) => bail!("{section}.client_ca needs {section}.cert and {section}.key"),
    }
}

impl PipeSection {
    fn complete(self, has_tokens: bool) -> anyhow::Result<Pipe> {
        let listen = self.listen.map_or(loopback(8181), |address| address.0);
        if !is_local(listen)
            && !has_tokens
            && self.client_ca.is_none()
            && !self.insecure.is_some_and(|insecure| insecure.0)
        {
            bail!(
                "pipe.listen: other machines reach {listen}, and whoever does could register; set pipe.listen to a \
                 loopback address such as 127.0.0.1:8181, or say who may register with [[tokens]] or with \
                 pipe.client_ca, or else set pipe.insecure = true"
            );
        }
        Ok(Pipe {
            listen,
            max_line: self.max_line.map_or(1024 * 1024, |size| size.0),
            max_reply: self.max_reply.map_or(64 * 1024, |size| size.0),
            line_timeout: self.line_timeout.map_or(Span::from_secs(30), |span| span.0),
            idle_timeout: self.idle_timeout.map_or(Span::from_secs(5 * 60), |span| span.0),
            connections: connections(self.connections_max, 10_000, self.address_connections_max),
            tls: tls("pipe", self.cert, self.key, self.client_ca)?,
        })
    }
}

impl ProxySection {
    fn complete(self) -> Proxy {
        Proxy {
            http: self.http.map_or(loopback(8080), |address| address.0),
            workers: self.workers.map_or(0, |workers| workers.0),
            trusted_proxies: networks(self.trusted_proxies.unwrap_or_default()),
            unmatched: self.unmatched.map_or(Unmatched::NotFound, |how| how.0),
            connections: connections(self.connections_max, 20_000, self.address_connections_max),
        }
    }
}

impl SessionSection {
    fn limits(&self) -> crate::registry::RegistryLimits {
        let mut limits = crate::registry::RegistryLimits::default();
        if let Some(grace) = self.grace {
            limits.grace = grace.0;
        }
        if let Some(ttl) = self.staged_ttl {
            limits.staged_ttl = ttl.0;
        }
        if let Some(most) = self.sessions_max {
            limits.sessions_max = most.0;
        }
        if let Some(most) = self.routes_max {
            limits.routes_per_session_max = most.0;
        }
        limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str, flags: &[&str]) -> Result<Config, String> {
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&path, file).unwrap();
        let config = path.path().to_str().unwrap();
        let given = ["signalbox", "--config", config].into_iter().chain(flags.iter().copied());
        let cli = Cli::read(given).map_err(|error| error.to_string())?;
        cli.load().map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_given_is_a_configuration_that_works() {
        let config = load("", &[]).unwrap();
        assert_eq!((config.pipe.listen.port(), config.api.listen.port(), config.proxy.http.port()), (8181, 8182, 8080));
        assert_eq!(config.store_url, "sqlite://signalbox.db");
        assert!(config.proxy.trusted_proxies.is_empty());
    }

    #[test]
    fn a_flag_beats_the_file_and_the_file_beats_the_default() {
        let file = "[session]\ngrace = \"1m\"\nstaged_ttl = \"2m\"\n[proxy]\nunmatched = \"close\"\n";
        let config = load(file, &["--session-grace", "10s"]).unwrap();
        assert_eq!(config.limits.grace, Span::from_secs(10));
        assert_eq!(config.limits.staged_ttl, Span::from_secs(120));
        assert_eq!(config.proxy.unmatched, Unmatched::Close);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_what_is_expected() {
        let wrong = [
            ("[pipe]\nlisten = \"nowhere\"\n", ":2:10:", "`nowhere` has no port; write 127.0.0.1:8181"),
            ("[api]\nlisten = \"nowhere\"\n", ":2:10:", "write 127.0.0.1:8182"),
            (
                "[proxy]\nhttp = \":80800\"\n",
                ":2:8:",
                "the port in `:80800` is not a number from 0 to 65535; write 127.0.0.1:8080",
            ),
            ("[proxy]\nhttp = \"127.0.0.1:http\"\n", ":2:8:", "the port in"),
            ("[proxy]\nhttp = \"::1\"\n", ":2:8:", "write [::1]:8080"),
            ("[proxy]\nhttp = \"*:80\"\n", ":2:8:", "write 0.0.0.0:80"),
            ("[proxy]\nhttp = \"http://127.0.0.1:80\"\n", ":2:8:", "is a URL; write 127.0.0.1:8080"),
            ("[proxy]\nhttp = \"no.such.name.invalid:80\"\n", ":2:8:", "neither an address nor a name that resolves"),
            ("[proxy]\nhttp = 127.0.0.1:8080\n", ":2:", "write the value in quotes: http = \"127.0.0.1:8080\""),
            ("[pipe]\nlisten = localhost:80 # here\n", ":2:", "listen = \"localhost:80\""),
            ("[session]\ngrace = 5m\n", ":2:", "grace = \"5m\""),
            ("[pipe]\ninsecure = True\n", ":2:", "insecure = true"),
            ("[pipe]\ninsecure = \"yes\"\n", ":2:", "`yes` is neither true nor false"),
            ("[proxy]\ntrusted_proxies = [10.0.0.0/8, ::1]\n", ":2:", "trusted_proxies = [\"10.0.0.0/8\", \"::1\"]"),
            ("[proxy]\ntrusted_proxies = \"10.0.0.0/8\"\n", ":2:", "write a list: [\"10.0.0.0/8\"]"),
            ("[api]\nhosts = \"a.example, b.example\"\n", ":2:", "write a list: [\"a.example\", \"b.example\"]"),
            ("[api]\ncors = 1\n", ":2:", "write a list: cors = [\"1\"]"),
            ("[proxy]\nworkers = -1\n", ":2:", "a whole number from 0 to 1024; 0 means one for each core"),
            ("[proxy]\nworkers = 1.5\n", ":2:", "not float"),
            ("[proxy]\nworkers = 99999999999999999999\n", ":2:", "the largest is 9223372036854775807"),
            ("[limits]\nsessions_per_address = -1\n", ":2:", "0 means no limit"),
            ("[pipe]\nconnections_max = 0\n", ":2:", "a whole number from 1 to 1000000000"),
            ("[pipe]\nconnections_max = 9223372036854775807\n", ":2:", "a whole number from 1 to 1000000000"),
            ("[pipe]\n\nlitsen = \"127.0.0.1:1\"\n", ":3:1:", "there is no `litsen` here; did you mean `listen`?"),
            ("[prxy]\n", ":1:", "did you mean `proxy`?"),
            ("pipe = 3\n", ":1:", "`pipe` is a section; write [pipe]"),
            ("[tokens]\nname = \"a\"\n", ":1:", "write [[tokens]]"),
            ("[pipe]\ncert = 3\n", ":2:", "cert = \"3\""),
            ("[session]\ngrace = \"soon\"\n", ":2:", "500ms, 30s, 1m30s or 2h"),
            ("[proxy]\nunmatched = \"x\"\n", ":2:", "write \"404\" or \"close\""),
            ("[log]\nformat = \"x\"\n", ":2:", "write \"human\" or \"json\""),
            ("[proxy]\ntrusted_proxies = [\"x\"]\n", ":2:", "write 10.0.0.0/8"),
            ("[defaults.options]\ntimeout = \"0s\"\n", ":", "timeout: `0s` is zero"),
            ("[defaults.options]\ntiemout = 1\n", ":", "there is no option `tiemout`; did you mean timeout?"),
            ("[defaults.headers]\nconnection = \"x\"\n", ":", "belongs to the connection"),
            ("[defaults.headers]\n\"X Frame\" = \"x\"\n", ":", "may not hold a space; for example X-Frame-Options"),
            ("[tls]\n", ":1:", "there is no `tls` here"),
            ("[pipe\n", ":1:", "unclosed table"),
            ("[api]\noperator_tokens = [\"short\"]\n", ":2:", "at least 16 visible ASCII characters"),
            ("[api]\nhosts = [\"*\"]\n", ":2:", "`*` is not a host"),
            ("[api]\nhosts = [\"a.example:8182\"]\n", ":2:", "without port or scheme"),
            ("[api]\ncors = [\"*\"]\n", ":2:", "is not an origin"),
            ("[[tokens]]\nname = \"a\"\nsha256 = \"12\"\n", ":3:", "64 hexadecimal digits"),
            ("[[tokens]]\nname = \"a\"\n", ":1:", "`sha256` is missing here"),
            ("[log]\nlevel = \"lou=d=er\"\n", ":2:", "not a log level"),
            ("[log]\nlevel = \"verbose\"\n", ":2:", "write error, warn, info, debug, trace or off"),
            ("[log]\nlevel = \"info;debug\"\n", ":2:", "info,signalbox::proxy=debug"),
            ("[log]\nlevel = \"signalbox\"\n", ":2:", "not a log level"),
            ("[log]\nlevel = \"\"\n", ":2:", "not a log level"),
        ];
        for (file, line, expected) in wrong {
            let said = load(file, &[]).unwrap_err();
            assert!(said.contains(line) && said.contains(expected), "{file}\n{said}");
            for word in ["usize", "i128", "Section", "expected struct", "Some("] {
                assert!(!said.contains(word), "{file}\n{said}");
            }
        }
    }

    #[test]
    fn a_file_that_is_not_utf_8_is_told_with_the_place() {
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&path, b"[log]\n# caf\xe9\n").unwrap();
        let cli = Cli::read(["signalbox", "--config", path.path().to_str().unwrap()]).unwrap();
        let said = cli.load().unwrap_err().to_string();
        assert!(said.contains(":2:6:") && said.contains("save the file as UTF-8"), "{said}");
    }

    #[test]
    fn an_address_may_be_a_port_or_a_name_and_a_choice_a_number() {
        for (written, read) in [
            ("\"127.0.0.1:99\"", "127.0.0.1:99"),
            ("\":99\"", "127.0.0.1:99"),
            ("\"99\"", "127.0.0.1:99"),
            ("99", "127.0.0.1:99"),
            ("\"localhost:99\"", "127.0.0.1:99"),
            ("\"[::1]:99\"", "[::1]:99"),
        ] {
            let config = load(&format!("[proxy]\nhttp = {written}\n"), &[]).unwrap();
            assert_eq!(config.proxy.http.to_string(), read, "{written}");
        }
        assert_eq!(load("[proxy]\nunmatched = 404\n", &[]).unwrap().proxy.unmatched, Unmatched::NotFound);
    }

    #[test]
    fn levels_of_the_log_are_taken_as_they_are_meant() {
        for (written, read) in [
            ("warning", "warn"),
            ("INFO", "info"),
            ("info, sqlx=Warning", "info,sqlx=warn"),
            ("off", "off"),
            ("signalbox::proxy=trace", "signalbox::proxy=trace"),
        ] {
            assert_eq!(load("", &["--log-level", written]).unwrap().log_filter, read);
        }
    }

    #[test]
    fn one_client_address_gets_three_quarters_of_a_ports_connections_unless_told_otherwise() {
        let limits = |file: &str| {
            let config = load(file, &[]).unwrap();
            [config.pipe.connections, config.api.connections, config.proxy.connections]
        };
        let of_all = |all, of_origin| ConnectionLimits { all, of_origin };
        assert_eq!(limits(""), [of_all(10_000, 7_500), of_all(14_000, 10_500), of_all(20_000, 15_000)]);
        for (keys, expected) in [
            ("connections_max = 1", of_all(1, 1)),
            ("connections_max = 10", of_all(10, 8)),
            ("connections_max = 10\naddress_connections_max = 2", of_all(10, 2)),
        ] {
            let file = format!("[pipe]\n{keys}\n[api]\n{keys}\n[proxy]\n{keys}\n");
            assert_eq!(limits(&file), [expected; 3], "{keys}");
        }
        for section in ["pipe", "api", "proxy"] {
            assert!(load(&format!("[{section}]\naddress_connections_max = 0\n"), &[]).is_err(), "{section}");
        }
    }

    #[test]
    fn defaults_for_every_route_stand_in_the_file() {
        let file =
            "[defaults]\nheaders = { X-Frame-Options = \"DENY\" }\noptions = { retries = 3, compression = true }\n";
        let config = load(file, &[]).unwrap();
        assert_eq!(config.default_options.retries, 3);
        assert_eq!(config.default_headers[0].0.as_str(), "x-frame-options");
    }

    #[test]
    fn the_api_is_open_to_other_machines_only_with_a_token_or_on_purpose() {
        let open = "[api]\nlisten = \"0.0.0.0:8182\"\n";
        assert!(load(open, &[]).unwrap_err().contains("there is no operator token"));
        assert!(load(&format!("{open}insecure = true\n"), &[]).is_ok());
        assert!(load(open, &["--api-insecure"]).is_ok());
        assert!(load(open, &["--api-operator-tokens", "0123456789abcdef"]).is_ok());
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        std::fs::write(&file, "# ours\n\n0123456789abcdef\nfedcba9876543210\n").unwrap();
        assert_eq!(load(open, &["--api-operator-tokens-file", path]).unwrap().api.operator_tokens.len(), 2);
        std::fs::write(&file, "# ours\nshort\n").unwrap();
        assert!(load(open, &["--api-operator-tokens-file", path]).is_err());
    }

    #[test]
    fn the_pipe_is_open_to_other_machines_only_with_tokens_client_certificates_or_on_purpose() {
        let token = format!("[[tokens]]\nname = \"team-a\"\nsha256 = \"{}\"\n", "ab".repeat(32));
        for address in ["0.0.0.0:8181", "[::]:8181", "10.0.0.7:8181", "[::ffff:10.0.0.7]:8181"] {
            let open = format!("[pipe]\nlisten = \"{address}\"\n");
            let said = load(&open, &[]).unwrap_err();
            for way in ["loopback address", "[[tokens]]", "pipe.client_ca", "pipe.insecure = true"] {
                assert!(said.contains(way), "{said}");
            }
            let certificate = "cert = \"a.pem\"\nkey = \"a.key\"\n";
            assert!(
                load(&format!("{open}{certificate}"), &[]).is_err(),
                "a certificate alone says not who may register"
            );
            assert!(load(&format!("{open}insecure = false\n"), &[]).is_err());
            assert!(load(&format!("{open}insecure = true\n"), &[]).is_ok());
            assert!(load(&open, &["--pipe-insecure"]).is_ok());
            assert!(load(&format!("{open}{token}"), &[]).is_ok());
            assert!(load(&format!("{open}{certificate}client_ca = \"ca.pem\"\n"), &[]).is_ok());
        }
        for address in ["127.0.0.1:8181", "127.0.0.2:8181", "[::1]:8181", "[::ffff:127.0.0.1]:8181"] {
            assert!(load(&format!("[pipe]\nlisten = \"{address}\"\n"), &[]).is_ok(), "{address}");
        }
    }

    #[test]
    fn registration_tokens_stand_in_the_file_each_with_a_name_of_its_own() {
        let token =
            format!("[[tokens]]\nname = \"team-a\"\nsha256 = \"{}\"\ndomains = [\"*.a.example\"]\n", "ab".repeat(32));
        assert!(load(&token, &[]).is_ok());
        assert!(load(&format!("{token}{token}"), &[]).unwrap_err().contains("two called team-a"));
    }

    #[test]
    fn serve_is_what_no_command_does() {
        for words in [
            &["signalbox", "--proxy-workers", "3"][..],
            &["signalbox", "serve", "--proxy-workers", "3"],
            &["signalbox", "--proxy-workers", "3", "serve"],
            &["signalbox", "--api-listen", "127.0.0.1:1", "serve", "--proxy-workers", "3"],
        ] {
            assert_eq!(Cli::read(words).unwrap().load().unwrap().proxy.workers, 3);
        }
        assert!(Cli::read(["signalbox", "sevre"]).is_err());
    }
}
