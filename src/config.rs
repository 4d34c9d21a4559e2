//! The configuration: flags beat the environment, the environment beats the file, the file beats the defaults.
//!
//! One definition, three faces: each section below is at once a section of the file and a set of flags with
//! their variables. A value is parsed by its type wherever it comes from. The environment is read here alone.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de};

use crate::domain::{Error, HeaderKey, Options, Span, header_value};

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "signalbox", version, about = "A service registry and reverse proxy in one binary")]
#[command(args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the server (the same as no command)
    Serve(Box<Flags>),
}

#[derive(Debug, Default, Args)]
struct Flags {
    /// Configuration file
    #[arg(long, env = "SIGNALBOX_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    sections: Sections,
}

/// What the file may hold. Unknown keys are refused.
#[derive(Debug, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Sections {
    #[command(flatten)]
    pipe: PipeSection,
    #[command(flatten)]
    proxy: ProxySection,
    #[command(flatten)]
    store: StoreSection,
    #[command(flatten)]
    session: SessionSection,
    #[command(flatten)]
    backends: BackendsSection,
    #[command(flatten)]
    log: LogSection,
    #[arg(skip)]
    defaults: DefaultsSection,
}

macro_rules! sections {
    ($($section:ident { $($(#[$meta:meta])* $field:ident: $kind:ty),+ $(,)? })+) => { $(
        #[derive(Debug, Default, Args, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        struct $section { $($(#[$meta])* $field: Option<$kind>),+ }

        impl $section {
            /// Its values, or else those of `below`.
            fn over(self, below: Self) -> Self {
                Self { $($field: self.$field.or(below.$field)),+ }
            }
        }
    )+ };
}

sections! {
    PipeSection {
        /// Where services connect and speak the pipe protocol [default: 127.0.0.1:8181]
        #[arg(long = "pipe-listen", env = "SIGNALBOX_PIPE_LISTEN", value_name = "ADDRESS")]
        listen: Address,
        /// The longest command line [default: 1MiB]
        #[arg(long = "pipe-max-line", env = "SIGNALBOX_PIPE_MAX_LINE", value_name = "SIZE")]
        max_line: Size,
        /// The longest reply line that is not compressed [default: 64KiB]
        #[arg(long = "pipe-max-reply", env = "SIGNALBOX_PIPE_MAX_REPLY", value_name = "SIZE")]
        max_reply: Size,
        /// How long a line may take that is begun [default: 30s]
        #[arg(long = "pipe-line-timeout", env = "SIGNALBOX_PIPE_LINE_TIMEOUT", value_name = "DURATION")]
        line_timeout: Timespan,
        /// How long a connection without session may say nothing [default: 5m]
        #[arg(long = "pipe-idle-timeout", env = "SIGNALBOX_PIPE_IDLE_TIMEOUT", value_name = "DURATION")]
        idle_timeout: Timespan,
        /// Connections at once [default: 10000]
        #[arg(long = "pipe-connections-max", env = "SIGNALBOX_PIPE_CONNECTIONS_MAX", value_name = "COUNT")]
        connections_max: Count,
    }
    ProxySection {
        /// Where HTTP requests come in [default: 127.0.0.1:8080]
        #[arg(long = "proxy-http", env = "SIGNALBOX_PROXY_HTTP", value_name = "ADDRESS")]
        http: Address,
        /// Worker threads, 0 for one per core [default: 0]
        #[arg(long = "proxy-workers", env = "SIGNALBOX_PROXY_WORKERS", value_name = "COUNT")]
        workers: usize,
        /// Networks whose X-Forwarded-* and Forwarded fields are believed [default: none]
        #[arg(long = "proxy-trusted-proxies", env = "SIGNALBOX_PROXY_TRUSTED_PROXIES", value_name = "NETWORKS", value_delimiter = ',')]
        trusted_proxies: Vec<Network>,
        /// What a request gets that no route matches [default: 404]
        #[arg(long = "proxy-unmatched", env = "SIGNALBOX_PROXY_UNMATCHED", value_name = "HOW")]
        unmatched: Unmatched,
        /// Client connections at once [default: 20000]
        #[arg(long = "proxy-connections-max", env = "SIGNALBOX_PROXY_CONNECTIONS_MAX", value_name = "COUNT")]
        connections_max: Count,
    }
    StoreSection {
        /// Where sessions and configurations are kept [default: sqlite://signalbox.db]
        #[arg(long = "store-url", env = "SIGNALBOX_STORE_URL", value_name = "URL")]
        url: String,
    }
    SessionSection {
        /// How long a session lives without connection and command [default: 5m]
        #[arg(long = "session-grace", env = "SIGNALBOX_SESSION_GRACE", value_name = "DURATION")]
        grace: Timespan,
        /// How long staged changes live untouched [default: 30m]
        #[arg(long = "session-staged-ttl", env = "SIGNALBOX_SESSION_STAGED_TTL", value_name = "DURATION")]
        staged_ttl: Timespan,
        /// Sessions at once [default: 20000]
        #[arg(long = "sessions-max", env = "SIGNALBOX_SESSIONS_MAX", value_name = "COUNT")]
        sessions_max: Count,
        /// Routes of one session [default: 200000]
        #[arg(long = "session-routes-max", env = "SIGNALBOX_SESSION_ROUTES_MAX", value_name = "COUNT")]
        routes_max: Count,
    }
    BackendsSection {
        /// Networks that no backend, page or test may be in [default: 169.254.0.0/16]
        #[arg(long = "backends-deny", env = "SIGNALBOX_BACKENDS_DENY", value_name = "NETWORKS", value_delimiter = ',')]
        deny: Vec<Network>,
    }
    LogSection {
        /// How much is logged: error, warn, info, debug, or a tracing filter [default: info]
        #[arg(long = "log-level", env = "SIGNALBOX_LOG_LEVEL", value_name = "FILTER")]
        level: Filter,
        /// How it is logged [default: human on a terminal, else json]
        #[arg(long = "log-format", env = "SIGNALBOX_LOG_FORMAT", value_name = "FORMAT")]
        format: LogFormat,
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DefaultsSection {
    headers: DefaultHeaders,
    options: DefaultOptions,
}

/// What a request gets that no route matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
pub enum Unmatched {
    /// A page that says so.
    #[value(name = "404")]
    #[serde(rename = "404")]
    NotFound,
    /// Its connection is closed.
    #[serde(rename = "close")]
    Close,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For eyes.
    Human,
    /// For machines.
    Json,
}

/// All that the server is told, complete and checked.
#[derive(Debug)]
pub struct Config {
    /// The pipe door.
    pub pipe: Pipe,
    /// The proxy.
    pub proxy: Proxy,
    /// Where the store is.
    pub store_url: String,
    /// The registry's bounds.
    pub limits: crate::registry::Limits,
    /// Networks that the server never connects to for a client.
    pub deny: Vec<IpNet>,
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
    pub connections_max: usize,
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
    pub connections_max: usize,
}

impl Cli {
    /// Reads the file, if one is named, and lays flags and environment over it.
    ///
    /// # Errors
    /// When the file cannot be read, or something in it is wrong: which file, which line, what is expected.
    pub fn load(self) -> anyhow::Result<Config> {
        let flags = match self.verb {
            Some(Verb::Serve(flags)) => *flags,
            None => self.flags,
        };
        let file = match &flags.config {
            Some(path) => read(path)?,
            None => Sections::default(),
        };
        flags.sections.over(file).complete()
    }
}

fn read(path: &Path) -> anyhow::Result<Sections> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read the configuration {}", path.display()))?;
    toml::from_str(&text).map_err(|error| {
        let line =
            error.span().map_or(1, |span| text.get(..span.start).map_or(1, |before| before.matches('\n').count() + 1));
        anyhow::anyhow!("{}:{line}: {}", path.display(), error.to_string().trim_end())
    })
}

impl Sections {
    fn over(self, below: Self) -> Self {
        Self {
            pipe: self.pipe.over(below.pipe),
            proxy: self.proxy.over(below.proxy),
            store: self.store.over(below.store),
            session: self.session.over(below.session),
            backends: self.backends.over(below.backends),
            log: self.log.over(below.log),
            // The defaults stand in the file alone.
            defaults: below.defaults,
        }
    }

    fn complete(self) -> anyhow::Result<Config> {
        let limits = self.session.limits();
        let config = Config {
            pipe: self.pipe.complete(),
            proxy: self.proxy.complete(),
            store_url: self.store.url.unwrap_or_else(|| "sqlite://signalbox.db".to_owned()),
            limits,
            deny: match self.backends.deny {
                Some(deny) => networks(deny),
                None => vec!["169.254.0.0/16".parse().context("the built-in deny list")?],
            },
            default_headers: self.defaults.headers.0,
            default_options: self.defaults.options.0,
            log_filter: self.log.level.map_or_else(|| "info,sqlx=warn".to_owned(), |filter| filter.0),
            log_format: self.log.format,
        };
        if config.proxy.workers > 1024 {
            bail!("proxy.workers: {} are too many; at most 1024, 0 for one per core", config.proxy.workers);
        }
        if config.pipe.listen == config.proxy.http && config.pipe.listen.port() != 0 {
            bail!("pipe.listen and proxy.http are both {}; give each its own port", config.pipe.listen);
        }
        Ok(config)
    }
}

fn networks(list: Vec<Network>) -> Vec<IpNet> {
    list.into_iter().map(|network| network.0).collect()
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

impl PipeSection {
    fn complete(self) -> Pipe {
        Pipe {
            listen: self.listen.map_or(loopback(8181), |address| address.0),
            max_line: self.max_line.map_or(1024 * 1024, |size| size.0),
            max_reply: self.max_reply.map_or(64 * 1024, |size| size.0),
            line_timeout: self.line_timeout.map_or(Span::from_secs(30), |span| span.0),
            idle_timeout: self.idle_timeout.map_or(Span::from_secs(5 * 60), |span| span.0),
            connections_max: self.connections_max.map_or(10_000, |count| count.0),
        }
    }
}

impl ProxySection {
    fn complete(self) -> Proxy {
        Proxy {
            http: self.http.map_or(loopback(8080), |address| address.0),
            workers: self.workers.unwrap_or(0),
            trusted_proxies: networks(self.trusted_proxies.unwrap_or_default()),
            unmatched: self.unmatched.unwrap_or(Unmatched::NotFound),
            connections_max: self.connections_max.map_or(20_000, |count| count.0),
        }
    }
}

impl SessionSection {
    fn limits(&self) -> crate::registry::Limits {
        let mut limits = crate::registry::Limits::default();
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

macro_rules! values {
    ($($(#[$doc:meta])* $name:ident($inner:ty) = |$text:ident| $parse:expr;)+) => { $(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        struct $name($inner);

        impl FromStr for $name {
            type Err = String;

            fn from_str($text: &str) -> Result<Self, String> {
                $parse.map($name)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let scalar = Scalar::deserialize(from)?;
                scalar.0.parse().map_err(de::Error::custom)
            }
        }
    )+ };
}

values! {
    /// An address to listen on.
    Address(SocketAddr) = |text| text.parse().map_err(|_| {
        format!("`{text}` is not an address and a port; write 127.0.0.1:8181 or [::]:8181")
    });

    /// A duration.
    Timespan(Span) = |text| Span::parse(text).map_err(|error| error.to_string());

    /// A size in bytes.
    Size(usize) = |text| size(text);

    /// A network, or a single address.
    Network(IpNet) = |text| {
        let address = || text.parse::<std::net::IpAddr>().map(IpNet::from);
        text.parse().or_else(|_| address()).map_err(|_| {
            format!("`{text}` is not a network; write 10.0.0.0/8, fd00::/8 or an address")
        })
    };

    /// A count from 1.
    Count(usize) = |text| text.parse().ok().filter(|count| *count > 0).ok_or_else(|| {
        format!("`{text}` is not a whole number from 1")
    });

    /// What is logged.
    Filter(String) = |text| match text.parse::<tracing_subscriber::EnvFilter>() {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("`{text}` is not a log level or filter: {error}")),
    };
}

impl Copy for Timespan {}
impl Copy for Count {}

fn size(text: &str) -> Result<usize, String> {
    let mut options = Options::default();
    let wrong = || format!("`{text}` is not a size of 1KiB to 64MiB; write 65536, 64KiB or 1MiB");
    options.set("max_body_size", text).map_err(|_| wrong())?;
    usize::try_from(options.max_body_size).ok().filter(|size| (1024..=64 << 20).contains(size)).ok_or_else(wrong)
}

/// Text, a number or a truth value: in a file, `5` and `"5"` mean the same.
struct Scalar(String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(from)? {
            toml::Value::String(text) => Ok(Scalar(text)),
            toml::Value::Integer(number) => Ok(Scalar(number.to_string())),
            toml::Value::Boolean(truth) => Ok(Scalar(truth.to_string())),
            other => {
                Err(de::Error::custom(format!("expected text, a number or true or false, not {}", other.type_str())))
            }
        }
    }
}

#[derive(Debug, Default)]
struct DefaultHeaders(Vec<(HeaderKey, Arc<str>)>);

impl<'de> Deserialize<'de> for DefaultHeaders {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let texts = BTreeMap::<String, Scalar>::deserialize(from)?;
        let parsed = texts.iter().map(|(name, value)| Ok((HeaderKey::parse(name)?, header_value(&value.0)?)));
        parsed.collect::<Result<_, Error>>().map(DefaultHeaders).map_err(de::Error::custom)
    }
}

#[derive(Debug, Default)]
struct DefaultOptions(Options);

impl<'de> Deserialize<'de> for DefaultOptions {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let texts = BTreeMap::<String, Scalar>::deserialize(from)?;
        let mut options = Options::default();
        for (key, value) in &texts {
            match options.set(key, &value.0) {
                Ok(true) => {}
                Ok(false) => return Err(de::Error::custom(format!("there is no option `{key}`"))),
                Err(error) => return Err(de::Error::custom(error.within(key))),
            }
        }
        Ok(DefaultOptions(options))
    }
}
