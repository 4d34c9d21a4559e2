// Calls a server through the proxy in every way.
const assert = require("node:assert");
const grpc = require("@grpc/grpc-js");

const [proxy, authority] = process.argv.slice(2);
const same = (bytes) => bytes;
const client = (authority) => new grpc.Client(proxy, grpc.credentials.createInsecure(), {
  "grpc.default_authority": authority, "grpc.max_receive_message_length": 64 << 20, "grpc.max_send_message_length": 64 << 20,
});
const within = (secs) => ({ deadline: Date.now() + secs * 1000 });

/** Makes a unary call; resolves with the error, the answer and the trailers. */
function call(on, name, request, options = within(30), began = () => {}) {
  return new Promise((resolve) => {
    const result = {};
    const made = on.makeUnaryRequest(`/test.Echo/${name}`, same, same, Buffer.from(request), options, (error, answer) => {
      Object.assign(result, { error, answer });
    });
    made.on("status", (status) => setImmediate(() => resolve({ ...result, status })));
    began(made);
  });
}

async function main() {
  const on = client(authority);
  const first = await call(on, "Unary", "hello");
  assert.equal(first.answer.toString(), "hello");
  assert.deepEqual(first.status.metadata.get("x-trailer"), ["of the call"]);
  const large = Buffer.alloc(16 << 20, "0123456789");
  assert.ok((await call(on, "Unary", large, within(60))).answer.equals(large));

  const collected = await new Promise((resolve, reject) => {
    const stream = on.makeClientStreamRequest("/test.Echo/Collect", same, same, within(30), (error, answer) => error ? reject(error) : resolve(answer));
    ["a", "b", "c"].forEach((part) => stream.write(Buffer.from(part)));
    stream.end();
  });
  assert.equal(collected.toString(), "abc");

  let next = 0;
  for await (const said of on.makeServerStreamRequest("/test.Echo/Count", same, same, Buffer.from("1000"), within(30))) {
    assert.equal(said.toString(), String(next++));
  }
  assert.equal(next, 1000);

  // Each message is sent after the answer to the one before: the streams flow in both directions at once.
  const both = on.makeBidiStreamRequest("/test.Echo/Echo", same, same, within(30));
  let heard = 0;
  both.write(Buffer.from("0"));
  for await (const said of both) {
    assert.equal(said.toString(), String(heard++));
    heard < 100 ? both.write(Buffer.from(String(heard))) : both.end();
  }
  assert.equal(heard, 100);

  const failed = await call(on, "Fail", "");
  assert.deepEqual([failed.error.code, failed.error.details], [grpc.status.FAILED_PRECONDITION, "not today: \u00e4 100%"]);
  assert.equal((await call(on, "Unknown", "")).error.code, grpc.status.UNIMPLEMENTED);

  assert.equal((await call(on, "Hang", "", within(0.3))).error.code, grpc.status.DEADLINE_EXCEEDED);
  assert.equal((await call(on, "WasCancelled", "")).answer.toString(), "yes");
  const left = await call(on, "Hang", "", within(30), (made) => setTimeout(() => made.cancel(), 300));
  assert.equal(left.error.code, grpc.status.CANCELLED);
  assert.equal((await call(on, "WasCancelled", "")).answer.toString(), "yes");

  assert.equal((await call(client("nowhere.test"), "Unary", "")).error.code, grpc.status.UNIMPLEMENTED);
  assert.equal((await call(client("dead.test"), "Unary", "")).error.code, grpc.status.UNAVAILABLE);
  const limited = client("limited.test");
  await call(limited, "Unary", "");
  const { error } = await call(limited, "Unary", "");
  assert.equal(error.code, grpc.status.RESOURCE_EXHAUSTED);
  assert.ok(error.metadata.get("grpc-status-details-bin").length === 1);
  process.exit(0);
}
main().catch((error) => {
  console.error(error);
  process.exit(1);
});
