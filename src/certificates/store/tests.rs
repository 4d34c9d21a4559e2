//! Certificates in memory, and handshakes with them without sockets.

use std::path::Path;

use rcgen::{CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::Acceptor;
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, HandshakeKind, SignatureScheme};

use super::*;
use crate::certificates::{CertificateFiles, ClientAuthorities};
use crate::domain::Time;

/// A certificate for `names` that ends with the year before `end`, and its key as PEM.
fn pem(names: &[&str], end: i32) -> (String, String) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(end, 1, 1));
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn served(names: &[&str], end: i32) -> ServedCertificate {
    let (chain, key) = pem(names, end);
    ServedCertificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap()
}

fn host(text: &str) -> Host {
    Host::parse(text).unwrap()
}

/// The names of the chosen certificate.
fn chosen(certificates: &Certificates, name: Option<&str>) -> Option<String> {
    let set = certificates.current();
    let entry = set.choose(name)?;
    Some(entry.certificate.names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
}

#[test]
fn an_exact_name_comes_before_a_wildcard_which_is_one_label() {
    let certificates = Certificates::new();
    let all = vec![served(&["*.shop.example"], 2040), served(&["a.shop.example", "shop.example"], 2030)];
    certificates.set_configured(all, None);
    for (name, expected) in [
        (Some("a.shop.example"), Some("a.shop.example shop.example")),
        (Some("shop.example"), Some("a.shop.example shop.example")),
        (Some("b.shop.example"), Some("*.shop.example")),
        (Some("b.a.shop.example"), None),
        (Some("other.example"), None),
        (Some("example"), None),
        (None, None),
    ] {
        assert_eq!(chosen(&certificates, name).as_deref(), expected, "{name:?}");
    }
}

#[test]
fn of_two_for_one_name_the_longer_lasting_is_served_and_then_the_first() {
    let (certificates, names) = (Certificates::new(), ["a.example"]);
    let serial = |certificates: &Certificates| {
        certificates.current().choose(Some("a.example")).unwrap().certificate.facts.serial.clone()
    };
    let all = [served(&names, 2030), served(&names, 2032), served(&names, 2032), served(&names, 2031)];
    certificates.set_configured(all.to_vec(), None);
    assert_eq!(serial(&certificates), all[1].facts.serial);
    // An obtained one comes after those of the configuration, unless it lasts longer.
    certificates.set_obtained([(host("a.example"), served(&names, 2032))]);
    assert_eq!(serial(&certificates), all[1].facts.serial);
    let newest = served(&names, 2033);
    certificates.set_obtained([(host("a.example"), newest.clone())]);
    assert_eq!(serial(&certificates), newest.facts.serial);
    certificates.set_configured(Vec::new(), None);
    assert_eq!(serial(&certificates), newest.facts.serial, "obtained ones stay");
    certificates.remove_obtained(&host("a.example"));
    assert!(certificates.current().choose(Some("a.example")).is_none());
}

#[test]
fn the_default_is_for_clients_without_a_known_name() {
    let certificates = Certificates::new();
    let all = || vec![served(&["a.example"], 2030), served(&["*.b.example"], 2030)];
    for (default, expected) in
        [("a.example", "a.example"), ("*.b.example", "*.b.example"), ("x.b.example", "*.b.example")]
    {
        certificates.set_configured(all(), Some(&host(default)));
        assert_eq!(chosen(&certificates, None).as_deref(), Some(expected));
        assert_eq!(chosen(&certificates, Some("other.example")).as_deref(), Some(expected));
        assert_eq!(chosen(&certificates, Some("a.example")).as_deref(), Some("a.example"));
    }
}

#[test]
fn a_certificate_tells_its_names_dates_serial_and_issuer() {
    let facts = served(&["Shop.Example", "*.shop.example", "xn--bcher-kva.example", "10.0.0.7", "::1"], 2031).facts;
    let names: Vec<String> = facts.names.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["shop.example", "*.shop.example", "xn--bcher-kva.example", "10.0.0.7", "[::1]"]);
    assert_eq!(facts.not_before.to_string(), "2020-01-01T00:00:00.000Z");
    assert_eq!(facts.not_after.to_string(), "2031-01-01T00:00:00.000Z");
    assert!(facts.serial.len() > 8 && facts.issuer.contains("rcgen"), "{facts:?}");
}

#[test]
fn a_certificate_without_alternative_names_has_its_common_name() {
    let key = KeyPair::generate().unwrap();
    let of = |params: CertificateParams| {
        let pem = params.self_signed(&key).unwrap().pem();
        ServedCertificate::from_pem(pem.as_bytes(), key.serialize_pem().as_bytes()).unwrap().names
    };
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, "Common.Example");
    assert_eq!(of(params.clone()), [host("common.example")]);
    params.distinguished_name.push(rcgen::DnType::CommonName, "A person of no domain");
    assert_eq!(of(params), []);
}

#[test]
fn certificates_that_are_out_of_date_or_served_for_foreign_names_are_told() {
    let served = served(&["a.example", "*.b.example"], 2021);
    let at = |year: u64| Time((year - 1970) * 365_250 * 24 * 3600);
    assert_eq!(served.date_warning(at(2019)), Some("the certificate is not valid yet"));
    assert_eq!(served.date_warning(Time(1_600_000_000_000)), None);
    assert_eq!(served.date_warning(at(2023)), Some("the certificate has expired"));
    let domains = ["a.example", "x.b.example", "*.b.example", "c.example", "*.a.example", "y.x.b.example"].map(host);
    let foreign = ServedCertificate { names: domains.to_vec(), ..served };
    let foreign: Vec<String> = foreign.foreign_names().map(ToString::to_string).collect();
    assert_eq!(foreign, ["c.example", "*.a.example", "y.x.b.example"]);
}

#[test]
fn files_that_cannot_be_used_say_which_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (chain, key) = pem(&["a.example"], 2030);
    let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let nameless = CertificateParams::default().self_signed(&KeyPair::from_pem(&key).unwrap()).unwrap().pem();
    for (chain, key, expected) in [
        ("", &*key, "tls.cert: PATH/cert holds no certificate"),
        ("-----BEGIN CERTIFICATE-----\n!!\n", &key, "tls.cert: PATH/cert holds a certificate that is no PEM"),
        ("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n", &key, "tls.cert: PATH/cert cannot be used"),
        (&chain, "", "tls.key: PATH/key holds no private key"),
        (&chain, &chain, "tls.key: PATH/key holds no private key"),
        (&chain, encrypted, "tls.key: PATH/key holds an encrypted private key; it must not be encrypted"),
        (&chain, &pem(&["a.example"], 2030).1, "tls.key: PATH/key is not the key of the certificate in PATH/cert"),
        (&chain, &ed25519, "tls.key: PATH/key is not the key of the certificate in PATH/cert"),
        (&nameless, &key, "tls.cert: PATH/cert names no domain; add a line domains = [\"shop.example\"]"),
    ] {
        let (cert, key) = (file("cert", chain), file("key", key));
        let files = CertificateFiles { section: "tls", cert, key, client_ca: None };
        let error = ServedCertificate::load_named(&files, &[]).unwrap_err().to_string();
        let error = error.replace(&folder.path().display().to_string(), "PATH");
        assert!(error.starts_with(expected), "{error}");
    }
    let absent = Path::new("/nowhere/cert").to_owned();
    let files = CertificateFiles { section: "tls", cert: file("cert", &chain), key: absent.clone(), client_ca: None };
    let error = ServedCertificate::load(&files, &[]).unwrap_err().to_string();
    assert!(error.starts_with("tls.key: /nowhere/cert cannot be read: "), "{error}");
    let key = file("key", &key);
    let files = CertificateFiles { section: "tls", cert: file("cert", &chain), key, client_ca: Some(absent) };
    let error = ServedCertificate::load(&files, &[]).unwrap_err().to_string();
    assert!(error.starts_with("tls.client_ca: /nowhere/cert cannot be read: "), "{error}");
}

#[test]
fn a_chain_that_holds_the_first_certificate_twice_holds_it_once() {
    let ((chain, key), (other, _)) = (pem(&["a.example"], 2030), pem(&["b.example"], 2030));
    let twice = [&*chain, &chain, &other, &chain].concat();
    let served = ServedCertificate::from_pem(twice.as_bytes(), key.as_bytes()).unwrap();
    assert_eq!(served.key.cert.len(), 2);
}

/// Takes every certificate.
#[derive(Debug)]
struct Trusting;

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_tls12_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// The settings of a client with the certificate and key of `own`.
fn client(own: Option<(CertificateDer<'static>, KeyPair)>) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Trusting));
    let Some((cert, key)) = own else { return builder.with_no_client_auth() };
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    builder.with_client_auth_cert(vec![cert], key).unwrap()
}

/// Does a handshake in memory. Returns its kind and the certificate that the client saw.
fn shake(
    certificates: &Certificates,
    client: &Arc<ClientConfig>,
    name: &str,
) -> Option<(HandshakeKind, CertificateDer<'static>)> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
    let mut acceptor = Acceptor::default();
    let mut sent = Vec::new();
    client.write_tls(&mut sent).unwrap();
    acceptor.read_tls(&mut &*sent).unwrap();
    let accepted = acceptor.accept().ok()??;
    let config = match certificates.select(&accepted.client_hello()) {
        Selection::Serve(identity) => Arc::clone(&identity.group().http1),
        Selection::Challenge(config) => config,
        Selection::Unknown => return None,
    };
    let mut server = accepted.into_connection(config).ok()?;
    for _ in 0..4 {
        let mut bytes = Vec::new();
        server.write_tls(&mut bytes).unwrap();
        client.read_tls(&mut &*bytes).unwrap();
        client.process_new_packets().ok()?;
        bytes.clear();
        client.write_tls(&mut bytes).unwrap();
        server.read_tls(&mut &*bytes).unwrap();
        server.process_new_packets().ok()?;
    }
    let cert = client.peer_certificates()?.first()?.clone().into_owned();
    (!server.is_handshaking()).then_some((server.handshake_kind()?, cert))
}

#[test]
fn sessions_go_on_resuming_after_the_certificate_was_replaced() {
    let (certificates, client) = (Certificates::new(), Arc::new(client(None)));
    certificates.set_configured(vec![served(&["a.example"], 2030)], None);
    let (kind, first) = shake(&certificates, &client, "a.example").unwrap();
    assert_eq!(kind, HandshakeKind::Full);
    let replacement = served(&["a.example"], 2031);
    certificates.set_configured(vec![replacement.clone()], None);
    assert_eq!(shake(&certificates, &client, "a.example").unwrap().0, HandshakeKind::Resumed);
    let another = Arc::new(self::client(None));
    let (kind, second) = shake(&certificates, &another, "a.example").unwrap();
    assert_eq!((kind, &second), (HandshakeKind::Full, &replacement.key.cert[0]));
    assert_ne!(first, second);
}

#[test]
fn a_challenge_is_served_only_to_a_client_that_asks_for_nothing_else() {
    let certificates = Certificates::new();
    certificates.set_configured(vec![served(&["a.example"], 2030)], None);
    let challenge = served(&["a.example"], 2030).key;
    certificates.set_challenge("a.example", Arc::clone(&challenge));
    let offering = |protocols: &[&str]| {
        let mut client = client(None);
        client.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        shake(&certificates, &Arc::new(client), "a.example").map(|(_, cert)| cert == challenge.cert[0])
    };
    assert_eq!(offering(&["acme-tls/1"]), Some(true));
    assert_eq!(offering(&["acme-tls/1", "http/1.1"]), Some(false));
    assert_eq!(offering(&["http/1.1"]), Some(false));
    certificates.remove_challenge("a.example");
    assert_eq!(offering(&["acme-tls/1"]), None);
}

#[test]
fn a_session_without_a_client_certificate_is_not_resumed_where_one_is_required() {
    let (ca_key, own_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = params.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(params, ca_key);
    let own = CertificateParams::new(["client".to_owned()]).unwrap().signed_by(&own_key, &issuer).unwrap();
    let authorities = || Some(Arc::new(ClientAuthorities::new(vec![ca.der().clone()]).unwrap()));

    let certificates = Certificates::new();
    let open = served(&["a.example"], 2030);
    let closed = || ServedCertificate { authorities: authorities(), ..open.clone() };
    certificates.set_configured(vec![open.clone()], None);
    let nobody = Arc::new(client(None));
    assert!(shake(&certificates, &nobody, "a.example").is_some());
    certificates.set_configured(vec![closed()], None);
    assert!(shake(&certificates, &nobody, "a.example").is_none());
    let known = Arc::new(client(Some((own.der().clone(), own_key))));
    assert_eq!(shake(&certificates, &known, "a.example").unwrap().0, HandshakeKind::Full);
    // The same authorities are the same group after a reload.
    certificates.set_configured(vec![closed()], None);
    assert_eq!(shake(&certificates, &known, "a.example").unwrap().0, HandshakeKind::Resumed);
}

#[test]
fn a_host_is_answered_if_the_certificate_of_the_connection_covers_it() {
    let certificates = Certificates::new();
    let ca = served(&["ca"], 2030).key.cert[0].clone();
    let closed = ServedCertificate {
        authorities: Some(Arc::new(ClientAuthorities::new(vec![ca]).unwrap())),
        ..served(&["closed.a.example"], 2030)
    };
    let all = || vec![served(&["a.example", "*.a.example"], 2030), served(&["b.example"], 2030), closed.clone()];
    let asks = |name: Option<&str>, host: &str| {
        let set = certificates.current();
        TlsIdentity::new(&set, name).map(|identity| identity.may_ask_for(host, || Arc::clone(&set)))
    };
    let (a, b, unknown) = (Some("a.example"), Some("b.example"), Some("other.example"));
    for default in [None, Some(host("b.example"))] {
        certificates.set_configured(all(), default.as_ref());
        for (name, host, expected) in [
            (a, "a.example", true),
            (a, "x.a.example", true),
            (a, "y.x.a.example", false),
            (a, "b.example", false),
            (a, "other.example", false),
            // The certificate covers it, but its clients need a certificate of their own.
            (a, "closed.a.example", false),
            (Some("closed.a.example"), "closed.a.example", true),
            (Some("closed.a.example"), "a.example", false),
            (b, "b.example", true),
            (b, "a.example", false),
            (b, "other.example", false),
        ] {
            assert_eq!(asks(name, host), Some(expected), "{name:?} {host}");
        }
    }
    // The default certificate, now that of b.example, answers for hosts that have no certificate of their own.
    for name in [unknown, None] {
        for (host, expected) in [
            ("other.example", true),
            ("third.example", true),
            ("b.example", true),
            ("10.0.0.1", true),
            ("a.example", false),
            ("closed.a.example", false),
        ] {
            assert_eq!(asks(name, host), Some(expected), "{name:?} {host}");
        }
    }
    certificates.set_configured(all(), None);
    assert_eq!(asks(unknown, "a.example"), None);
}
