// A session by openapi-fetch, over the types that openapi-typescript writes.
import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { paths } from "./openapi-typescript/schema";

async function main(baseUrl: string) {
    const client = createClient<paths>({ baseUrl });
    const body = { service_name: "clients", instance_name: "openapi-typescript", metadata: { version: "1.4" } };
    const { data: registered } = await client.POST("/v1/sessions", { body });
    assert(registered);
    client.use({
        onRequest: ({ request }) => request.headers.set("Authorization", `Bearer ${registered.session_id}`),
    });

    const newRoute = { domains: ["types.example"], path: "/", backend_url: "http://127.0.0.1:1" };
    const { data: added } = await client.POST("/v1/session/routes", { body: newRoute });
    assert(added);
    const { data: diff } = await client.GET("/v1/session/config/diff");
    assert.deepEqual(diff?.routes.added, [added.route_id]);
    assert.equal((await client.POST("/v1/session/config/apply")).data?.revision, 1);
    const { data: routes } = await client.GET("/v1/session/routes");
    assert.deepEqual([routes?.[0]?.route_id, routes?.[0]?.status], [added.route_id, "active"]);
    const { data: stats } = await client.GET("/v1/session/stats", { params: { query: { target: added.route_id } } });
    assert.deepEqual(stats?.map(({ route_id, requests }) => [route_id, requests]), [[added.route_id, 0]]);
    const { data: config } = await client.GET("/v1/session/config");
    assert.equal(config?.active.routes[0]?.backend, newRoute.backend_url);
    const test = { backend_url: newRoute.backend_url };
    const { data: found } = await client.POST("/v1/session/backend-tests", { body: test });
    assert.equal(found?.reachable, false);
    await client.PUT("/v1/session/drain", { body: { duration: "1h" } });
    const path = { service: body.service_name, instance: body.instance_name };
    const { data: detail } = await client.GET("/v1/instances/{service}/{instance}", { params: { path } });
    assert.deepEqual([detail?.routes_active, detail?.drain?.active, detail?.token], [1, true, null]);

    const { error: problem } =
        await client.DELETE("/v1/session/routes/{route_id}", { params: { path: { route_id: "r99" } } });
    assert.deepEqual([problem?.status, problem?.kind], [404, "not_found"]);
    assert.equal((await client.DELETE("/v1/session")).response.status, 204);
}

main(process.argv[2] ?? "").catch((error) => { console.error(error); process.exitCode = 1; });
