//! What can be configured: each section is at once a section of the file and a set of flags with their variables.
//!
//! Nothing here has a default; what is not given is `None`.

use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;

use super::values::{
    Address, ApiHost, Count, CountOrNone, DefaultHeaders, DefaultOptions, Domain, Filter, Flag, LogForm, MemorySize,
    Network, OperatorToken, Origin, Prefix, ServiceRule, Sha256, Size, Timespan, TokenLabel, UnmatchedHow, Workers,
    list,
};

/// What the file may hold. Unknown keys are refused.
#[derive(Debug, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Sections {
    #[command(flatten)]
    pub(super) pipe: PipeSection,
    #[command(flatten)]
    pub(super) api: ApiSection,
    #[command(flatten)]
    pub(super) proxy: ProxySection,
    #[command(flatten)]
    pub(super) store: StoreSection,
    #[command(flatten)]
    pub(super) session: SessionSection,
    #[command(flatten)]
    pub(super) limits: LimitsSection,
    #[command(flatten)]
    pub(super) backends: BackendsSection,
    #[command(flatten)]
    pub(super) log: LogSection,
    #[arg(skip)]
    pub(super) defaults: DefaultsSection,
    #[arg(skip)]
    pub(super) tokens: Vec<TokenSection>,
}

macro_rules! sections {
    ($($section:ident { $($(#[$meta:meta])* $field:ident: $kind:ty),+ $(,)? })+) => { $(
        #[derive(Debug, Default, Args, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(super) struct $section { $($(#[$meta])* pub(super) $field: Option<$kind>),+ }

        impl $section {
            /// Its values, or else those of `below`.
            pub(super) fn over(self, below: Self) -> Self {
                Self { $($field: self.$field.or(below.$field)),+ }
            }
        }
    )+ };
}

sections! {
    PipeSection {
        /// Where services connect and speak the pipe protocol [default: 127.0.0.1:8181]
        #[arg(id = "pipe-listen", long = "pipe-listen", env = "SIGNALBOX_PIPE_LISTEN", value_name = "ADDRESS")]
        listen: Address<8181>,
        /// Start without registration tokens and client certificates on an address that other machines reach [default: false]
        #[arg(id = "pipe-insecure", long = "pipe-insecure", env = "SIGNALBOX_PIPE_INSECURE", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
        insecure: Flag,
        /// The longest command line [default: 1MiB]
        #[arg(id = "pipe-max-line", long = "pipe-max-line", env = "SIGNALBOX_PIPE_MAX_LINE", value_name = "SIZE")]
        max_line: Size,
        /// The longest reply line that is not compressed [default: 64KiB]
        #[arg(id = "pipe-max-reply", long = "pipe-max-reply", env = "SIGNALBOX_PIPE_MAX_REPLY", value_name = "SIZE")]
        max_reply: Size,
        /// The time that a line may take that is begun [default: 30s]
        #[arg(id = "pipe-line-timeout", long = "pipe-line-timeout", env = "SIGNALBOX_PIPE_LINE_TIMEOUT", value_name = "DURATION")]
        line_timeout: Timespan,
        /// The time that a connection without session may say nothing [default: 5m]
        #[arg(id = "pipe-idle-timeout", long = "pipe-idle-timeout", env = "SIGNALBOX_PIPE_IDLE_TIMEOUT", value_name = "DURATION")]
        idle_timeout: Timespan,
        /// Connections at once [default: 10000]
        #[arg(id = "pipe-connections-max", long = "pipe-connections-max", env = "SIGNALBOX_PIPE_CONNECTIONS_MAX", value_name = "COUNT")]
        connections_max: Count,
        /// Those of one client address, or IPv6 network of 64 bits; trusted proxies are not counted [default: three quarters of `connections_max`]
        #[arg(id = "pipe-address-connections-max", long = "pipe-address-connections-max", env = "SIGNALBOX_PIPE_ADDRESS_CONNECTIONS_MAX", value_name = "COUNT")]
        address_connections_max: Count,
        /// The door's certificate and those it was signed with, as PEM; TLS is spoken then [default: none]
        #[arg(id = "pipe-cert", long = "pipe-cert", env = "SIGNALBOX_PIPE_CERT", value_name = "FILE")]
        cert: PathBuf,
        /// The certificate's private key, as PEM
        #[arg(id = "pipe-key", long = "pipe-key", env = "SIGNALBOX_PIPE_KEY", value_name = "FILE")]
        key: PathBuf,
        /// Clients need a certificate of one of the authorities in this file, as PEM [default: they need none]
        #[arg(id = "pipe-client-ca", long = "pipe-client-ca", env = "SIGNALBOX_PIPE_CLIENT_CA", value_name = "FILE")]
        client_ca: PathBuf,
    }
    ApiSection {
        /// Where gRPC and REST are spoken [default: 127.0.0.1:8182]
        #[arg(id = "api-listen", long = "api-listen", env = "SIGNALBOX_API_LISTEN", value_name = "ADDRESS")]
        listen: Address<8182>,
        /// What operators show as bearer, several separated by commas [default: none, they are answered on loopback only]
        #[arg(id = "api-operator-tokens", long = "api-operator-tokens", env = "SIGNALBOX_API_OPERATOR_TOKENS", value_name = "TOKENS", value_delimiter = ',', hide_env_values = true)]
        #[serde(deserialize_with = "list")]
        operator_tokens: Vec<OperatorToken>,
        /// A file of further operator tokens, one a line
        #[arg(id = "api-operator-tokens-file", long = "api-operator-tokens-file", env = "SIGNALBOX_API_OPERATOR_TOKENS_FILE", value_name = "FILE")]
        operator_tokens_file: PathBuf,
        /// Start without operator tokens on an address that other machines reach [default: false]
        #[arg(id = "api-insecure", long = "api-insecure", env = "SIGNALBOX_API_INSECURE", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
        insecure: Flag,
        /// Further hosts under which the API may be asked while neither TLS nor registration tokens protect it, such as signalbox.internal [default: localhost and addresses only]
        #[arg(id = "api-hosts", long = "api-hosts", env = "SIGNALBOX_API_HOSTS", value_name = "HOSTS", value_delimiter = ',')]
        #[serde(deserialize_with = "list")]
        hosts: Vec<ApiHost>,
        /// The largest request body or message [default: 1MiB]
        #[arg(id = "api-max-body", long = "api-max-body", env = "SIGNALBOX_API_MAX_BODY", value_name = "SIZE")]
        max_body: Size,
        /// Connections at once [default: 14000]
        #[arg(id = "api-connections-max", long = "api-connections-max", env = "SIGNALBOX_API_CONNECTIONS_MAX", value_name = "COUNT")]
        connections_max: Count,
        /// Those of one client address, or IPv6 network of 64 bits; trusted proxies are not counted [default: three quarters of `connections_max`]
        #[arg(id = "api-address-connections-max", long = "api-address-connections-max", env = "SIGNALBOX_API_ADDRESS_CONNECTIONS_MAX", value_name = "COUNT")]
        address_connections_max: Count,
        /// Streams of events at once [default: 10000]
        #[arg(id = "api-streams-max", long = "api-streams-max", env = "SIGNALBOX_API_STREAMS_MAX", value_name = "COUNT")]
        streams_max: Count,
        /// Origins whose pages may call the API from a browser [default: none]
        #[arg(id = "api-cors", long = "api-cors", env = "SIGNALBOX_API_CORS", value_name = "ORIGINS", value_delimiter = ',')]
        #[serde(deserialize_with = "list")]
        cors: Vec<Origin>,
        /// The door's certificate and those it was signed with, as PEM; TLS is spoken then [default: none]
        #[arg(id = "api-cert", long = "api-cert", env = "SIGNALBOX_API_CERT", value_name = "FILE")]
        cert: PathBuf,
        /// The certificate's private key, as PEM
        #[arg(id = "api-key", long = "api-key", env = "SIGNALBOX_API_KEY", value_name = "FILE")]
        key: PathBuf,
        /// Clients need a certificate of one of the authorities in this file, as PEM [default: they need none]
        #[arg(id = "api-client-ca", long = "api-client-ca", env = "SIGNALBOX_API_CLIENT_CA", value_name = "FILE")]
        client_ca: PathBuf,
    }
    ProxySection {
        /// Where HTTP requests come in [default: 127.0.0.1:8080]
        #[arg(id = "proxy-http", long = "proxy-http", env = "SIGNALBOX_PROXY_HTTP", value_name = "ADDRESS")]
        http: Address<8080>,
        /// Worker threads, 0 for one per core [default: 0]
        #[arg(id = "proxy-workers", long = "proxy-workers", env = "SIGNALBOX_PROXY_WORKERS", value_name = "COUNT")]
        workers: Workers,
        /// Networks whose X-Forwarded-* and Forwarded fields are believed [default: none]
        #[arg(id = "proxy-trusted-proxies", long = "proxy-trusted-proxies", env = "SIGNALBOX_PROXY_TRUSTED_PROXIES", value_name = "NETWORKS", value_delimiter = ',')]
        #[serde(deserialize_with = "list")]
        trusted_proxies: Vec<Network>,
        /// The answer to a request that no route matches: 404 or close [default: 404]
        #[arg(id = "proxy-unmatched", long = "proxy-unmatched", env = "SIGNALBOX_PROXY_UNMATCHED", value_name = "HOW")]
        unmatched: UnmatchedHow,
        /// Client connections at once [default: 20000]
        #[arg(id = "proxy-connections-max", long = "proxy-connections-max", env = "SIGNALBOX_PROXY_CONNECTIONS_MAX", value_name = "COUNT")]
        connections_max: Count,
        /// Those of one client address, or IPv6 network of 64 bits; trusted proxies are not counted [default: three quarters of `connections_max`]
        #[arg(id = "proxy-address-connections-max", long = "proxy-address-connections-max", env = "SIGNALBOX_PROXY_ADDRESS_CONNECTIONS_MAX", value_name = "COUNT")]
        address_connections_max: Count,
    }
    StoreSection {
        /// Where sessions and configurations are kept [default: `sqlite://signalbox.db`]
        #[arg(id = "store-url", long = "store-url", env = "SIGNALBOX_STORE_URL", value_name = "URL")]
        url: String,
    }
    SessionSection {
        /// The time that a session lives without connection and command [default: 5m]
        #[arg(id = "session-grace", long = "session-grace", env = "SIGNALBOX_SESSION_GRACE", value_name = "DURATION")]
        grace: Timespan,
        /// The time that staged changes live untouched [default: 30m]
        #[arg(id = "session-staged-ttl", long = "session-staged-ttl", env = "SIGNALBOX_SESSION_STAGED_TTL", value_name = "DURATION")]
        staged_ttl: Timespan,
        /// Sessions at once [default: 20000]
        #[arg(id = "sessions-max", long = "sessions-max", env = "SIGNALBOX_SESSIONS_MAX", value_name = "COUNT")]
        sessions_max: Count,
        /// Routes of one session [default: 200000]
        #[arg(id = "session-routes-max", long = "session-routes-max", env = "SIGNALBOX_SESSION_ROUTES_MAX", value_name = "COUNT")]
        routes_max: Count,
    }
    LimitsSection {
        /// Sessions of one client address, of IPv6 of one /64; 0 for no such limit [default: a quarter of all, no limit behind trusted proxies]
        #[arg(id = "limits-sessions-per-address", long = "limits-sessions-per-address", env = "SIGNALBOX_LIMITS_SESSIONS_PER_ADDRESS", value_name = "COUNT")]
        sessions_per_address: CountOrNone,
        /// Memory for what peers send unfinished and leave unread [default: a quarter of the machine's or control group's, at most 2GiB]
        #[arg(id = "limits-memory", long = "limits-memory", env = "SIGNALBOX_LIMITS_MEMORY", value_name = "SIZE")]
        memory: MemorySize,
    }
    BackendsSection {
        /// Networks that no backend, page or test may be in [default: `169.254.0.0/16,fe80::/10,fd00:ec2::254,0.0.0.0/8,::`]
        #[arg(id = "backends-deny", long = "backends-deny", env = "SIGNALBOX_BACKENDS_DENY", value_name = "NETWORKS", value_delimiter = ',')]
        #[serde(deserialize_with = "list")]
        deny: Vec<Network>,
        /// Certificates of further authorities that backends' certificates may be of, as PEM [default: only the system's]
        #[arg(id = "backends-ca", long = "backends-ca", env = "SIGNALBOX_BACKENDS_CA", value_name = "FILE")]
        ca: PathBuf,
    }
    LogSection {
        /// The least level that is logged: off, error, warn, info, debug or trace; or levels of parts of the program, such as `info,signalbox::proxy=debug` [default: `info,sqlx=warn`]
        #[arg(id = "log-level", long = "log-level", env = "SIGNALBOX_LOG_LEVEL", value_name = "FILTER")]
        level: Filter,
        /// The form of the log: human or json [default: human on a terminal, else json]
        #[arg(id = "log-format", long = "log-format", env = "SIGNALBOX_LOG_FORMAT", value_name = "FORMAT")]
        format: LogForm,
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DefaultsSection {
    pub(super) headers: DefaultHeaders,
    pub(super) options: DefaultOptions,
}

/// A registration token.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenSection {
    pub(super) name: TokenLabel,
    pub(super) sha256: Sha256,
    #[serde(default)]
    pub(super) services: Vec<ServiceRule>,
    #[serde(default)]
    pub(super) domains: Vec<Domain>,
    #[serde(default)]
    pub(super) path_prefixes: Vec<Prefix>,
    #[serde(default)]
    pub(super) backends: Vec<Network>,
    pub(super) max_routes: Option<Count>,
    pub(super) max_sessions: Option<Count>,
}

/// The answer to a request that no route matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmatched {
    /// A page that says so.
    NotFound,
    /// Its connection is closed.
    Close,
}

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For eyes.
    Human,
    /// For machines.
    Json,
}
