//! The proxy under test: this program again, in a process of its own, with one worker and one route.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::{env, io};

use arc_swap::ArcSwap;
use signalbox::domain::{
    BackendUrl, Catalog, Change, Edit, Head, Host, InstanceName, Maintenance, Metadata, PathPrefix, Route, RouteId,
    Sections, ServiceName, SessionId, SessionKey, Time, Topics,
};
use signalbox::proxy::{Proxy, Settings};
use signalbox::traffic::{Defaults, Table};

use crate::Process;

/// Starts it on core 0. Where it listens.
pub fn start(backend: &str) -> (Process, String) {
    let this = env::current_exe().expect("this program has a path");
    let mut child = Command::new("taskset");
    child.args(["-c", "0"]).arg(this).args(["serve", backend]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = Process(child.spawn().expect("this program runs"));
    let mut address = String::new();
    let said = process.0.stdout.take().expect("its output is piped");
    BufReader::new(said).read_line(&mut address).expect("it says where it listens");
    (process, address.trim().to_owned())
}

/// In the child: serves until its input ends.
pub fn serve(backend: &str) {
    let mut settings = Settings::new("127.0.0.1:0".parse().expect("an address"));
    settings.workers = 1;
    let table = Arc::new(ArcSwap::from_pointee(table(backend)));
    let proxy = Proxy::bind(&settings).and_then(|bound| bound.start(table)).expect("the proxy starts");
    println!("{}", proxy.address());
    let _ = io::stdin().read_to_end(&mut Vec::new());
}

fn table(backend: &str) -> Table {
    let mut catalog = Catalog::default();
    let key = SessionKey(1);
    let route = Route {
        id: RouteId(1),
        domains: vec![Host::parse("shop.example").expect("a host")],
        path: PathPrefix::root(),
        backend: BackendUrl::parse(&format!("http://{backend}")).expect("a backend"),
        priority: 0,
    };
    let edits = Arc::new([Edit::Route(RouteId(1), Some(Arc::new(route)))]);
    catalog.absorb(&Change::Head(key, head()));
    catalog.absorb(&Change::Apply { key, sections: Sections::ALL, edits });
    Table::build(&catalog, &Defaults::default())
}

/// Some session.
pub fn head() -> Arc<Head> {
    let instance = InstanceName::parse("shop-1").expect("a name");
    Arc::new(Head {
        id: SessionId::new(&instance, Time(0), 0),
        service: ServiceName::parse("shop").expect("a name"),
        instance,
        maintenance_port: 0,
        metadata: Metadata::default(),
        connected_at: Time(0),
        next_route: 1,
        revision: 0,
        last_apply: None,
        drain: None,
        maintenance: Maintenance::default(),
        topics: Topics::default(),
        replaced: None,
    })
}
