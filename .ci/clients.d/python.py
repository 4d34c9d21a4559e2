"""A session by the client that openapi-generator writes for Python."""

import sys

import signalbox
from signalbox.models import BackendTest, Duration, NewRoute, Problem, Reason, Registration, RouteStatus, StartDrain

host = sys.argv[1]
registration = Registration(service_name="clients", instance_name="python", metadata={"version": "1.4"})
with signalbox.ApiClient(signalbox.Configuration(host=host)) as client:
    session_id = signalbox.SessionsApi(client).register(registration).session_id

with signalbox.ApiClient(signalbox.Configuration(host=host, access_token=session_id)) as client:
    routes, config = signalbox.RoutesApi(client), signalbox.ConfigApi(client)
    operations = signalbox.OperationsApi(client)

    new = NewRoute(domains=["python.example"], path="/", backend_url="http://127.0.0.1:1")
    route_id = routes.add_route(new).route_id
    assert config.diff_config().routes.added == [route_id]
    assert config.apply_config().revision == 1
    [route] = routes.list_routes()
    assert (route.route_id, route.status) == (route_id, RouteStatus.ACTIVE), route
    [stats] = operations.get_stats(target=route_id)
    assert (stats.route_id, stats.requests) == (route_id, 0), stats
    assert config.get_config().active.routes[0].backend == new.backend_url
    assert not operations.test_backend(BackendTest(backend_url=new.backend_url)).reachable
    operations.start_drain(StartDrain(duration=Duration("1h")))
    detail = signalbox.OperatorsApi(client).get_instance("clients", "python")
    assert (detail.routes_active, detail.drain.active, detail.token) == (1, True, None), detail

    try:
        routes.remove_route("r99")
        sys.exit("a route that is not there was removed")
    except signalbox.exceptions.NotFoundException as refused:
        problem = refused.data
    assert isinstance(problem, Problem), problem
    assert (problem.status, problem.kind) == (404, Reason.NOT_FOUND), problem
    signalbox.SessionsApi(client).end_session()
