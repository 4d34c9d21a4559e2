//! All keys of the configuration. Each section is a section of the file and a set of flags with environment variables.
//!
//! Each default is written only here, beside its key. The help text, the values of keys that are not given, and the
//! test of the README use it. A key marked `[restart]` keeps its value until the next start; a reload changes all others.

use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;

use super::config_key::ConfigKey;
use super::key_change::KeyChange;
use super::values::{
    AccessFile, AccessForm, Address, CollectorField, CollectorProtocol, CollectorUrl, Contact, Count, CountOrNone,
    EabKey, Filter, Flag, HttpsUrl, LogForm, MemorySize, Network, OperatorToken, Origin, PublicPort, ResourceAttribute,
    Share, Size, UnmatchedHow, Workers, list,
};
use super::written::Written;

macro_rules! first {
    () => {
        None
    };
    ($text:literal) => {
        Some($text)
    };
}

macro_rules! is_restart {
    () => {
        false
    };
    (restart) => {
        true
    };
}

macro_rules! sections {
    ($($section:ident $name:literal $(with $nested:ident: $within:ty)? {
        $(
            $(#[$meta:meta])*
            $flag:literal $field:ident: $kind:ty $(= $default:literal)? $(| $words:literal)? $([$restart:ident])?
        ),+ $(,)?
    })+) => {
        $(
            #[derive(Clone, Debug, Default, PartialEq, Args, Deserialize)]
            #[serde(deny_unknown_fields, default)]
            pub(super) struct $section {
                $($(#[$meta])* #[arg(id = $flag, long = $flag)] pub(super) $field: Option<$kind>,)+
                $(#[command(flatten)] pub(super) $nested: Option<$within>,)?
            }

            impl $section {
                /// Returns its own values, and those of `below` for keys that are not set.
                pub(super) fn over(self, below: Self) -> Self {
                    Self {
                        $($field: self.$field.or(below.$field),)+
                        $($nested: match (self.$nested, below.$nested) {
                            (Some(own), Some(below)) => Some(own.over(below)),
                            (own, below) => own.or(below),
                        },)?
                    }
                }

                /// Takes the keys that only a restart changes from the configuration that runs.
                pub(super) fn keep_fixed(&mut self, running: &Self) {
                    let _ = running;
                    $(if is_restart!($($restart)?) {
                        self.$field.clone_from(&running.$field);
                    })+
                    $(if let (Some(own), Some(running)) = (&mut self.$nested, &running.$nested) {
                        own.keep_fixed(running);
                    })?
                }

                /// Adds the keys that have another value in `next`.
                pub(super) fn add_changes(&self, next: &Self, changes: &mut Vec<KeyChange>) {
                    $(if self.$field != next.$field {
                        let key = concat!($name, ".", stringify!($field));
                        changes.push(KeyChange { key, needs_restart: is_restart!($($restart)?) });
                    })+
                    $(match (&self.$nested, &next.$nested) {
                        (Some(own), Some(next)) => own.add_changes(next, changes),
                        (None, None) => {}
                        // The section turns something on by being there.
                        _ => changes.push(KeyChange {
                            key: concat!($name, ".", stringify!($nested)),
                            needs_restart: false,
                        }),
                    })?
                }
            }
        )+

        /// The keys that have a flag, in the order of the file.
        pub(super) const KEYS: &[ConfigKey] = &[$($(ConfigKey {
            section: $name,
            field: stringify!($field),
            needs_restart: is_restart!($($restart)?),
            flag: $flag,
            default: first!($($default)?),
            default_in_words: first!($($words)?),
        }),+),+];
    };
}

sections! {
    PipeSection "pipe" {
        /// The address of the pipe protocol
        #[arg(env = "SIGNALBOX_PIPE_LISTEN", value_name = "ADDRESS")]
        "pipe-listen" listen: Address<8181> = "127.0.0.1:8181" [restart],
        /// Start without registration tokens and client certificates on an address that other machines reach
        #[arg(env = "SIGNALBOX_PIPE_INSECURE", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
        "pipe-insecure" insecure: Flag = "false",
        /// The longest command line
        #[arg(env = "SIGNALBOX_PIPE_MAX_LINE", value_name = "SIZE")]
        "pipe-max-line" max_line: Size = "1MiB",
        /// The longest reply line that is not compressed
        #[arg(env = "SIGNALBOX_PIPE_MAX_REPLY", value_name = "SIZE")]
        "pipe-max-reply" max_reply: Size = "64KiB",
        /// The time for a line that has begun
        #[arg(env = "SIGNALBOX_PIPE_LINE_TIMEOUT", value_name = "DURATION")]
        "pipe-line-timeout" line_timeout: Written = "30s",
        /// The time that a connection without session may stay silent
        #[arg(env = "SIGNALBOX_PIPE_IDLE_TIMEOUT", value_name = "DURATION")]
        "pipe-idle-timeout" idle_timeout: Written = "5m",
        /// Connections at once
        #[arg(env = "SIGNALBOX_PIPE_CONNECTIONS_MAX", value_name = "COUNT")]
        "pipe-connections-max" connections_max: Count = "10000",
        /// Those of one client address, or IPv6 network of 64 bits; trusted proxies are not counted
        #[arg(env = "SIGNALBOX_PIPE_ADDRESS_CONNECTIONS_MAX", value_name = "COUNT")]
        "pipe-address-connections-max" address_connections_max: Count | "three quarters of `connections_max`",
        /// The door's certificate and those it was signed with, as PEM; TLS is spoken then
        #[arg(env = "SIGNALBOX_PIPE_CERT", value_name = "FILE")]
        "pipe-cert" cert: PathBuf | "none",
        /// The certificate's private key, as PEM
        #[arg(env = "SIGNALBOX_PIPE_KEY", value_name = "FILE")]
        "pipe-key" key: PathBuf,
        /// Clients need a certificate of one of the authorities in this file, as PEM
        #[arg(env = "SIGNALBOX_PIPE_CLIENT_CA", value_name = "FILE")]
        "pipe-client-ca" client_ca: PathBuf | "they need none",
    }
    ApiSection "api" {
        /// The address of gRPC and REST
        #[arg(env = "SIGNALBOX_API_LISTEN", value_name = "ADDRESS")]
        "api-listen" listen: Address<8182> = "127.0.0.1:8182" [restart],
        /// The bearer tokens of operators, separated by commas
        #[arg(env = "SIGNALBOX_API_OPERATOR_TOKENS", value_name = "TOKENS", value_delimiter = ',', hide_env_values = true)]
        #[serde(deserialize_with = "list")]
        "api-operator-tokens" operator_tokens: Vec<OperatorToken> | "none, they are answered on loopback only",
        /// A file of further operator tokens, one a line
        #[arg(env = "SIGNALBOX_API_OPERATOR_TOKENS_FILE", value_name = "FILE")]
        "api-operator-tokens-file" operator_tokens_file: PathBuf,
        /// Start without operator tokens on an address that other machines reach
        #[arg(env = "SIGNALBOX_API_INSECURE", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
        "api-insecure" insecure: Flag = "false",
        /// Further hosts under which the API may be asked while neither TLS nor registration tokens protect it, such as signalbox.internal
        #[arg(env = "SIGNALBOX_API_HOSTS", value_name = "HOSTS", value_delimiter = ',')]
        #[serde(deserialize_with = "list")]
        "api-hosts" hosts: Vec<Written> | "localhost and addresses only",
        /// The domain under which the proxy serves the dashboard and the calls of operators; operator tokens are needed
        #[arg(env = "SIGNALBOX_API_PUBLISH", value_name = "DOMAIN")]
        "api-publish" publish: Written | "none, the proxy serves neither" [restart],
        /// The largest request body or message
        #[arg(env = "SIGNALBOX_API_MAX_BODY", value_name = "SIZE")]
        "api-max-body" max_body: Size = "1MiB",
        /// Connections at once
        #[arg(env = "SIGNALBOX_API_CONNECTIONS_MAX", value_name = "COUNT")]
        "api-connections-max" connections_max: Count = "14000",
        /// Those of one client address, or IPv6 network of 64 bits; trusted proxies are not counted
        #[arg(env = "SIGNALBOX_API_ADDRESS_CONNECTIONS_MAX", value_name = "COUNT")]
        "api-address-connections-max" address_connections_max: Count | "three quarters of `connections_max`",
        /// Streams of events at once
        #[arg(env = "SIGNALBOX_API_STREAMS_MAX", value_name = "COUNT")]
        "api-streams-max" streams_max: Count = "10000",
        /// Origins whose pages may call the API from a browser
        #[arg(env = "SIGNALBOX_API_CORS", value_name = "ORIGINS", value_delimiter = ',')]
        #[serde(deserialize_with = "list")]
        "api-cors" cors: Vec<Origin> | "none",
        /// The door's certificate and those it was signed with, as PEM; TLS is spoken then
        #[arg(env = "SIGNALBOX_API_CERT", value_name = "FILE")]
        "api-cert" cert: PathBuf | "none",
        /// The certificate's private key, as PEM
        #[arg(env = "SIGNALBOX_API_KEY", value_name = "FILE")]
        "api-key" key: PathBuf,
        /// Clients need a certificate of one of the authorities in this file, as PEM
        #[arg(env = "SIGNALBOX_API_CLIENT_CA", value_name = "FILE")]
        "api-client-ca" client_ca: PathBuf | "they need none",
    }
    ProxySection "proxy" {
        /// The address of the HTTP proxy
        #[arg(env = "SIGNALBOX_PROXY_HTTP", value_name = "ADDRESS")]
        "proxy-http" http: Address<8080> = "127.0.0.1:8080" [restart],
        /// The address of HTTPS
        #[arg(env = "SIGNALBOX_PROXY_HTTPS", value_name = "ADDRESS")]
        "proxy-https" https: Address<8443> | "none, TLS is not spoken" [restart],
        /// HTTP/3 is spoken on the UDP port of `https` and announced to clients over TLS
        #[arg(env = "SIGNALBOX_PROXY_HTTP3", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
        "proxy-http3" http3: Flag = "false" [restart],
        /// The port of HTTPS that clients use, for redirects and for the announcement of HTTP/3
        #[arg(env = "SIGNALBOX_PROXY_HTTPS_PORT", value_name = "PORT")]
        "proxy-https-port" https_port: PublicPort | "that of `https`" [restart],
        /// Requests over http are redirected to https, for routes that do not say otherwise
        #[arg(env = "SIGNALBOX_PROXY_HTTPS_REDIRECT", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
        "proxy-https-redirect" https_redirect: Flag = "false",
        /// Strict-Transport-Security on responses over https, for routes that do not say otherwise: off, on or a value
        #[arg(env = "SIGNALBOX_PROXY_HSTS", value_name = "VALUE")]
        "proxy-hsts" hsts: Written = "off",
        /// A name of the certificate for clients that ask for no name or an unknown one
        #[arg(env = "SIGNALBOX_PROXY_TLS_DEFAULT", value_name = "NAME")]
        "proxy-tls-default" tls_default: Written | "none, they are refused",
        /// Worker threads, 0 for one per core
        #[arg(env = "SIGNALBOX_PROXY_WORKERS", value_name = "COUNT")]
        "proxy-workers" workers: Workers = "0" [restart],
        /// Networks whose X-Forwarded-* and Forwarded fields are believed
        #[arg(env = "SIGNALBOX_PROXY_TRUSTED_PROXIES", value_name = "NETWORKS", value_delimiter = ',')]
        #[serde(deserialize_with = "list")]
        "proxy-trusted-proxies" trusted_proxies: Vec<Network> | "none",
        /// Networks of load balancers that begin each connection with a PROXY header, which tells the client's address
        #[arg(env = "SIGNALBOX_PROXY_PROXY_PROTOCOL", value_name = "NETWORKS", value_delimiter = ',')]
        #[serde(deserialize_with = "list")]
        "proxy-proxy-protocol" proxy_protocol: Vec<Network> | "none",
        /// The answer to a request that no route matches: 404 or close
        #[arg(env = "SIGNALBOX_PROXY_UNMATCHED", value_name = "HOW")]
        "proxy-unmatched" unmatched: UnmatchedHow = "404",
        /// Tell clients in Proxy-Status why a backend failed their request, with its address
        #[arg(env = "SIGNALBOX_PROXY_ERROR_DETAILS", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
        "proxy-error-details" error_details: Flag = "false",
        /// Client connections at once
        #[arg(env = "SIGNALBOX_PROXY_CONNECTIONS_MAX", value_name = "COUNT")]
        "proxy-connections-max" connections_max: Count = "20000",
        /// Those of one client address, or IPv6 network of 64 bits; trusted proxies are not counted
        #[arg(env = "SIGNALBOX_PROXY_ADDRESS_CONNECTIONS_MAX", value_name = "COUNT")]
        "proxy-address-connections-max" address_connections_max: Count | "three quarters of `connections_max`",
        /// The time over which event streams and tunnels are asked to end when the server stops, on all ports
        #[arg(env = "SIGNALBOX_PROXY_DRAIN", value_name = "DURATION")]
        "proxy-drain" drain: Written = "10s",
    }
    StoreSection "store" {
        /// The database of sessions and configurations
        #[arg(env = "SIGNALBOX_STORE_URL", value_name = "URL")]
        "store-url" url: String = "sqlite://signalbox.db" [restart],
        /// The time to wait for the database while another server has it; the proxy's ports are then shared with that one
        #[arg(env = "SIGNALBOX_STORE_WAIT", value_name = "DURATION")]
        "store-wait" wait: Written | "the start is refused" [restart],
    }
    SessionSection "session" {
        /// The time that a session lives without connection and command
        #[arg(env = "SIGNALBOX_SESSION_GRACE", value_name = "DURATION")]
        "session-grace" grace: Written = "5m",
        /// The longest lease that a session may ask for: a duration, permanent for any, or none
        #[arg(env = "SIGNALBOX_SESSION_LEASE_MAX", value_name = "LEASE")]
        "session-lease-max" lease_max: Written = "permanent",
        /// The folder whose files `*.toml` have further services; a file stands for itself
        #[arg(env = "SIGNALBOX_SERVICES_DIR", value_name = "FOLDER")]
        "services-dir" services_dir: PathBuf | "`conf.d` beside the file, if it is there",
        /// The time that staged changes live untouched
        #[arg(env = "SIGNALBOX_SESSION_STAGED_TTL", value_name = "DURATION")]
        "session-staged-ttl" staged_ttl: Written = "30m",
        /// Sessions at once
        #[arg(env = "SIGNALBOX_SESSIONS_MAX", value_name = "COUNT")]
        "sessions-max" sessions_max: Count = "20000",
        /// Routes of one session
        #[arg(env = "SIGNALBOX_SESSION_ROUTES_MAX", value_name = "COUNT")]
        "session-routes-max" routes_max: Count = "200000",
    }
    LimitsSection "limits" {
        /// Sessions of one client address, of IPv6 of one /64; 0 for no such limit
        #[arg(env = "SIGNALBOX_LIMITS_SESSIONS_PER_ADDRESS", value_name = "COUNT")]
        "limits-sessions-per-address" sessions_per_address: CountOrNone | "a quarter of all, no limit behind trusted proxies",
        /// Memory for what peers send unfinished and leave unread
        #[arg(env = "SIGNALBOX_LIMITS_MEMORY", value_name = "SIZE")]
        "limits-memory" memory: MemorySize | "a quarter of the machine's or control group's, at most 2GiB",
    }
    BackendsSection "backends" {
        /// Networks that no backend, page or test may be in
        #[arg(env = "SIGNALBOX_BACKENDS_DENY", value_name = "NETWORKS", value_delimiter = ',')]
        #[serde(deserialize_with = "list")]
        "backends-deny" deny: Vec<Network> = "169.254.0.0/16,fe80::/10,fd00:ec2::254,0.0.0.0/8,::",
        /// Certificates of further authorities that backends' certificates may be of, as PEM
        #[arg(env = "SIGNALBOX_BACKENDS_CA", value_name = "FILE")]
        "backends-ca" ca: PathBuf | "only the system's",
    }
    AcmeSection "acme" {
        /// The directory of the certificate authority, a URL with https
        #[arg(env = "SIGNALBOX_ACME_DIRECTORY", value_name = "URL")]
        "acme-directory" directory: HttpsUrl | "none, no certificates are obtained",
        /// The domains that may get certificates; *.shop.example means each domain of a route one label below, and the wildcard itself
        #[arg(env = "SIGNALBOX_ACME_DOMAINS", value_name = "DOMAINS", value_delimiter = ',')]
        #[serde(deserialize_with = "list")]
        "acme-domains" domains: Vec<Written>,
        /// True if you accept the terms of the certificate authority
        #[arg(env = "SIGNALBOX_ACME_TERMS_ACCEPTED", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
        "acme-terms-accepted" terms_accepted: Flag = "false",
        /// Mail addresses that the authority may write to
        #[arg(env = "SIGNALBOX_ACME_CONTACT", value_name = "ADDRESSES", value_delimiter = ',')]
        #[serde(deserialize_with = "list")]
        "acme-contact" contact: Vec<Contact> | "none",
        /// The key identifier of an account at the authority, if it asks for one
        #[arg(env = "SIGNALBOX_ACME_EAB_KID", value_name = "ID")]
        "acme-eab-kid" eab_kid: String | "none",
        /// The key of that account, as base64
        #[arg(env = "SIGNALBOX_ACME_EAB_KEY", value_name = "KEY", hide_env_values = true)]
        "acme-eab-key" eab_key: EabKey,
        /// Certificates of further authorities that the directory's own certificate may be of, as PEM
        #[arg(env = "SIGNALBOX_ACME_CA", value_name = "FILE")]
        "acme-ca" ca: PathBuf | "only the system's",
        /// A program that sets a TXT record: it gets the record's name and value. Wildcards need it, or an authority with dns-persist-01
        #[arg(env = "SIGNALBOX_ACME_DNS_HOOK", value_name = "PROGRAM")]
        "acme-dns-hook" dns_hook: PathBuf | "none",
    }
    LogSection "log" with access: AccessSection {
        /// The least level that is logged: off, error, warn, info, debug or trace; or levels of parts of the program, such as `info,signalbox::proxy=debug`
        #[arg(env = "SIGNALBOX_LOG_LEVEL", value_name = "FILTER")]
        "log-level" level: Filter = "info,sqlx=warn",
        /// The form of the log: human or json
        #[arg(env = "SIGNALBOX_LOG_FORMAT", value_name = "FORMAT")]
        "log-format" format: LogForm | "human on a terminal, else json" [restart],
        /// The parameters of queries whose values are shown as ***; * stands for all
        #[arg(env = "SIGNALBOX_LOG_MASK_QUERY", value_name = "NAMES", value_delimiter = ',')]
        #[serde(deserialize_with = "list")]
        "log-mask-query" mask_query: Vec<Written> = "access_token,api_key,apikey,client_secret,code,id_token,key,password,refresh_token,secret,sig,signature,token",
    }
    TelemetrySection "telemetry" {
        /// The URL of a collector of OpenTelemetry, which gets spans of requests; its usual variables count too
        #[arg(env = "SIGNALBOX_TELEMETRY_OTLP_ENDPOINT", value_name = "URL")]
        "telemetry-otlp-endpoint" otlp_endpoint: CollectorUrl | "none, nothing is sent" [restart],
        /// Send spans of requests to the collector
        #[arg(env = "SIGNALBOX_TELEMETRY_TRACES", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
        "telemetry-traces" traces: Flag = "true" [restart],
        /// Send the lines of the log to the collector
        #[arg(env = "SIGNALBOX_TELEMETRY_LOGS", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
        "telemetry-logs" logs: Flag = "false" [restart],
        /// Send the metrics to the collector
        #[arg(env = "SIGNALBOX_TELEMETRY_METRICS", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
        "telemetry-metrics" metrics: Flag = "false" [restart],
        /// The time between two messages with metrics
        #[arg(env = "SIGNALBOX_TELEMETRY_METRICS_INTERVAL", value_name = "DURATION")]
        "telemetry-metrics-interval" metrics_interval: Written = "60s" [restart],
        /// The protocol to the collector: grpc or http/protobuf
        #[arg(env = "SIGNALBOX_TELEMETRY_OTLP_PROTOCOL", value_name = "PROTOCOL")]
        "telemetry-otlp-protocol" otlp_protocol: CollectorProtocol = "grpc" [restart],
        /// Fields of each message to the collector, as NAME=VALUE
        #[arg(env = "SIGNALBOX_TELEMETRY_OTLP_HEADERS", value_name = "FIELDS", value_delimiter = ',', hide_env_values = true)]
        #[serde(deserialize_with = "list")]
        "telemetry-otlp-headers" otlp_headers: Vec<CollectorField> | "none" [restart],
        /// The longest time for one message to the collector
        #[arg(env = "SIGNALBOX_TELEMETRY_OTLP_TIMEOUT", value_name = "DURATION")]
        "telemetry-otlp-timeout" otlp_timeout: Written = "10s" [restart],
        /// The share of the requests that get spans, from 0 to 1, where no trusted proxy decides it
        #[arg(env = "SIGNALBOX_TELEMETRY_SAMPLING_RATIO", value_name = "SHARE")]
        "telemetry-sampling-ratio" sampling_ratio: Share = "0.01" [restart],
        /// The name of the service in spans
        #[arg(env = "SIGNALBOX_TELEMETRY_SERVICE_NAME", value_name = "NAME")]
        "telemetry-service-name" service_name: String = "signalbox" [restart],
        /// Further attributes of the resource in spans, as NAME=VALUE
        #[arg(env = "SIGNALBOX_TELEMETRY_RESOURCE", value_name = "ATTRIBUTES", value_delimiter = ',')]
        #[serde(deserialize_with = "list")]
        "telemetry-resource" resource: Vec<ResourceAttribute> | "none" [restart],
    }
    AccessSection "log.access" {
        /// The form of a line of the access log: json or combined
        #[arg(env = "SIGNALBOX_LOG_ACCESS_FORMAT", value_name = "FORMAT")]
        "log-access-format" format: AccessForm = "json",
        /// The place of the access log: stdout, stderr or the path of a file. Without it and log.access.format there is no access log
        #[arg(env = "SIGNALBOX_LOG_ACCESS_FILE", value_name = "PLACE")]
        "log-access-file" file: AccessFile = "stdout",
    }
    AuditSection "audit" {
        /// The time that records of changes are kept
        #[arg(env = "SIGNALBOX_AUDIT_KEEP", value_name = "DURATION")]
        "audit-keep" keep: Written = "90d",
        /// Records of changes that are kept
        #[arg(env = "SIGNALBOX_AUDIT_RECORDS_MAX", value_name = "COUNT")]
        "audit-records-max" records_max: Count = "100000",
    }
}
