// A session by the client that openapi-generator writes for fetch.
import assert from "node:assert/strict";
import {
    ConfigApi, Configuration, OperationsApi, OperatorsApi, type Problem, ProblemFromJSON, Reason, ResponseError,
    RoutesApi, RouteStatus, SessionsApi,
} from "./typescript-fetch/index";

async function main(basePath: string) {
    const registration = { serviceName: "clients", instanceName: "typescript-fetch", metadata: { version: "1.4" } };
    const { sessionId } = await new SessionsApi(new Configuration({ basePath })).register({ registration });
    const configuration = new Configuration({ basePath, accessToken: sessionId });
    const [sessions, routes] = [new SessionsApi(configuration), new RoutesApi(configuration)];
    const [config, operations] = [new ConfigApi(configuration), new OperationsApi(configuration)];

    const newRoute = { domains: ["fetch.example"], path: "/", backendUrl: "http://127.0.0.1:1" };
    const { routeId } = await routes.addRoute({ newRoute });
    assert.deepEqual((await config.diffConfig()).routes.added, [routeId]);
    assert.equal((await config.applyConfig()).revision, 1);
    const [route] = await routes.listRoutes();
    assert.deepEqual([route?.routeId, route?.status], [routeId, RouteStatus.Active]);
    const stats = await operations.getStats({ target: routeId });
    assert.deepEqual(stats.map(({ routeId, requests }) => [routeId, requests]), [[routeId, 0]]);
    assert.equal((await config.getConfig()).active.routes[0]?.backend, newRoute.backendUrl);
    assert.equal((await operations.testBackend({ backendTest: { backendUrl: newRoute.backendUrl } })).reachable, false);
    await operations.startDrain({ startDrain: { duration: "1h" } });
    const instance = { service: registration.serviceName, instance: registration.instanceName };
    const detail = await new OperatorsApi(configuration).getInstance(instance);
    assert.deepEqual([detail.routesActive, detail.drain?.active, detail.token], [1, true, null]);
    assert(detail.drain?.startedAt instanceof Date);

    const problem: Problem = await routes.removeRoute({ routeId: "r99" }).then(
        () => assert.fail("a route that is not there"),
        async (error: unknown) => {
            assert(error instanceof ResponseError);
            return ProblemFromJSON(await error.response.json());
        },
    );
    assert.deepEqual([problem.status, problem.kind], [404, Reason.NotFound]);
    await sessions.endSession();
}

main(process.argv[2] ?? "").catch((error) => { console.error(error); process.exitCode = 1; });
