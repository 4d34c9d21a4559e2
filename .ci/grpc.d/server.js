// A gRPC server whose messages are plain bytes. Prints its port.
const grpc = require("@grpc/grpc-js");

const same = (bytes) => bytes;
const method = (name, requestStream, responseStream) => ({
  path: `/test.Echo/${name}`, requestStream, responseStream,
  requestSerialize: same, requestDeserialize: same, responseSerialize: same, responseDeserialize: same,
});
let cancelled = 0;
const waiting = [];
const release = () => (waiting.length ? waiting.shift()() : (cancelled += 1));

const server = new grpc.Server({ "grpc.max_receive_message_length": 64 << 20, "grpc.max_send_message_length": 64 << 20 });
server.addService({
  Unary: method("Unary", false, false), Collect: method("Collect", true, false), Count: method("Count", false, true),
  Echo: method("Echo", true, true), Fail: method("Fail", false, false), Hang: method("Hang", false, false),
  WasCancelled: method("WasCancelled", false, false),
}, {
  Unary(call, answer) {
    const trailer = new grpc.Metadata();
    trailer.set("x-trailer", "of the call");
    answer(null, call.request, trailer);
  },
  Collect(call, answer) {
    const parts = [];
    call.on("data", (part) => parts.push(part));
    call.on("end", () => answer(null, Buffer.concat(parts)));
  },
  Count(call) {
    for (let number = 0; number < Number(call.request.toString()); number++) call.write(Buffer.from(String(number)));
    call.end();
  },
  Echo(call) {
    call.on("data", (said) => call.write(said));
    call.on("end", () => call.end());
  },
  Fail(call, answer) {
    answer({ code: grpc.status.FAILED_PRECONDITION, details: "not today: \u00e4 100%" });
  },
  Hang(call) {
    call.on("cancelled", release);
  },
  WasCancelled(call, answer) {
    if (cancelled > 0) {
      cancelled -= 1;
      return answer(null, Buffer.from("yes"));
    }
    waiting.push(() => answer(null, Buffer.from("yes")));
  },
});
server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  console.log(port);
});
