//! Instances that operators and files hold: they are sessions like any other, and the holders never take anything from
//! each other.

use super::*;
use crate::domain::{Kind, Owner, Subject, Target, TokenName};
use crate::registry::commands::{
    ClientShutdown, DrainStart, ListedInstance, MaintEnter, OwnedSet, Precondition, PutInstance, PutSets, Reconnect,
    RemoveInstance, TargetSelector,
};
use crate::registry::instance_config::InstanceConfig;
use crate::registry::instance_outcomes::{InstancePut, OwnedChange, OwnedChangeKind, SetOutcome};

fn config(json: &str) -> Arc<InstanceConfig> {
    Arc::new(serde_json::from_str(json).unwrap())
}

fn one(domain: &str) -> Arc<InstanceConfig> {
    config(&format!(r#"{{"backend":"http://127.0.0.1:3000","domains":["{domain}"]}}"#))
}

fn names(name: &str) -> (ServiceName, InstanceName) {
    let (service, instance) = name.split_once('/').unwrap();
    (ServiceName::parse(service).unwrap(), InstanceName::parse(instance).unwrap())
}

fn file(name: &str) -> Owner {
    Owner::File(name.into())
}

/// An instance by its name, with its configuration.
type Listed<'a> = (&'a str, &'a Arc<InstanceConfig>);

impl World {
    fn put_if(
        &mut self,
        name: &str,
        config: &Arc<InstanceConfig>,
        precondition: Precondition,
        dry_run: bool,
    ) -> Result<InstancePut, Error> {
        let (service, instance) = names(name);
        let config = Arc::clone(config);
        match self.run(PutInstance { service, instance, config, precondition, dry_run })? {
            Reply::Put(put) => Ok(*put),
            other => panic!("{other:?}"),
        }
    }

    fn put(&mut self, name: &str, config: &Arc<InstanceConfig>) -> Result<InstancePut, Error> {
        self.put_if(name, config, Precondition::None, false)
    }

    fn remove_instance(&mut self, name: &str, precondition: Precondition) -> Result<Reply, Error> {
        let (service, instance) = names(name);
        self.run(RemoveInstance { service, instance, precondition })
    }

    fn replace(&mut self, owner: &Owner, listed: &[Listed<'_>]) -> Result<Vec<OwnedChange>, Error> {
        let outcome = self.put_sets(&[(owner, listed)]).pop().expect("an outcome for the set");
        outcome.map_err(|refused| refused.first().expect("a refusal").named())
    }

    /// Makes these the instances of their owners.
    fn put_sets(&mut self, sets: &[(&Owner, &[Listed<'_>])]) -> Vec<SetOutcome> {
        let listed = |(name, config): &Listed<'_>| {
            let (service, instance) = names(name);
            ListedInstance { service, instance, config: Arc::clone(config) }
        };
        let set = |(owner, of): &(&Owner, &[_])| OwnedSet {
            owner: Owner::clone(owner),
            instances: of.iter().map(listed).collect(),
            is_whole: true,
        };
        match self.run(PutSets { sets: sets.iter().map(set).collect(), dry_run: false }).unwrap() {
            Reply::SetsPut(outcomes) => outcomes,
            other => panic!("{other:?}"),
        }
    }

    fn evict(&mut self, name: &str) -> Result<Reply, Error> {
        let (service, instance) = names(name);
        self.run(ClientShutdown { subject: Subject::Instance(service, instance), connection: None })
    }

    fn instance(&self, name: &str) -> &Arc<Session> {
        let (service, instance) = names(name);
        self.catalog.of_instance(&service, &instance).expect("an instance")
    }
}

fn entries(put: &InstancePut) -> Vec<String> {
    let entry = |change: &crate::registry::config_changes::ConfigChange| {
        let word = change.change.word();
        let name = change.name.clone().unwrap_or_default();
        format!("{word} {} {} {name}", change.section, change.target).trim_end().to_owned()
    };
    put.changes.iter().map(entry).collect()
}

#[test]
fn a_put_creates_an_instance_and_then_changes_only_what_differs() {
    let mut world = World::new();
    let put = world.put("shop/shop-1", &one("shop.example")).unwrap();
    assert_eq!((put.created, put.revision, put.changes_total), (true, 1, 1));
    assert_eq!(entries(&put), ["added routes r1"]);
    assert_eq!(put.changes[0].after.as_deref(), Some("shop.example / to http://127.0.0.1:3000"));
    let again = world.put("shop/shop-1", &one("shop.example")).unwrap();
    assert_eq!((again.created, again.revision, again.changes_total), (false, 1, 0));
    let more = config(
        r#"{"backend":"http://127.0.0.1:3001","domains":["shop.example"],"headers":{"X-Frame-Options":"DENY"},
            "options":{"retries":2,"websocket":false},"health_check":{"path":"/h","interval":"1s","timeout":"1s"},
            "rate_limit":{"requests":5,"window":"1m"},"maintenance_port":9001,"metadata":{"a":1}}"#,
    );
    let put = world.put("shop/shop-1", &more).unwrap();
    assert_eq!(put.revision, 2, "one revision");
    let expected = [
        "modified instance ALL maintenance_port",
        "modified instance ALL metadata",
        "modified routes r1",
        "added headers ALL x-frame-options",
        "added options ALL retries",
        "added options ALL websocket",
        "added health r1",
        "added ratelimit ALL",
    ];
    assert_eq!(entries(&put), expected);
    let session = world.instance("shop/shop-1");
    assert_eq!((session.record.maintenance_port, session.record.metadata.as_str()), (9001, r#"{"a":1}"#));
    assert_eq!(session.active.options.values().map(|value| &**value).collect::<Vec<_>>(), ["2", "false"]);
    let back = world.put("shop/shop-1", &one("shop.example")).unwrap();
    assert_eq!((back.revision, back.changes_total), (3, 8));
    assert_eq!(world.instance("shop/shop-1").active.settings_len(), 0);
}

#[test]
fn a_dry_run_tells_the_changes_and_makes_none() {
    let mut world = World::new();
    let put = world.put_if("shop/shop-1", &one("shop.example"), Precondition::None, true).unwrap();
    assert_eq!((put.created, put.dry_run, put.revision, put.changes_total), (true, true, 0, 1));
    assert_eq!((world.catalog.sessions_len(), world.catalog.revision()), (0, 0));
    world.put("shop/shop-1", &one("shop.example")).unwrap();
    let before = world.catalog.revision();
    let put = world.put_if("shop/shop-1", &one("other.example"), Precondition::None, true).unwrap();
    assert_eq!((put.created, put.revision, entries(&put)), (false, 1, vec!["modified routes r1".to_owned()]));
    assert_eq!(world.catalog.revision(), before);
    let session = world.register("blog", "blog-1", 1);
    world.add(&session, "blog.example", "/");
    world.apply(&session).unwrap();
    let refused = world.put_if("shop/shop-1", &one("blog.example"), Precondition::None, true).unwrap_err();
    assert_eq!(refused.kind(), Kind::Conflict, "a dry run is refused as the put itself");
}

#[test]
fn a_put_of_another_state_than_the_caller_has_read_is_refused_with_the_revision() {
    let mut world = World::new();
    let (first, second) = (one("a.example"), one("b.example"));
    let absent = world.put_if("shop/shop-1", &first, Precondition::Revision(vec![1]), false).unwrap_err();
    assert_eq!((absent.kind(), absent.message()), (Kind::Stale, "the instance does not exist"));
    assert!(world.put_if("shop/shop-1", &first, Precondition::Exists, false).is_err());
    world.put_if("shop/shop-1", &first, Precondition::Absent, false).unwrap();
    let there = world.put_if("shop/shop-1", &first, Precondition::Absent, false).unwrap_err();
    assert_eq!((there.kind(), there.message()), (Kind::Stale, "the instance exists already, at revision 1"));
    assert_eq!(world.put_if("shop/shop-1", &second, Precondition::Revision(vec![1]), false).unwrap().revision, 2);
    let stale = world.put_if("shop/shop-1", &first, Precondition::Revision(vec![1]), false).unwrap_err();
    assert_eq!(stale.kind(), Kind::Stale);
    assert!(stale.message().contains("at revision 2"), "{stale}");
    assert_eq!(world.remove_instance("shop/shop-1", Precondition::Revision(vec![1])).unwrap_err().kind(), Kind::Stale);
    world.remove_instance("shop/shop-1", Precondition::Revision(vec![2])).unwrap();
    let gone = world.remove_instance("shop/shop-1", Precondition::None).unwrap_err();
    assert_eq!((gone.kind(), gone.message()), (Kind::NotFound, "no instance shop/shop-1"));
}

#[test]
fn owned_instances_never_expire_and_have_no_id_that_counts() {
    let mut world = World::new();
    world.put("shop/shop-1", &one("shop.example")).unwrap();
    world.replace(&file("signalbox.toml"), &[("blog/blog-1", &one("blog.example"))]).unwrap();
    world.pass(Span::from_secs(400 * 24 * 60 * 60));
    for name in ["shop/shop-1", "blog/blog-1"] {
        let session = Arc::clone(world.instance(name));
        world.run(Expire { key: session.key, since: Time(0) }).unwrap();
        assert_eq!(world.instance(name).key, session.key);
        let id = session.record.id.clone();
        let gone = world.run(Reconnect { session: id.clone(), connection: Some(ConnectionId(1)) });
        assert_eq!(gone, Ok(Reply::Gone));
        assert!(world.catalog.session(id.reveal()).is_err());
    }
    assert_eq!(world.warnings, 0);
}

#[test]
fn the_holder_of_an_instance_is_told_to_everyone_else() {
    let mut world = World::new();
    let (a, b) = (file("a.toml"), file("b.toml"));
    let config = one("x.example");
    world.register("s", "session", 1);
    world.put("s/operators", &one("o.example")).unwrap();
    world.replace(&a, &[("s/file", &one("f.example"))]).unwrap();
    let held = |refused: Error, holder: &str| {
        assert_eq!(refused.kind(), Kind::Conflict, "{refused}");
        assert!(refused.message().contains(&format!("is held by {holder}")), "{refused} {holder}");
    };
    held(world.put("s/session", &config).unwrap_err(), "a session");
    held(world.put("s/file", &config).unwrap_err(), "the file a.toml");
    held(world.replace(&b, &[("s/session", &config)]).unwrap_err(), "a session");
    held(world.replace(&b, &[("s/operators", &config)]).unwrap_err(), "the operators");
    held(world.replace(&b, &[("s/file", &config)]).unwrap_err(), "the file a.toml");
    for (instance, holder) in [("operators", "the operators"), ("file", "the file a.toml")] {
        let (service, instance) = names(&format!("s/{instance}"));
        let register = Register {
            service,
            instance,
            maintenance_port: 0,
            metadata: Metadata::default(),
            nonce: 9,
            connection: Some(ConnectionId(2)),
            token: None,
            origin: None,
            lease: None,
        };
        held(world.run(register).unwrap_err(), holder);
    }
    held(world.remove_instance("s/session", Precondition::None).unwrap_err(), "a session");
    held(world.remove_instance("s/file", Precondition::None).unwrap_err(), "the file a.toml");
    let kept = world.evict("s/file").unwrap_err();
    held(kept.clone(), "the file a.toml");
    assert!(kept.message().contains("remove it in a.toml, and reload"), "{kept}");
    world.evict("s/operators").unwrap();
    assert_eq!(world.catalog.sessions_len(), 2);
}

#[test]
fn the_holder_of_a_place_is_told_whoever_claims_it() {
    let mut world = World::new();
    let session = world.register("session", "session-1", 1);
    world.add(&session, "s.example", "/");
    world.apply(&session).unwrap();
    world.put("operators/o", &one("o.example")).unwrap();
    world.replace(&file("a.toml"), &[("file/f", &one("f.example"))]).unwrap();
    let by_session = "s.example / at priority 0 is held by service session (instance session-1, held by a session)";
    let by_operators = "o.example / at priority 0 is held by service operators (instance o, held by the operators)";
    let by_file = "f.example / at priority 0 is held by service file (instance f, held by the file a.toml)";
    for (domain, words) in [("s.example", by_session), ("f.example", by_file)] {
        let refused = world.put("new/n", &one(domain)).unwrap_err();
        assert_eq!((refused.kind(), refused.message()), (Kind::Conflict, &*format!("route r1: {words}")));
    }
    for (domain, words) in [("s.example", by_session), ("o.example", by_operators), ("f.example", by_file)] {
        let refused = world.replace(&file("b.toml"), &[("new/n", &one(domain))]).unwrap_err();
        assert_eq!(refused.message(), format!("new/n: route r1: {words}"));
    }
    for (domain, words) in [("o.example", by_operators), ("f.example", by_file)] {
        let other = world.register("other", "other-1", 2);
        let id = world.add(&other, domain, "/");
        assert_eq!(said(world.apply(&other)), format!("route {id}: {words}"));
    }
    let third = world.register("third", "third-1", 3);
    world.add(&third, "s.example", "/");
    let plain = said(world.apply(&third));
    assert!(plain.ends_with("is held by service session"), "services hear no more of each other: {plain}");
}

#[test]
fn a_route_that_stays_keeps_its_id_by_its_name_its_place_or_its_id() {
    let mut world = World::new();
    let route = |name: &str, domain: &str, path: &str, port: u16| {
        let name = if name.is_empty() { String::new() } else { format!(r#""name":"{name}","#) };
        format!(r#"{{{name}"backend":"http://127.0.0.1:{port}","domains":["{domain}"],"path":"{path}"}}"#)
    };
    let routes = |routes: &[String]| config(&format!(r#"{{"routes":[{}]}}"#, routes.join(",")));
    let first =
        [route("cart", "a.example", "/cart", 1), route("", "a.example", "/", 2), route("", "b.example", "/", 3)];
    world.put("shop/shop-1", &routes(&first)).unwrap();
    // Another order, another place for the named one, and another backend for the others.
    let second =
        [route("", "b.example", "/", 9), route("cart", "c.example", "/basket", 1), route("r2", "d.example", "/x", 2)];
    let put = world.put("shop/shop-1", &routes(&second)).unwrap();
    assert_eq!(entries(&put), ["modified routes r1", "modified routes r2", "modified routes r3"]);
    let backends: Vec<_> =
        world.instance("shop/shop-1").active.routes.values().map(|it| it.backend.to_string()).collect();
    assert_eq!(backends, ["http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:9"]);
    let third = [route("cart", "c.example", "/basket", 1), route("", "new.example", "/", 2)];
    world.put("shop/shop-1", &routes(&third)).unwrap();
    let ids: Vec<_> = world.instance("shop/shop-1").active.routes.keys().copied().collect();
    assert_eq!(ids, [RouteId(1), RouteId(4)], "an id is not given out again");
    for (wrong, field, words) in [
        (
            [route("r2", "e.example", "/", 1), route("", "f.example", "/", 1)],
            "routes[0].name",
            "r2 was a route that is gone",
        ),
        (
            [route("x", "e.example", "/", 1), route("x", "f.example", "/", 1)],
            "routes[1].name",
            "routes[0] has the name x",
        ),
        (
            [route("cart", "e.example", "/", 1), route("r1", "f.example", "/", 1)],
            "routes[1].name",
            "is the route r1, which",
        ),
        (
            [route("r4000000000", "e.example", "/", 1), route("", "f.example", "/", 1)],
            "routes[0].name",
            "choose a word",
        ),
    ] {
        let refused = world.put("shop/shop-1", &routes(&wrong)).unwrap_err();
        assert_eq!((refused.kind(), refused.field()), (Kind::Invalid, Some(field)), "{refused}");
        assert!(refused.message().contains(words), "{refused}");
    }
}

#[test]
fn a_file_replaces_all_of_its_instances_or_none() {
    let mut world = World::new();
    let owner = file("signalbox.toml");
    let kinds = |changes: Vec<OwnedChange>| -> Vec<String> {
        let kind = |change: &OwnedChange| match &change.kind {
            OwnedChangeKind::Created { .. } => format!("{} created", change.instance),
            OwnedChangeKind::Changed { revision, total, changes } => {
                assert_eq!(*total, changes.len());
                format!("{} changed {revision}", change.instance)
            }
            OwnedChangeKind::Removed => format!("{} removed", change.instance),
        };
        changes.iter().map(kind).collect()
    };
    let (a, b, c) = (one("a.example"), one("b.example"), one("c.example"));
    let made = world.replace(&owner, &[("s/a", &a), ("s/b", &b)]).unwrap();
    assert_eq!(kinds(made), ["a created", "b created"]);
    assert_eq!(kinds(world.replace(&owner, &[("s/b", &b), ("s/a", &a)]).unwrap()), [""; 0]);
    // `s/b` takes the place of `t/a`, which goes; `t/b` the place that `s/b` gives up.
    let made = world.replace(&owner, &[("t/b", &b), ("s/b", &c), ("s/c", &c)]).unwrap();
    assert_eq!(kinds(made), ["a removed", "b changed 2", "c created", "b created"]);
    let before = world.catalog.revision();
    world.put("o/o", &one("o.example")).unwrap();
    let refused = world.replace(&owner, &[("s/new", &a), ("s/b", &one("o.example"))]).unwrap_err();
    assert!(refused.message().starts_with("s/b: route r1: o.example / at priority 0 is held by"), "{refused}");
    let twice = world.replace(&owner, &[("s/a", &a), ("s/a", &a)]).unwrap_err();
    assert_eq!(twice.message(), "s/a: is listed twice; give each instance once");
    assert!(world.catalog.revision() > before, "the operators' put");
    assert_eq!(world.catalog.sessions_len(), 4, "nothing of a refused batch took effect");
    assert_eq!(kinds(world.replace(&owner, &[]).unwrap()).len(), 3);
    assert_eq!(world.catalog.sessions_len(), 1, "the operators keep theirs");
}

#[test]
fn files_exchange_names_and_places_whatever_the_permutation() {
    let mut world = World::new();
    let files = ["a.toml", "b.toml", "c.toml"].map(file);
    let [one_, two, three] = ["one.example", "two.example", "three.example"].map(one);
    let configs = [&one_, &two, &three];
    let permutations = [[0, 1, 2], [1, 0, 2], [1, 2, 0], [2, 0, 1], [0, 2, 1], [2, 1, 0], [0, 1, 2]];
    // Names move from file to file; then places from service to service, across files and inside of one.
    for order in permutations {
        let listed = order.map(|at| [(["s/1", "s/2", "s/3"][at], configs[at])]);
        let sets: Vec<_> = files.iter().zip(&listed).map(|(file, listed)| (file, &listed[..])).collect();
        assert!(world.put_sets(&sets).iter().all(Result::is_ok), "{order:?}");
        for (at, file) in order.iter().zip(&files) {
            assert_eq!(&world.instance(["s/1", "s/2", "s/3"][*at]).record.owner, file);
        }
    }
    assert!(world.put_sets(&files.each_ref().map(|file| (file, &[][..]))).iter().all(Result::is_ok));
    for order in permutations {
        let listed = order.map(|at| configs[at]);
        let of_a = [("x/1", listed[0]), ("y/1", listed[1])];
        let outcomes = world.put_sets(&[(&files[0], &of_a), (&files[1], &[("z/1", listed[2])])]);
        assert!(outcomes.iter().all(Result::is_ok), "{order:?}: {outcomes:?}");
        let domain = |name: &str| world.instance(name).active.routes.values().next().unwrap().domains[0].to_string();
        let expected = order.map(|at| ["one.example", "two.example", "three.example"][at].to_owned());
        assert_eq!([domain("x/1"), domain("y/1"), domain("z/1")], expected);
    }
}

#[test]
fn a_refused_set_leaves_the_others_alone_and_changes_nothing() {
    let mut world = World::new();
    let (a, b, c) = (file("a.toml"), file("b.toml"), file("c.toml"));
    world.put("o/o", &one("held.example")).unwrap();
    let (good, held, other) = (one("good.example"), one("held.example"), one("other.example"));
    // The bad file has an instance too that would be in the way of another file.
    let of_a = [("s/a", &other), ("s/bad", &held)];
    let outcomes = world.put_sets(&[(&a, &of_a), (&b, &[("t/b", &other)]), (&c, &[("s/c", &good)])]);
    let told: Vec<String> = outcomes[0].as_ref().unwrap_err().iter().map(|of| of.named().to_string()).collect();
    assert!(told.iter().any(|words| words.starts_with("s/bad: route r1: held.example")), "{told:?}");
    assert!(outcomes[1].is_ok() && outcomes[2].is_ok(), "{outcomes:?}");
    assert_eq!(world.catalog.sessions_len(), 3);
    // A client's instances are in no set.
    let session = world.register("s", "client", 1);
    let refused = world.run(PutSets {
        sets: vec![OwnedSet { owner: Owner::Session, instances: Vec::new(), is_whole: true }],
        dry_run: false,
    });
    assert_eq!(refused.unwrap_err().kind(), Kind::Refused);
    assert!(world.catalog.session(session.reveal()).is_ok());
}

#[test]
fn operators_steer_owned_instances_as_others_and_tokens_do_not_bind_them() {
    let mut world = World::new();
    world.tokens = RegistrationTokens::from(vec![crate::domain::RegistrationToken {
        name: TokenName::parse("team").unwrap(),
        secret: crate::domain::Fingerprint::of(&crate::domain::Secret::new("s3cret")),
        services: vec!["none".to_owned()],
        domains: crate::domain::Host::parse_list("none.example").unwrap(),
        path_prefixes: vec![],
        backends: vec![],
        max_routes: Some(0),
        max_sessions: Some(0),
        lease_max: crate::domain::LeaseBound::Any,
    }]);
    world.put("shop/shop-1", &one("shop.example")).unwrap();
    let (service, instance) = names("shop/shop-1");
    let subject = Subject::Instance(service, instance);
    world.run(DrainStart { subject: subject.clone(), span: Span::from_secs(60) }).unwrap();
    let places = vec![TargetSelector::Target(Target::All)];
    world.run(MaintEnter { subject, places, page: None }).unwrap();
    let put = world.put("shop/shop-1", &one("shop.example")).unwrap();
    assert_eq!(put.changes_total, 0);
    world.put("shop/shop-1", &one("other.example")).unwrap();
    let record = &world.instance("shop/shop-1").record;
    assert!(record.drain.is_some() && record.maintenance.all.is_some(), "a put leaves the orders of operators alone");
}

#[test]
fn bounds_hold_for_a_put_as_for_commands() {
    let mut world = World::new();
    world.limits.routes_per_session_max = 1;
    world.limits.settings_per_session_max = 1;
    world.limits.sessions_max = 1;
    let two =
        r#"{"routes":[{"backend":"http://b","domains":["a.example"]},{"backend":"http://b","domains":["b.example"]}]}"#;
    let settings = r#"{"backend":"http://b","domains":["a.example"],"headers":{"x-a":"1","x-b":"2"}}"#;
    for (config, words) in [(config(two), "too many routes"), (config(settings), "too many settings")] {
        let refused = world.put("shop/shop-1", &config).unwrap_err();
        assert_eq!(refused.kind(), Kind::Limited);
        assert!(refused.message().starts_with(words), "{refused}");
    }
    world.put("shop/shop-1", &one("a.example")).unwrap();
    let full = world.put("shop/shop-2", &one("a.example")).unwrap_err();
    assert!(full.kind() == Kind::Limited && full.message().starts_with("too many sessions"), "{full}");
    world.forbidden = Forbidden::new(&["10.0.0.0/8".parse().unwrap()], &[]);
    let denied =
        world.put("shop/shop-1", &config(r#"{"routes":[{"backend":"http://10.0.0.1","domains":["a.example"]}]}"#));
    assert_eq!(denied.unwrap_err().field(), Some("routes[0].backend"));
}

#[test]
fn what_happens_to_owned_instances_is_told_and_recorded_with_the_holder() {
    let mut world = World::new();
    world.put("shop/shop-1", &one("a.example")).unwrap();
    world.put("shop/shop-1", &one("b.example")).unwrap();
    world.remove_instance("shop/shop-1", Precondition::None).unwrap();
    world.replace(&file("a.toml"), &[("shop/shop-1", &one("a.example"))]).unwrap();
    world.replace(&file("a.toml"), &[]).unwrap();
    let actions: Vec<String> = world
        .audit
        .iter()
        .map(|draft| format!("{} {}", draft.action.name(), draft.details.owner.as_deref().unwrap_or("nobody")))
        .collect();
    let operators = ["registered", "applied", "applied", "removed"].map(|action| format!("{action} the operators"));
    let file = ["registered", "applied", "removed"].map(|action| format!("{action} the file a.toml"));
    assert_eq!(actions, [&operators[..], &file].concat());
}
