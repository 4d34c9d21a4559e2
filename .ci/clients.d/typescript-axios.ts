// A session by the client that openapi-generator writes for axios.
import assert from "node:assert/strict";
import { isAxiosError } from "axios";
import {
    ConfigApi, Configuration, OperationsApi, OperatorsApi, type Problem, Reason, RoutesApi, RouteStatus,
    SessionsApi,
} from "./typescript-axios/index";

async function main(basePath: string) {
    const registration = { service_name: "clients", instance_name: "typescript-axios", metadata: { version: "1.4" } };
    const { data: { session_id } } = await new SessionsApi(new Configuration({ basePath })).register({ registration });
    const configuration = new Configuration({ basePath, accessToken: session_id });
    const [sessions, routes] = [new SessionsApi(configuration), new RoutesApi(configuration)];
    const [config, operations] = [new ConfigApi(configuration), new OperationsApi(configuration)];

    const newRoute = { domains: ["axios.example"], path: "/", backend_url: "http://127.0.0.1:1" };
    const { data: { route_id } } = await routes.addRoute({ newRoute });
    assert.deepEqual((await config.diffConfig()).data.routes.added, [route_id]);
    assert.equal((await config.applyConfig()).data.revision, 1);
    const [route] = (await routes.listRoutes()).data;
    assert.deepEqual([route?.route_id, route?.status], [route_id, RouteStatus.Active]);
    const { data: stats } = await operations.getStats({ target: route_id });
    assert.deepEqual(stats.map(({ route_id, requests }) => [route_id, requests]), [[route_id, 0]]);
    assert.equal((await config.getConfig()).data.active.routes[0]?.backend, newRoute.backend_url);
    const { data: found } = await operations.testBackend({ backendTest: { backend_url: newRoute.backend_url } });
    assert.equal(found.reachable, false);
    await operations.startDrain({ startDrain: { duration: "1h" } });
    const instance = { service: registration.service_name, instance: registration.instance_name };
    const { data: detail } = await new OperatorsApi(configuration).getInstance(instance);
    assert.deepEqual([detail.routes_active, detail.drain?.active, detail.token], [1, true, null]);

    const problem: Problem | undefined = await routes.removeRoute({ routeId: "r99" }).then(
        () => assert.fail("a route that is not there"),
        (error: unknown) => {
            assert(isAxiosError<Problem>(error));
            return error.response?.data;
        },
    );
    assert.deepEqual([problem?.status, problem?.kind], [404, Reason.NotFound]);
    await sessions.endSession();
}

main(process.argv[2] ?? "").catch((error) => { console.error(error); process.exitCode = 1; });
