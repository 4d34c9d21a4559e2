// A session by the client that @hey-api/openapi-ts writes.
import assert from "node:assert/strict";
import {
    addRoute, applyConfig, diffConfig, endSession, getConfig, getInstance, getStats, listRoutes, register, removeRoute,
    startDrain, testBackend,
} from "./hey-api/index";
import { client } from "./hey-api/client.gen";

async function main(baseUrl: string) {
    client.setConfig({ baseUrl });
    const body = { service_name: "clients", instance_name: "hey-api", metadata: { version: "1.4" } };
    const { data: { session_id } } = await register({ body, throwOnError: true });
    client.setConfig({ auth: session_id });

    const newRoute = { domains: ["hey.example"], path: "/", backend_url: "http://127.0.0.1:1" };
    const { data: { route_id } } = await addRoute({ body: newRoute, throwOnError: true });
    assert.deepEqual((await diffConfig()).data?.routes.added, [route_id]);
    assert.equal((await applyConfig()).data?.revision, 1);
    const { data: routes } = await listRoutes();
    assert.deepEqual([routes?.[0]?.route_id, routes?.[0]?.status], [route_id, "active"]);
    const { data: stats } = await getStats({ query: { target: route_id } });
    assert.deepEqual(stats?.map(({ route_id, requests }) => [route_id, requests]), [[route_id, 0]]);
    assert.equal((await getConfig()).data?.active.routes[0]?.backend, newRoute.backend_url);
    const { data: found } = await testBackend({ body: { backend_url: newRoute.backend_url } });
    assert.equal(found?.reachable, false);
    await startDrain({ body: { duration: "1h" }, throwOnError: true });
    const path = { service: body.service_name, instance: body.instance_name };
    const { data: detail } = await getInstance({ path, throwOnError: true });
    assert.deepEqual([detail.routes_active, detail.drain?.active, detail.token], [1, true, null]);

    const { error: problem } = await removeRoute({ path: { route_id: "r99" } });
    assert.deepEqual([problem?.status, problem?.kind], [404, "not_found"]);
    await endSession({ throwOnError: true });
}

main(process.argv[2] ?? "").catch((error) => { console.error(error); process.exitCode = 1; });
