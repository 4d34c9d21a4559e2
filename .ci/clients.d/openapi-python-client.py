"""A session by the client that openapi-python-client writes."""

import sys

from signalbox_client import AuthenticatedClient, Client
from signalbox_client.api.config import apply_config, diff_config, get_config
from signalbox_client.api.operations import get_stats, start_drain, test_backend
from signalbox_client.api.operators import get_instance
from signalbox_client.api.routes import add_route, list_routes, remove_route
from signalbox_client.api.sessions import end_session, register
from signalbox_client.models import BackendTest, NewRoute, Problem, Reason, Registration, RouteStatus, StartDrain

base_url = sys.argv[1]
registration = Registration(service_name="clients", instance_name="openapi-python-client")
with Client(base_url=base_url) as client:
    session_id = register.sync(client=client, body=registration).session_id

with AuthenticatedClient(base_url=base_url, token=session_id) as client:
    new = NewRoute(domains=["pure.example"], path="/", backend_url="http://127.0.0.1:1")
    route_id = add_route.sync(client=client, body=new).route_id
    assert diff_config.sync(client=client).routes.added == [route_id]
    assert apply_config.sync(client=client).revision == 1
    [route] = list_routes.sync(client=client)
    assert (route.route_id, route.status) == (route_id, RouteStatus.ACTIVE), route
    [stats] = get_stats.sync(client=client, target=route_id)
    assert (stats.route_id, stats.requests) == (route_id, 0), stats
    assert get_config.sync(client=client).active.routes[0].backend == new.backend_url
    assert not test_backend.sync(client=client, body=BackendTest(backend_url=new.backend_url)).reachable
    start_drain.sync(client=client, body=StartDrain(duration="1h"))
    detail = get_instance.sync("clients", "openapi-python-client", client=client)
    assert (detail.routes_active, detail.drain.active, detail.token) == (1, True, None), detail

    problem = remove_route.sync("r99", client=client)
    assert isinstance(problem, Problem), problem
    assert (problem.status, problem.kind) == (404, Reason.NOT_FOUND), problem
    assert end_session.sync_detailed(client=client).status_code == 204
