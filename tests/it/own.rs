//! No route, page or backend test leads to a listener of Signalbox itself.

use serde_json::{Value, json};

use crate::interfaces::{self, InterfaceClient};
use crate::server::Server;
use crate::support::wire::Wire;

fn refused(interface: &mut dyn InterfaceClient, verb: &str, arguments: &Value) {
    let said = match interface.call(verb, arguments) {
        Err(refusal) => refusal.message,
        // A backend test that fails is an answer.
        Ok(answer) => answer["error"].as_str().map(str::to_owned).unwrap_or_default(),
    };
    let why = ["is Signalbox itself", "one that Signalbox itself listens on"];
    assert!(why.iter().any(|why| said.contains(why)), "{} {verb} {arguments}: {said}", interface.name());
}

#[test]
fn no_interface_stages_a_route_a_page_or_a_test_that_leads_back_and_nobody_is_evicted_through_the_proxy() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut victim = server.connect();
    let session = victim.register("victim", "victim-1");
    for mut interface in interfaces::all(&server) {
        let instance = format!("{}-1", interface.name().to_lowercase());
        let interface = &mut *interface;
        let names = json!({ "service": "evil", "instance": instance, "maintenance_port": 1, "metadata": {} });
        let sid = interface.call("REGISTER", &names).unwrap()["session_id"].clone();
        let bare = |url: &str| json!({ "domains": ["evil.example"], "path": "/", "backend_url": url, "priority": 0 });
        let route = |url: &str| {
            let mut route = bare(url);
            route["session"] = sid.clone();
            route
        };
        // One that is allowed, to be led astray.
        interface.call("ROUTE_ADD", &route("http://127.0.0.1:1")).unwrap();
        for port in [server.api.port(), server.pipe.port(), server.proxy.port()] {
            for host in ["127.0.0.1", "localhost", "LOCALHOST.", "a.localhost", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]"]
            {
                let url = format!("http://{host}:{port}");
                refused(interface, "ROUTE_ADD", &route(&url));
                refused(interface, "ROUTE_ADD_BULK", &json!({ "session": sid, "routes": [bare(&url)] }));
                refused(interface, "ROUTE_UPDATE", &json!({ "session": sid, "route_id": "r1", "backend_url": url }));
                let page = format!("{url}/v1/overview");
                refused(interface, "MAINT_ENTER", &json!({ "session": sid, "target": "ALL", "page_url": page }));
                refused(interface, "BACKEND_TEST", &json!({ "session": sid, "backend_url": url }));
            }
        }
        interface.call("CONFIG_APPLY", &json!({ "session": sid })).unwrap();
        let evict = "DELETE /v1/instances/victim/victim-1 HTTP/1.1\r\nhost: evil.example\r\n\r\n";
        let mut client = Wire::connect(server.proxy);
        client.send(evict);
        let answer = client.message().unwrap();
        assert_eq!(answer.status(), 502, "what listens at port 1, if anything, is not Signalbox");
    }
    assert_eq!(victim.ask(&format!("PING|{session}")), "PONG");
}
