//! The configuration with its texts read as the values of the parts: durations, domains, options, tokens.
//!
//! Invariant: a [`CheckedConfig`] holds no text that a part would refuse.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{anyhow, bail};

use super::services_file;
use crate::config::{Hidden, ServerConfig, TokenConfig, Written};
use crate::domain::{
    Error, Fingerprint, HeaderKey, Host, LeaseBound, OperatorName, Options, PathPrefix, RegistrationToken, Secret,
    ServiceName, Span, TokenName, header_value,
};
use crate::operator_auth::NamedToken;

/// The configuration with the values that its texts mean.
#[derive(Debug)]
pub(super) struct CheckedConfig {
    /// The values that need no other part.
    pub(super) plain: ServerConfig,
    pub(super) line_timeout: Span,
    pub(super) idle_timeout: Span,
    pub(super) grace: Span,
    pub(super) lease_max: LeaseBound,
    pub(super) staged_ttl: Span,
    pub(super) drain: Span,
    pub(super) store_wait: Option<Span>,
    /// The longest time for a message to the collector.
    pub(super) otlp_timeout: Span,
    pub(super) operator_tokens: Vec<NamedToken>,
    pub(super) audit_keep: Span,
    /// The time between two messages with metrics.
    pub(super) metrics_interval: Span,
    pub(super) api_hosts: Vec<Host>,
    /// The domain under which the proxy serves the dashboard.
    pub(super) published: Option<Host>,
    pub(super) tokens: Vec<RegistrationToken>,
    /// The name of the certificate for clients that ask for no name or an unknown one.
    pub(super) tls_default: Option<Host>,
    /// The domains of each of `plain.certificates`, in the same order.
    pub(super) certificate_domains: Vec<Vec<Host>>,
    pub(super) acme_domains: Vec<Host>,
    pub(super) default_headers: Vec<(HeaderKey, Arc<str>)>,
    pub(super) default_options: Options,
}

impl CheckedConfig {
    /// Reads the texts of a configuration.
    ///
    /// # Errors
    /// A text that does not have the form of its part, with the place where it was given.
    pub(super) fn new(plain: ServerConfig) -> anyhow::Result<Self> {
        let span = |key: &str, written: &Written| plain.value(key, written, Span::parse);
        let acme_domains = plain.acme.as_ref().map_or(&[][..], |acme| &acme.domains);
        check_services(&plain)?;
        let of_certificate = |domains: &[Written]| plain.values("tls.domains", domains, certified_domain);
        Ok(Self {
            line_timeout: span("pipe.line_timeout", &plain.pipe.line_timeout)?,
            idle_timeout: span("pipe.idle_timeout", &plain.pipe.idle_timeout)?,
            grace: span("session.grace", &plain.sessions.grace)?,
            lease_max: plain.value("session.lease_max", &plain.sessions.lease_max, lease_max)?,
            staged_ttl: span("session.staged_ttl", &plain.sessions.staged_ttl)?,
            drain: span("proxy.drain", &plain.proxy.drain)?,
            otlp_timeout: span("telemetry.otlp_timeout", &plain.telemetry.timeout)?,
            metrics_interval: span("telemetry.metrics_interval", &plain.telemetry.metrics_interval)?,
            store_wait: plain.store_wait.as_ref().map(|wait| span("store.wait", wait)).transpose()?,
            operator_tokens: operator_tokens(&plain)?,
            audit_keep: plain.value("audit.keep", &plain.audit.keep, days)?,
            api_hosts: plain.values("api.hosts", &plain.api.hosts, api_host)?,
            published: plain
                .api
                .publish
                .as_ref()
                .map(|name| plain.value("api.publish", name, published_domain))
                .transpose()?,
            tokens: tokens(&plain)?,
            tls_default: plain
                .proxy
                .tls_default
                .as_ref()
                .map(|name| plain.value("proxy.tls_default", name, certified_domain))
                .transpose()?,
            certificate_domains: plain
                .certificates
                .iter()
                .map(|own| of_certificate(&own.domains))
                .collect::<Result<_, _>>()?,
            acme_domains: plain.values("acme.domains", acme_domains, certified_domain)?,
            default_headers: default_headers(&plain)?,
            default_options: default_options(&plain)?,
            plain,
        })
    }
}

fn lease_max(text: &str) -> Result<LeaseBound, String> {
    LeaseBound::parse(text).map_err(|error| error.message().to_owned())
}

/// Refuses a configuration whose own services have a fault. The files of a folder stand for themselves.
fn check_services(plain: &ServerConfig) -> anyhow::Result<()> {
    let Some((path, text)) = plain.file() else { return Ok(()) };
    services_file::read_among_others(text).map(drop).map_err(|fault| anyhow!("{}:{fault}", path.display()))
}

/// Reads a number of days, such as `90d`, or another duration.
fn days(text: &str) -> Result<Span, String> {
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok());
    match days {
        Some(days) if (1..=DAYS_MAX).contains(&days) => Ok(Span::from_secs(days * 24 * 60 * 60)),
        Some(_) => Err(format!("`{text}` is not 1d to {DAYS_MAX}d")),
        None => Span::parse(text).map_err(|_| format!("`{text}` is not a time; write 90d, 36h or 30m")),
    }
}

/// The longest time in days.
const DAYS_MAX: u64 = 3660;

/// Returns the tokens of operators with their names. Those without a name have one in common.
fn operator_tokens(plain: &ServerConfig) -> anyhow::Result<Vec<NamedToken>> {
    let mut tokens: Vec<NamedToken> = Vec::new();
    for operator in &plain.operators {
        let name = plain.value("operators.name", &operator.name, operator_name)?;
        if tokens.iter().any(|other| other.name == name) {
            bail!("operators: two are called {name}; give each its own name");
        }
        tokens.push(NamedToken { name, secret: Secret::new(operator.token.reveal()) });
    }
    let unnamed =
        |token: &Hidden<String>| NamedToken { name: OperatorName::unnamed(), secret: Secret::new(token.reveal()) };
    tokens.extend(plain.api.operator_tokens.iter().map(unnamed));
    for (at, token) in tokens.iter().enumerate() {
        let twin = tokens.iter().skip(at + 1).find(|other| other.secret == token.secret && other.name != token.name);
        if let Some(twin) = twin {
            bail!("operators: {} and {} have the same token; give each its own", token.name, twin.name);
        }
    }
    Ok(tokens)
}

fn operator_name(text: &str) -> Result<OperatorName, String> {
    let name = OperatorName::parse(text).map_err(|error| error.message().to_owned())?;
    if [OperatorName::unnamed(), OperatorName::loopback()].contains(&name) {
        return Err(format!("`{name}` stands for operators without a name; write another"));
    }
    Ok(name)
}

fn api_host(text: &str) -> Result<Host, String> {
    Host::parse(text).ok().filter(|host| *host != Host::Any).ok_or_else(|| {
        format!("`{text}` is not a host; write signalbox.internal, *.internal or an address, without port or scheme")
    })
}

fn published_domain(text: &str) -> Result<Host, String> {
    Host::parse(text)
        .ok()
        .filter(|host| matches!(host, Host::Exact(_)))
        .ok_or_else(|| format!("`{text}` is not one domain; write admin.example, without port, path or scheme"))
}

/// Reads a domain that may get a certificate, or `*.` followed by one.
pub(super) fn certified_domain(text: &str) -> Result<Host, String> {
    let host = Host::parse(text).map_err(|error| error.to_string())?;
    let is_name = match &host {
        Host::Exact(name) => !name.starts_with('[') && name.parse::<std::net::IpAddr>().is_err(),
        Host::Below(_) => true,
        Host::Any => false,
    };
    let wrong = || {
        format!("`{text}` gets no certificate; write shop.example, or *.shop.example for each domain of a route below")
    };
    is_name.then_some(host).ok_or_else(wrong)
}

fn tokens(plain: &ServerConfig) -> anyhow::Result<Vec<RegistrationToken>> {
    let read = |token: &TokenConfig| {
        anyhow::Ok(RegistrationToken {
            name: plain.value("tokens.name", &token.name, TokenName::parse)?,
            secret: plain.value("tokens.sha256", &token.sha256, str::parse::<Fingerprint>)?,
            // A rule is a name, or the beginning of names followed by `*`, which a name may hold.
            services: plain
                .values("tokens.services", &token.services, |text| ServiceName::parse(text).map(|_| text.to_owned()))?,
            domains: plain.values("tokens.domains", &token.domains, Host::parse)?,
            path_prefixes: plain.values("tokens.path_prefixes", &token.path_prefixes, PathPrefix::parse)?,
            backends: token.backends.clone(),
            max_routes: token.max_routes,
            max_sessions: token.max_sessions,
            lease_max: token
                .lease_max
                .as_ref()
                .map(|most| plain.value("tokens.lease_max", most, lease_max))
                .transpose()?
                .unwrap_or_default(),
        })
    };
    let tokens: Vec<_> = plain.tokens.iter().map(read).collect::<Result<_, _>>()?;
    let mut names = BTreeSet::new();
    for token in &tokens {
        if !names.insert(token.name.as_str()) {
            bail!("tokens: there are two called {}; give each its own name", token.name);
        }
    }
    Ok(tokens)
}

fn default_headers(plain: &ServerConfig) -> anyhow::Result<Vec<(HeaderKey, Arc<str>)>> {
    let read = |(name, value): (&String, &Written)| {
        plain.value("defaults.headers", value, |text| Ok::<_, Error>((HeaderKey::parse(name)?, header_value(text)?)))
    };
    plain.default_headers.iter().map(read).collect()
}

/// Returns the options of routes that do not say otherwise: those of `[defaults]`, and those of `[proxy]`.
fn default_options(plain: &ServerConfig) -> anyhow::Result<Options> {
    let mut options = Options::default();
    for (key, value) in &plain.default_options {
        let set = |text: &str| match options.set(key, text) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Options::unknown(key)),
            Err(error) => Err(error.of(key).to_string()),
        };
        plain.value("defaults.options", value, set)?;
    }
    let proxy = &plain.proxy;
    options.https_redirect |= proxy.https_redirect;
    let mut of_proxy = Options::default();
    plain.value("proxy.hsts", &proxy.hsts, |text| of_proxy.set("hsts", text).map_err(|error| error.of("hsts")))?;
    options.hsts = options.hsts.or(of_proxy.hsts);
    if options.https_redirect && proxy.https_port.is_none() {
        bail!("https_redirect needs proxy.https, or proxy.https_port if another program speaks https for this one");
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Cli;

    fn load(file: &str, flags: &[&str]) -> Result<CheckedConfig, String> {
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&path, file).unwrap();
        let config = path.path().to_str().unwrap();
        let given = ["signalbox", "--config", config].into_iter().chain(flags.iter().copied());
        let plain = Cli::read(given).unwrap().load().map_err(|error| error.to_string())?;
        CheckedConfig::new(plain).map_err(|error| error.to_string())
    }

    #[test]
    fn a_text_that_a_part_refuses_is_named_with_its_line_or_flag_and_the_expected_form() {
        let acme = "[proxy]\nhttps = 8443\n[acme]\ndirectory = \"https://ca.example/dir\"\nterms_accepted = true\n";
        let token = format!("[[tokens]]\nname = \"a\"\nsha256 = \"{}\"\n", "ab".repeat(32));
        let ann = "[[operators]]\nname = \"ann\"\ntoken = \"0123456789abcdef\"\n";
        let wrong = [
            ("[session]\ngrace = \"soon\"\n", ":2:", "500ms, 30s, 1m30s or 2h"),
            ("[audit]\nkeep = \"soon\"\n", ":2:", "write 90d, 36h or 30m"),
            ("[audit]\nkeep = \"0d\"\n", ":2:", "is not 1d to 3660d"),
            (&ann.replace("ann", "loopback"), ":2:", "write another"),
            (&format!("{ann}{ann}"), "operators", "two are called ann"),
            (&format!("{ann}{}", ann.replace("ann", "bob")), "operators", "ann and bob have the same token"),
            ("[defaults.options]\ntimeout = \"0s\"\n", ":", "timeout: `0s` is zero"),
            ("[defaults.options]\ntiemout = 1\n", ":", "there is no option `tiemout`; did you mean timeout?"),
            ("[defaults.headers]\nconnection = \"x\"\n", ":", "belongs to the connection"),
            ("[defaults.headers]\n\"X Frame\" = \"x\"\n", ":", "may not hold a space; for example X-Frame-Options"),
            (
                "[proxy]\nhttps = 1\n[[tls]]\ncert = \"a\"\nkey = \"b\"\ndomains = [\"*\"]\n",
                ":6:",
                "write shop.example, or *.shop.example",
            ),
            ("[proxy]\ntls_default = \"*\"\n", ":2:", "write shop.example, or *.shop.example"),
            ("[proxy]\nhsts = \"1y\"\n", ":2:", "must be on, off, or a value such as max-age=63072000"),
            ("[defaults.options]\nhsts = \"1y\"\n", ":", "hsts: must be on, off"),
            ("[api]\nhosts = [\"*\"]\n", ":2:", "`*` is not a host"),
            ("[api]\nhosts = [\"a.example:8182\"]\n", ":2:", "without port or scheme"),
            ("[[tokens]]\nname = \"a\"\nsha256 = \"12\"\n", ":3:", "64 hexadecimal digits"),
            (&format!("{acme}domains = [\"*\"]\n"), ":6:12:", "gets no certificate"),
            (&format!("{acme}domains = [\"a.example\", \"10.0.0.7\"]\n"), ":6:25:", "gets no certificate"),
            (&format!("{token}domains = [\"a b\"]\n"), ":4:12:", "domain"),
            (&format!("{token}path_prefixes = [\"a\"]\n"), ":4:18:", "path"),
            (&format!("{token}services = [\"a b\"]\n"), ":4:13:", "service"),
            (&format!("{token}{token}"), "tokens", "two called a"),
            ("[proxy]\nhttps_redirect = true\n", "https_redirect", "needs proxy.https"),
        ];
        for (file, place, expected) in wrong {
            let said = load(file, &[]).unwrap_err();
            assert!(said.contains(place) && said.contains(expected), "{file}\n{said}");
        }
        for (flag, value) in [
            ("--session-grace", "soon"),
            ("--session-staged-ttl", "0s"),
            ("--pipe-line-timeout", "9000h"),
            ("--pipe-idle-timeout", "x"),
            ("--proxy-hsts", "1y"),
            ("--proxy-tls-default", "*"),
            ("--api-hosts", "a.example,*"),
        ] {
            let said = load("", &[flag, value]).unwrap_err();
            assert!(said.starts_with(&format!("{flag}: ")), "{said}");
        }
    }

    #[test]
    fn texts_become_the_values_of_the_parts() {
        let token =
            format!("[[tokens]]\nname = \"team-a\"\nsha256 = \"{}\"\ndomains = [\"*.a.example\"]\n", "ab".repeat(32));
        let file = "[defaults]\nheaders = { X-Frame-Options = \"DENY\" }\noptions = { retries = 3, compression = true }\n\
                    [proxy]\nhttps = \"127.0.0.1:8443\"\nhttps_redirect = true\nhsts = \"on\"\n[session]\ngrace = 90\n";
        let config = load(&format!("{file}{token}"), &["--session-staged-ttl", "2m"]).unwrap();
        assert_eq!((config.grace, config.staged_ttl), (Span::from_secs(90), Span::from_secs(120)));
        assert_eq!(config.default_headers[0].0.as_str(), "x-frame-options");
        let options = &config.default_options;
        assert_eq!((options.retries, options.compression, options.https_redirect), (3, true, true));
        assert_eq!(options.hsts.as_ref().unwrap().as_bytes(), b"max-age=31536000");
        assert_eq!((config.tokens.len(), config.tokens[0].domains.len()), (1, 1));
    }

    #[test]
    fn operators_have_the_names_that_they_are_given_and_share_one_otherwise() {
        let file = "[api]\noperator_tokens = [\"0000000000000000\"]\n[audit]\nkeep = \"2d\"\n[[operators]]\n\
                    name = \"ann\"\ntoken = \"0123456789abcdef\"\n";
        let config = load(file, &[]).unwrap();
        let names: Vec<&str> = config.operator_tokens.iter().map(|token| token.name.as_str()).collect();
        assert_eq!(names, ["ann", "operator"]);
        assert_eq!(
            (config.audit_keep, load("", &[]).unwrap().audit_keep),
            (days("48h").unwrap(), days("90d").unwrap())
        );
    }

    #[test]
    fn an_option_of_the_defaults_overrides_that_of_the_proxy() {
        let file = "[proxy]\nhsts = \"on\"\n[defaults]\noptions = { hsts = \"max-age=1\" }\n";
        let options = load(file, &[]).unwrap().default_options;
        assert_eq!(options.hsts.as_ref().unwrap().as_bytes(), b"max-age=1");
    }
}
