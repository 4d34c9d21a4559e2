//! Tests of the configuration in the form that users write: its values, and the messages for errors.
use std::fs;

use clap::CommandFactory as _;

use super::config_key::ConfigKey;
use super::*;

fn load(file: &str, flags: &[&str]) -> Result<ServerConfig, String> {
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
    assert_eq!(config.sessions.grace.text(), "10s");
    assert_eq!(config.sessions.staged_ttl.text(), "2m");
    assert_eq!(config.proxy.unmatched, Unmatched::Close);
}

#[test]
fn a_number_with_a_fraction_means_what_its_text_means() {
    for ratio in ["0.01", "1e-2", "\"0.01\""] {
        let config = load(&format!("[telemetry]\nsampling_ratio = {ratio}\n"), &[]).unwrap();
        assert_eq!(config.telemetry.sampling.ratio.to_bits(), 0.01_f64.to_bits(), "{ratio}");
    }
    let config = load("[defaults]\nheaders = { X-Share = 0.5 }\n", &[]).unwrap();
    assert_eq!(config.default_headers["X-Share"].text(), "0.5");
}

#[test]
fn a_wrong_value_is_named_with_its_line_and_the_expected_form() {
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
        ("[telemetry]\notlp_endpoint = \"http://[::x\"\n", ":2:", "`http://[::x` is not a URL"),
        ("[telemetry]\notlp_endpoint = \"http://127.0.0.1:9 9\"\n", ":2:", "write http://127.0.0.1:4317"),
        ("[telemetry]\notlp_headers = [\"b d=1\"]\n", ":2:", "letters, digits and -"),
        ("[telemetry]\notlp_headers = [\"a=b\\nc\"]\n", ":2:", "the value of the field a holds a control character"),
        ("[telemetry]\nresource = [\"a\"]\n", ":2:", "`a` has no name and value"),
        ("[telemetry]\nsampling_ratio = 1.5\n", ":2:", "`1.5` is not a share"),
        ("[proxy]\nworkers = 2.0\n", ":2:", "`2.0` is not a whole number"),
        ("[proxy]\nworkers = 1.5\n", ":2:", "`1.5` is not a whole number"),
        ("[proxy]\nworkers = 99999999999999999999\n", ":2:", "the largest is 9223372036854775807"),
        ("[limits]\nsessions_per_address = -1\n", ":2:", "0 means no limit"),
        ("[pipe]\nconnections_max = 0\n", ":2:", "a whole number from 1 to 1000000000"),
        ("[pipe]\nconnections_max = 9223372036854775807\n", ":2:", "a whole number from 1 to 1000000000"),
        ("[pipe]\n\nlitsen = \"127.0.0.1:1\"\n", ":3:1:", "there is no `litsen` here; did you mean `listen`?"),
        ("[prxy]\n", ":1:", "did you mean `proxy`?"),
        ("pipe = 3\n", ":1:", "`pipe` is a section; write [pipe]"),
        ("[tokens]\nname = \"a\"\n", ":1:", "write [[tokens]]"),
        ("[pipe]\ncert = 3\n", ":2:", "cert = \"3\""),
        ("[proxy]\nunmatched = \"x\"\n", ":2:", "write \"404\" or \"close\""),
        ("[log]\nformat = \"x\"\n", ":2:", "write \"human\" or \"json\""),
        ("[proxy]\ntrusted_proxies = [\"x\"]\n", ":2:", "write 10.0.0.0/8"),
        ("[tls]\ncert = \"a\"\n", ":1:", "write [[tls]]"),
        ("[[tls]]\ncert = \"a\"\n", ":1:", "`key` is missing here"),
        ("[proxy]\nhttps = \"nowhere\"\n", ":2:9:", "write 127.0.0.1:8443"),
        ("[proxy]\nhttps_port = 0\n", ":2:", "a whole number from 1 to 65535"),
        ("[pipe\n", ":1:", "unclosed table"),
        ("[api]\noperator_tokens = [\"short\"]\n", ":2:", "at least 16 visible ASCII characters"),
        ("[api]\ncors = [\"*\"]\n", ":2:", "is not an origin"),
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
fn http_3_needs_the_port_of_https_and_a_program_that_speaks_it() {
    let said = load("[proxy]\nhttp3 = true\n", &[]).unwrap_err();
    assert!(said.contains("proxy.http3 is true and proxy.https is not set; write https = \"0.0.0.0:443\""), "{said}");
    let both = load("[proxy]\nhttps = \"127.0.0.1:8443\"\nhttp3 = true\n", &[]);
    match both {
        Ok(config) => assert!(config.proxy.http3 && cfg!(feature = "http3")),
        Err(said) => assert!(said.contains("was built without HTTP/3") && !cfg!(feature = "http3"), "{said}"),
    }
}

#[test]
fn certificates_and_redirects_need_the_port_of_https() {
    let tls = "[[tls]]\ncert = \"a\"\nkey = \"b\"\n";
    let said = load(tls, &[]).unwrap_err();
    assert!(said.contains("add https = \"0.0.0.0:443\" to [proxy]"), "{said}");
    let https = "[proxy]\nhttps = \"127.0.0.1:8443\"\nhttps_redirect = true\nhsts = \"on\"\n";
    let config = load(&format!("{https}{tls}"), &[]).unwrap();
    assert_eq!((config.certificates.len(), config.proxy.https_port), (1, Some(8443)));
    assert_eq!((config.proxy.https_redirect, config.proxy.hsts.text()), (true, "on"));
    assert_eq!(load(&format!("{https}https_port = 443\n"), &[]).unwrap().proxy.https_port, Some(443));
    let said = load("[proxy]\nhttps = \"127.0.0.1:8080\"\n", &[]).unwrap_err();
    assert!(said.contains("proxy.http and proxy.https are both 127.0.0.1:8080"), "{said}");
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
    let of_all = |all, of_address| ConnectionsConfig { all, of_address };
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
        assert!(load(&format!("{open}{certificate}"), &[]).is_err(), "a certificate alone says not who may register");
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
fn certificates_are_obtained_only_with_a_directory_domains_and_accepted_terms() {
    let whole = "[proxy]\nhttps = 8443\n[acme]\ndirectory = \"https://ca.example/dir\"\ndomains = [\"shop.example\", \"*.shop.example\"]\nterms_accepted = true\n";
    let acme = load(&format!("{whole}contact = [\"a@shop.example\", \"mailto:b@shop.example\"]\n"), &[])
        .unwrap()
        .acme
        .unwrap();
    assert_eq!(acme.contact, ["mailto:a@shop.example", "mailto:b@shop.example"]);
    assert_eq!(acme.domains.len(), 2);
    assert!(load("[acme]\nterms_accepted = true\n", &[]).unwrap().acme.is_none());
    let keyed = |key: &str| load(&format!("{whole}eab_kid = \"me\"\neab_key = \"{key}\"\n"), &[]);
    for key in ["_-_-", "/+/+", "_w==", "_w"] {
        let (kid, bytes) = keyed(key).unwrap().acme.unwrap().external_account.unwrap();
        assert!(kid == "me" && bytes.reveal()[0] == 0xff, "{key}");
    }
    let said = keyed("not!a!key").unwrap_err();
    assert!(said.contains("it is not base64") && !said.contains("not!a!key"), "{said}");
    for (left_out, said) in [
        ("directory = \"https://ca.example/dir\"\n", "acme.directory is not"),
        ("domains = [\"shop.example\", \"*.shop.example\"]\n", "acme.domains is not"),
        ("terms_accepted = true\n", "if you accept them, set terms_accepted = true"),
        ("https = 8443\n", "[acme] is for proxy.https"),
    ] {
        let why = load(&whole.replace(left_out, ""), &[]).unwrap_err();
        assert!(why.contains(said), "{why}");
    }
    for (line, said) in
        [("eab_kid = \"me\"", "set both or none"), ("contact = [\"nobody\"]", "write admin@shop.example")]
    {
        let why = load(&format!("{whole}{line}\n"), &[]).unwrap_err();
        assert!(why.contains(said), "{why}");
    }
    let why = load("[acme]\ndirectory = \"http://ca.example/dir\"\n", &[]).unwrap_err();
    assert!(why.contains(":2:") && why.contains("is not a URL with https"), "{why}");
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

/// Returns the lines of a section in the example file of the README.
fn example(readme: &str, section: &str) -> String {
    let file = readme.split("```toml").find(|part| part.contains("[backends]")).unwrap().split("```").next().unwrap();
    let from = file.split(&format!("\n[{section}]\n")).nth(1).unwrap_or_else(|| panic!("no section [{section}]"));
    from.split("\n[").next().unwrap().to_owned()
}

#[test]
fn the_readme_shows_every_key_with_its_default() {
    let readme = fs::read_to_string("README.md").unwrap();
    for ConfigKey { section, field, default, .. } in KEYS {
        let lines = example(&readme, section);
        let named = |line: &&str| {
            let words = line.trim_start_matches("# ").split(['=', '#']).next().unwrap_or_default();
            words.split(',').any(|word| word.trim() == *field)
        };
        let line = lines.lines().find(named).unwrap_or_else(|| panic!("the README has no {section}.{field}"));
        let Some(default) = default else { continue };
        let value: toml::Table = line.parse().unwrap_or_else(|error| panic!("{line}: {error}"));
        let shown = match &value[*field] {
            toml::Value::Array(items) => items.iter().map(|item| item.as_str().unwrap()).collect::<Vec<_>>().join(","),
            toml::Value::String(text) => text.clone(),
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Boolean(truth) => truth.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(shown, *default, "{section}.{field} in the README");
    }
}

#[test]
fn every_key_has_a_flag_and_a_variable_and_the_help_shows_its_default() {
    let help = Cli::with_defaults(Cli::command()).render_long_help().to_string();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let command = Cli::command();
    for key in KEYS {
        let flag = command.get_arguments().find(|flag| flag.get_long() == Some(key.flag)).expect(key.flag);
        let variable = flag.get_env().and_then(|name| name.to_str()).expect(key.flag);
        assert_eq!(variable, format!("SIGNALBOX_{}", key.flag.replace('-', "_").to_uppercase()));
        let default = key.default.or(key.default_in_words).map(|text| format!("[default: {text}]"));
        assert!(default.is_none_or(|text| help.contains(&text)), "{}", key.flag);
    }
    let flags = command.get_arguments().filter(|flag| flag.get_env().is_some()).count();
    assert_eq!(flags, KEYS.len() + 1, "all flags beside --config come from the table");
}
