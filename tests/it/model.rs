//! A plain model of the registry: what each line must be answered, and what must be found afterwards.
//!
//! Written without a look at the sources' structures: maps of text, copied whole.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::server::{Backend, Client, Dice, Server};

type Key = (String, String);

/// A configuration: routes by number, and what is set, by section, target and name.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Conf {
    routes: BTreeMap<u32, RouteModel>,
    settings: BTreeMap<(&'static str, String, String), String>,
}

#[derive(Clone, PartialEq, Debug)]
struct RouteModel {
    domain: String,
    path: String,
    backend: String,
    priority: i32,
}

impl RouteModel {
    fn claim(&self) -> (String, String, i32) {
        (self.domain.clone(), self.path.clone(), self.priority)
    }
}

#[derive(Clone, Debug)]
pub struct SessionModel {
    pub id: String,
    service: String,
    active: Conf,
    staged: Conf,
    next: u32,
    revision: u64,
    drain: bool,
    maintenance: BTreeSet<String>,
}

/// All sessions by service and instance, and the routes of replaced ones that still serve.
#[derive(Clone)]
pub struct Model {
    domains: [String; 3],
    pub sessions: BTreeMap<Key, SessionModel>,
    replaced: BTreeMap<Key, Conf>,
    dead: Vec<String>,
}

/// The answer that a line must get.
#[derive(Debug, PartialEq, Eq)]
pub enum Expect {
    Exactly(String),
    Begins(String),
    Error,
    /// `ACK|` and a new id, which the model is to be told.
    Session(Key),
}

fn exactly(text: &str) -> Expect {
    Expect::Exactly(text.to_owned())
}

impl SessionModel {
    fn exists(&self, id: u32) -> bool {
        self.staged.routes.contains_key(&id) || self.active.routes.contains_key(&id)
    }

    fn target_exists(&self, target: &str) -> bool {
        target == "ALL" || target[1..].parse().is_ok_and(|id| self.exists(id))
    }

    /// Per section: how many entries staging adds, removes and changes.
    fn tally(&self, section: &str) -> (usize, usize, usize) {
        let of = |conf: &Conf| -> BTreeMap<String, String> {
            let own = conf.settings.iter().filter(|((of, ..), _)| *of == section);
            own.map(|((_, target, name), value)| (format!("{target} {name}"), value.clone())).collect()
        };
        let (old, new) = (of(&self.active), of(&self.staged));
        let added = new.keys().filter(|key| !old.contains_key(*key)).count();
        let removed = old.keys().filter(|key| !new.contains_key(*key)).count();
        let modified = new.iter().filter(|(key, value)| old.get(*key).is_some_and(|was| was != *value)).count();
        (added, removed, modified)
    }

    /// Returns the expected `CONFIG_DIFF`, given that the routes of `before` still serve.
    pub fn diff(&self, before: Option<&Conf>) -> String {
        let ids = |keep: &dyn Fn(u32) -> bool| {
            let all: BTreeSet<u32> = self.active.routes.keys().chain(self.staged.routes.keys()).copied().collect();
            let kept = all.into_iter().filter(|id| keep(*id)).map(|id| format!("\"r{id}\""));
            kept.collect::<Vec<_>>().join(",")
        };
        let (old, new) = (&self.active.routes, &self.staged.routes);
        let added = ids(&|id| !old.contains_key(&id));
        let removed = ids(&|id| !new.contains_key(&id));
        let modified = ids(&|id| matches!((old.get(&id), new.get(&id)), (Some(a), Some(b)) if a != b));
        let mut text =
            format!("{{\"routes\":{{\"added\":[{added}],\"removed\":[{removed}],\"modified\":[{modified}]}}");
        for section in ["headers", "options", "health", "ratelimit", "circuit"] {
            let (added, removed, modified) = self.tally(section);
            text += &format!(",\"{section}\":{{\"added\":{added},\"removed\":{removed},\"modified\":{modified}}}");
        }
        let kept = |route: &RouteModel| {
            self.staged.routes.values().any(|own| (&own.domain, &own.path) == (&route.domain, &route.path))
        };
        let lost = before.into_iter().flat_map(|before| &before.routes).filter(|(_, route)| !kept(route));
        let mut warnings: Vec<String> = lost
            .map(|(id, RouteModel { domain, path, .. })| {
                format!("\"routes: {domain} {path} (r{id} of the session before) is not among the routes of this one and goes with the next apply\"")
            })
            .collect();
        if warnings.len() > 20 {
            let more = warnings.len() - 20;
            warnings.truncate(20);
            warnings.push(format!("\"routes: {more} more of the session before go with the next apply\""));
        }
        format!("{text},\"warnings\":[{}]}}", warnings.join(","))
    }

    /// Returns the expected `ROUTE_LIST`.
    pub fn list(&self) -> String {
        let entry = |id: &u32, route: &RouteModel, status: &str| {
            format!(
                "{{\"route_id\":\"r{id}\",\"id\":\"r{id}\",\"domains\":[\"{}\"],\"path\":\"{}\",\"backend\":\"{}\",\"priority\":{},\"status\":\"{status}\"}}",
                route.domain, route.path, route.backend, route.priority
            )
        };
        let mut entries = Vec::new();
        for (id, route) in &self.active.routes {
            match self.staged.routes.get(id) {
                None => entries.push(entry(id, route, "pending_removal")),
                Some(next) if next == route => entries.push(entry(id, route, "active")),
                Some(next) => entries.extend([entry(id, route, "active"), entry(id, next, "staged")]),
            }
        }
        let new = self.staged.routes.iter().filter(|(id, _)| !self.active.routes.contains_key(id));
        entries.extend(new.map(|(id, route)| entry(id, route, "staged")));
        format!("[{}]", entries.join(","))
    }

    fn apply(&mut self, sections: &[&str]) -> Conf {
        let mut next = self.active.clone();
        if sections.contains(&"routes") {
            next.routes = self.staged.routes.clone();
        }
        next.settings.retain(|(section, ..), _| !sections.contains(section));
        let staged = self.staged.settings.iter().filter(|((section, ..), _)| sections.contains(section));
        next.settings.extend(staged.map(|(key, value)| (key.clone(), value.clone())));
        next
    }
}

impl Conf {
    fn holds_together(&self) -> bool {
        let mut claims = BTreeSet::new();
        let once = self.routes.values().all(|route| claims.insert(route.claim()));
        let dangling = self.settings.keys().any(|(_, target, _)| {
            target.strip_prefix('r').is_some_and(|id| !self.routes.contains_key(&id.parse::<u32>().unwrap()))
        });
        once && !dangling
    }
}

impl Model {
    /// Sessions whose routes are for these domains.
    pub fn new(domains: [&str; 3]) -> Self {
        let domains = domains.map(str::to_owned);
        Self { domains, sessions: BTreeMap::new(), replaced: BTreeMap::new(), dead: Vec::new() }
    }

    fn held_by_others(&self, key: &Key, conf: &Conf) -> bool {
        let sessions = self.sessions.iter().map(|(other, session)| (other, &session.active));
        let all = sessions.chain(self.replaced.iter());
        let foreign: BTreeSet<_> = all
            .filter(|(other, _)| other.0 != key.0)
            .flat_map(|(_, conf)| conf.routes.values().map(RouteModel::claim))
            .collect();
        conf.routes.values().any(|route| foreign.contains(&route.claim()))
    }

    /// Takes in one random line of a session: the line, and what it must be answered.
    pub fn step(&mut self, key: &Key, dice: &mut Dice, backend: SocketAddr) -> (String, Expect) {
        if !self.sessions.contains_key(key) || dice.below(60) == 0 {
            return (format!("REGISTER|{}|{}|9001|{{}}", key.0, key.1), Expect::Session(key.clone()));
        }
        if dice.below(80) == 0 && !self.dead.is_empty() {
            let verb = *dice.pick(&["PING", "CONFIG_APPLY", "SESSION_INFO", "DRAIN_CANCEL"]);
            return (
                format!("{verb}|{}", dice.pick(&self.dead)),
                // It may have been replaced, or have ended for another reason.
                Expect::Begins("ERROR|invalid session: ".to_owned()),
            );
        }
        match dice.below(16) {
            0..=3 => self.route_line(key, dice, backend),
            4..=7 => self.setting_line(key, dice),
            8..=10 => self.config_line(key, dice),
            11 => self.drain_line(key, dice),
            12 => self.maintenance_line(key, dice),
            _ => self.asking_line(key, dice),
        }
    }

    fn session(&mut self, key: &Key) -> &mut SessionModel {
        self.sessions.get_mut(key).expect("it was registered")
    }

    fn route_line(&mut self, key: &Key, dice: &mut Dice, backend: SocketAddr) -> (String, Expect) {
        let domains = self.domains.clone();
        let session = self.session(key);
        let sid = session.id.clone();
        let new = |dice: &mut Dice| RouteModel {
            domain: dice.pick(&domains).clone(),
            path: (*dice.pick(&["/", "/x", "/x/y"])).to_owned(),
            backend: format!("http://{backend}"),
            priority: i32::try_from(dice.below(3)).unwrap() - 1,
        };
        let id = u32::try_from(dice.below(session.next as usize + 1)).unwrap() + 1;
        match dice.below(8) {
            0..=2 => {
                let route = new(dice);
                let line =
                    format!("ROUTE_ADD|{sid}|{}|{}|{}|{}", route.domain, route.path, route.backend, route.priority);
                session.staged.routes.insert(session.next, route);
                session.next += 1;
                (line, Expect::Exactly(format!("ROUTE_OK|r{}", session.next - 1)))
            }
            3 => {
                let routes = [new(dice), new(dice)];
                let json = routes.each_ref().map(|route| {
                    format!(
                        "{{\"domains\":[\"{}\"],\"path\":\"{}\",\"backend_url\":\"{}\",\"priority\":{}}}",
                        route.domain, route.path, route.backend, route.priority
                    )
                });
                let (first, second) = (session.next, session.next + 1);
                session.staged.routes.extend((first..).zip(routes));
                session.next += 2;
                let reply = format!(
                    "ROUTE_BULK_OK|[{{\"route_id\":\"r{first}\",\"status\":\"ok\"}},{{\"route_id\":\"r{second}\",\"status\":\"ok\"}}]"
                );
                (format!("ROUTE_ADD_BULK|{sid}|[{}]", json.join(",")), Expect::Exactly(reply))
            }
            4 | 5 => {
                let (field, value) =
                    *dice.pick(&[("priority", "7"), ("path", "/z"), ("domains", &domains[2]), ("priority", "x")]);
                let line = format!("ROUTE_UPDATE|{sid}|r{id}|{field}|{value}");
                let Some(route) = session.staged.routes.get_mut(&id).filter(|_| value != "x") else {
                    return (line, Expect::Error);
                };
                match field {
                    "priority" => route.priority = 7,
                    "path" => value.clone_into(&mut route.path),
                    _ => value.clone_into(&mut route.domain),
                }
                (line, exactly("ROUTE_OK"))
            }
            6 => {
                let line = format!("ROUTE_REMOVE|{sid}|r{id}");
                if session.staged.routes.remove(&id).is_none() {
                    return (line, Expect::Error);
                }
                session.staged.settings.retain(|(_, target, _), _| *target != format!("r{id}"));
                (line, exactly("ROUTE_OK"))
            }
            _ => (format!("ROUTE_ADD|{sid}|bad host|/|http://b|0"), Expect::Error),
        }
    }

    fn setting_line(&mut self, key: &Key, dice: &mut Dice) -> (String, Expect) {
        let session = self.session(key);
        let sid = session.id.clone();
        let route = format!("r{}", dice.below(session.next as usize + 1) + 1);
        let target = if dice.below(3) == 0 { "ALL".to_owned() } else { route.clone() };
        let number = dice.below(3) + 1;
        let mut put = |section: &'static str, target: &str, name: &str, value: String, reply: &str| {
            if !session.target_exists(target) {
                return Expect::Error;
            }
            session.staged.settings.insert((section, target.to_owned(), name.to_owned()), value);
            exactly(reply)
        };
        match dice.below(10) {
            0 => {
                let expected = put("headers", &target, "x-a", number.to_string(), "HEADERS_OK");
                (format!("HEADERS_SET|{sid}|{target}|X-A|{number}"), expected)
            }
            1 => {
                session.staged.settings.remove(&("headers", target.clone(), "x-a".to_owned()));
                (format!("HEADERS_REMOVE|{sid}|{target}|X-A"), exactly("HEADERS_OK"))
            }
            2 => {
                let expected = put("options", &target, "retries", number.to_string(), "OPTIONS_OK");
                (format!("OPTIONS_SET|{sid}|{target}|retries|{number}"), expected)
            }
            3 => {
                session.staged.settings.remove(&("options", target.clone(), "retries".to_owned()));
                (format!("OPTIONS_REMOVE|{sid}|{target}|retries"), exactly("OPTIONS_OK"))
            }
            4 => {
                let expected = put("health", &route, "", number.to_string(), "HEALTH_OK");
                (format!("HEALTH_SET|{sid}|{route}|/health|{number}s|1s"), expected)
            }
            5 => {
                let expected = put("ratelimit", &target, "", number.to_string(), "RATELIMIT_OK");
                (format!("RATELIMIT_SET|{sid}|{target}|{number}|1m"), expected)
            }
            6 => {
                session.staged.settings.remove(&("health", route.clone(), String::new()));
                (format!("HEALTH_REMOVE|{sid}|{route}"), exactly("HEALTH_OK"))
            }
            7 => {
                session.staged.settings.remove(&("ratelimit", target.clone(), String::new()));
                (format!("RATELIMIT_REMOVE|{sid}|{target}"), exactly("RATELIMIT_OK"))
            }
            8 => {
                session.staged.settings.remove(&("circuit", target.clone(), String::new()));
                (format!("CIRCUIT_BREAKER_REMOVE|{sid}|{target}"), exactly("CIRCUIT_OK"))
            }
            _ => {
                let expected = put("circuit", &target, "", number.to_string(), "CIRCUIT_OK");
                (format!("CIRCUIT_BREAKER_SET|{sid}|{target}|{number}|30s|1"), expected)
            }
        }
    }

    fn config_line(&mut self, key: &Key, dice: &mut Dice) -> (String, Expect) {
        const SECTIONS: [&str; 6] = ["routes", "headers", "options", "health", "ratelimit", "circuit"];
        let sid = self.session(key).id.clone();
        let (line, sections): (String, Vec<&str>) = match dice.below(8) {
            0 => {
                let session = self.session(key);
                session.staged = session.active.clone();
                return (format!("CONFIG_ROLLBACK|{sid}"), exactly("OK"));
            }
            1 => {
                let next = self.session(key).apply(&SECTIONS);
                let fine = next.holds_together() && !self.held_by_others(key, &next);
                return (format!("CONFIG_VALIDATE|{sid}"), if fine { exactly("OK") } else { Expect::Error });
            }
            2 | 3 => {
                let chosen: Vec<&str> = SECTIONS.into_iter().filter(|_| dice.below(2) == 0).collect();
                let chosen = if chosen.is_empty() { vec!["routes"] } else { chosen };
                (format!("CONFIG_APPLY_PARTIAL|{sid}|{}", chosen.join(",")), chosen)
            }
            _ => (format!("CONFIG_APPLY|{sid}"), SECTIONS.to_vec()),
        };
        let next = self.session(key).apply(&sections);
        if !next.holds_together() || self.held_by_others(key, &next) {
            return (line, Expect::Error);
        }
        self.replaced.remove(key);
        let session = self.session(key);
        if next != session.active {
            session.revision += 1;
            let was = std::mem::replace(&mut session.active, next);
            let gone = was.routes.keys().filter(|id| !session.active.routes.contains_key(id));
            for id in gone {
                session.maintenance.remove(&format!("r{id}"));
            }
        }
        (line, exactly("OK"))
    }

    fn drain_line(&mut self, key: &Key, dice: &mut Dice) -> (String, Expect) {
        let session = self.session(key);
        let none = Expect::Exactly("ERROR|no drain in progress".to_owned());
        match dice.below(3) {
            0 => {
                session.drain = true;
                (format!("DRAIN_START|{}|1h", session.id), Expect::Begins("DRAIN_OK|20".to_owned()))
            }
            1 => {
                let was = std::mem::take(&mut session.drain);
                (format!("DRAIN_CANCEL|{}", session.id), if was { exactly("DRAIN_OK") } else { none })
            }
            _ => {
                let expected =
                    if session.drain { Expect::Begins("DRAIN_STATUS_OK|{\"active\":true".to_owned()) } else { none };
                (format!("DRAIN_STATUS|{}", session.id), expected)
            }
        }
    }

    /// Single routes only: what `ALL` means for them is shown elsewhere.
    fn maintenance_line(&mut self, key: &Key, dice: &mut Dice) -> (String, Expect) {
        let session = self.session(key);
        let id = u32::try_from(dice.below(session.next as usize + 1)).unwrap() + 1;
        let enters = dice.below(2) == 0;
        let line = if enters {
            format!("MAINT_ENTER|{}|r{id}|", session.id)
        } else {
            format!("MAINT_EXIT|{}|r{id}", session.id)
        };
        if !session.exists(id) {
            return (line, Expect::Error);
        }
        if enters {
            session.maintenance.insert(format!("r{id}"));
        } else {
            session.maintenance.remove(&format!("r{id}"));
        }
        (line, exactly("ACK"))
    }

    fn asking_line(&mut self, key: &Key, dice: &mut Dice) -> (String, Expect) {
        if dice.below(40) == 0 {
            let session = self.sessions.remove(key).expect("it was registered");
            self.replaced.remove(key);
            self.dead.push(session.id.clone());
            return (format!("CLIENT_SHUTDOWN|{}", session.id), exactly("SHUTDOWN_OK"));
        }
        let before = self.replaced.get(key).cloned();
        let session = self.session(key);
        let sid = session.id.clone();
        let id = u32::try_from(dice.below(session.next as usize + 1)).unwrap() + 1;
        let active = session.active.routes.contains_key(&id);
        let has = |section| {
            let of = |target: String| session.active.settings.contains_key(&(section, target, String::new()));
            of("ALL".to_owned()) || of(format!("r{id}"))
        };
        match dice.below(11) {
            0 => (format!("PING|{sid}"), exactly("PONG")),
            1 => (format!("RECONNECT|{sid}"), exactly("OK")),
            2 => (format!("CONFIG_DIFF|{sid}"), Expect::Exactly(format!("DIFF_OK|{}", session.diff(before.as_ref())))),
            3 => (format!("ROUTE_LIST|{sid}"), Expect::Exactly(format!("ROUTE_LIST_OK|{}", session.list()))),
            4 => {
                let ids = session.active.routes.keys().filter(|id| session.maintenance.contains(&format!("r{id}")));
                let ids: Vec<String> = ids.map(|id| format!("\"r{id}\"")).collect();
                let reply =
                    format!("MAINT_STATUS_OK|{{\"in_maintenance\":[{}],\"maintenance_backend\":\"\"", ids.join(","));
                (format!("MAINT_STATUS|{sid}"), Expect::Begins(reply))
            }
            5 => {
                let reply = if active && has("circuit") { exactly("CIRCUIT_OK") } else { Expect::Error };
                (format!("CIRCUIT_BREAKER_RESET|{sid}|r{id}"), reply)
            }
            6 => {
                let reply = if active {
                    Expect::Begins("CIRCUIT_STATUS_OK|{\"state\":\"closed\"".to_owned())
                } else {
                    Expect::Error
                };
                (format!("CIRCUIT_BREAKER_STATUS|{sid}|r{id}"), reply)
            }
            7 => {
                let reply =
                    if active { Expect::Begins(format!("STATS_OK|{{\"route_id\":\"r{id}\"")) } else { Expect::Error };
                (format!("STATS_GET|{sid}|r{id}"), reply)
            }
            8 => {
                let verb = *dice.pick(&["SUBSCRIBE", "UNSUBSCRIBE"]);
                (format!("{verb}|{sid}|config_applied"), Expect::Exactly(format!("{verb}_OK")))
            }
            9 => (
                format!("BACKEND_TEST|{sid}|http://127.0.0.1:1"),
                Expect::Begins("BACKEND_FAIL|{\"reachable\":false".to_owned()),
            ),
            _ => (
                format!("SESSION_INFO|{sid}"),
                Expect::Begins(format!("SESSION_OK|{{\"session_id\":\"{sid}\",\"service_name\":\"{}\"", key.0)),
            ),
        }
    }

    /// A `REGISTER` was answered with this id.
    pub fn registered(&mut self, key: &Key, id: &str) {
        if let Some(old) = self.sessions.remove(key) {
            self.dead.push(old.id);
            if !old.active.routes.is_empty() {
                self.replaced.insert(key.clone(), old.active);
            }
        }
        let session = SessionModel {
            id: id.to_owned(),
            service: key.0.clone(),
            active: Conf::default(),
            staged: Conf::default(),
            next: 1,
            revision: 0,
            drain: false,
            maintenance: BTreeSet::new(),
        };
        self.sessions.insert(key.clone(), session);
    }

    /// The number of the next route of the only session.
    pub fn next_route(&self) -> u32 {
        self.sessions.values().next().map_or(1, |session| session.next)
    }

    /// The server has given out this number last, and nothing is staged but that route.
    pub fn resync(&mut self, last: u32, domain: &str, backend: &str) {
        for session in self.sessions.values_mut() {
            session.staged = session.active.clone();
            let route = RouteModel {
                domain: domain.to_owned(),
                path: "/".to_owned(),
                backend: backend.to_owned(),
                priority: 0,
            };
            session.staged.routes.insert(last, route);
            session.next = last + 1;
        }
    }

    /// Returns what a client can see of a session: routes, diff, revision, drain.
    pub fn seen(&self) -> Vec<(String, String, u64, bool)> {
        let seen = |(key, session): (&Key, &SessionModel)| {
            (session.list(), session.diff(self.replaced.get(key)), session.revision, session.drain)
        };
        self.sessions.iter().map(seen).collect()
    }

    /// Asks the server for all that the model knows.
    pub fn check(&self, client: &mut Client) {
        for (key, session) in &self.sessions {
            let (sid, before) = (&session.id, self.replaced.get(key));
            assert_eq!(client.ask(&format!("RECONNECT|{sid}")), "OK");
            assert_eq!(client.ask(&format!("ROUTE_LIST|{sid}")), format!("ROUTE_LIST_OK|{}", session.list()));
            assert_eq!(client.ask(&format!("CONFIG_DIFF|{sid}")), format!("DIFF_OK|{}", session.diff(before)));
            let info = client.ask(&format!("SESSION_INFO|{sid}"));
            let expected = [
                format!("\"service_name\":\"{}\"", session.service),
                format!("\"routes_active\":{}", session.active.routes.len()),
                format!("\"revision\":{}", session.revision),
            ];
            assert!(expected.iter().all(|part| info.contains(part.as_str())), "{info}\n{expected:?}");
            let drain = client.ask(&format!("DRAIN_STATUS|{sid}"));
            assert_eq!(drain.starts_with("DRAIN_STATUS_OK"), session.drain, "{drain}");
        }
        for dead in self.dead.iter().rev().take(20) {
            assert_eq!(client.ask(&format!("RECONNECT|{dead}")), "REREGISTER");
        }
    }
}

/// Sends a line, and holds the answer against what is expected.
fn exchange(client: &mut Client, model: &mut Model, line: &str, expected: &Expect) {
    let reply = client.ask(line);
    match expected {
        Expect::Exactly(text) => assert_eq!(reply, *text, "{line}"),
        Expect::Begins(text) => assert!(reply.starts_with(text.as_str()), "{line}\n{reply}\n{text}"),
        Expect::Error => assert!(reply.starts_with("ERROR|"), "{line}\n{reply}"),
        Expect::Session(key) => {
            let id = reply.strip_prefix("ACK|").unwrap_or_else(|| panic!("{line}\n{reply}"));
            model.registered(key, id);
        }
    }
    if reply == "ACK" {
        // The next lines must not meet a request that still waits.
        let target = line.split('|').nth(2).unwrap();
        let mut told = client.pushed_line();
        while told.starts_with("EVENT|") {
            told = client.pushed_line();
        }
        assert_eq!(told, format!("MAINT_OK|{target}"), "{line}");
    }
}

#[test]
fn any_interleaving_of_commands_and_restarts_is_answered_as_the_model_says() {
    answers_as_the_model_says(0..2);
}

#[test]
#[ignore = "storm: minutes"]
fn storm_of_interleaved_commands_and_restarts_is_answered_as_the_model_says() {
    answers_as_the_model_says(0..12);
}

/// Runs four rounds of commands for each seed, with a restart after each round.
fn answers_as_the_model_says(seeds: std::ops::Range<u64>) {
    let backend = Backend::start("model");
    for seed in seeds {
        let mut dice = Dice(seed);
        let folder = tempfile::tempdir().unwrap();
        let mut model = Model::new(["a.example", "*.b.example", "*"]);
        let keys: Vec<Key> = [("shop", "1"), ("shop", "2"), ("blog", "1"), ("wiki", "1")]
            .map(|(service, instance)| (service.to_owned(), instance.to_owned()))
            .to_vec();
        for round in 0..4 {
            let server = Server::start(folder.path());
            let mut client = server.connect();
            model.check(&mut client);
            for _ in 0..150 {
                let key = dice.pick(&keys).clone();
                let (line, expected) = model.step(&key, &mut dice, backend.address);
                exchange(&mut client, &mut model, &line, &expected);
                if line.starts_with("CLIENT_SHUTDOWN") {
                    assert!(client.is_closed());
                    client = server.connect();
                }
            }
            model.check(&mut client);
            if round % 2 == 0 {
                server.kill();
            } else {
                assert!(server.terminate().success());
            }
        }
    }
}
