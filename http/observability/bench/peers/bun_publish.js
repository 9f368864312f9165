// Bun: publishes the snapshot to a topic that every client has joined; it is encoded once per tick.
import { dlopen, ptr } from "bun:ffi";

const [port, file, interval] = process.argv.slice(2);
const snapshot = JSON.parse(await Bun.file(file).text());
const health = JSON.stringify({ status: "healthy", service: "observability" });
const json = { headers: { "Content-Type": "application/json" } };
let text;

// Bun has no call that returns the clock of the load generator, CLOCK_MONOTONIC; its own counts from its start.
const time = new BigInt64Array(2);
dlopen("libc.so.6", { clock_gettime: { args: ["i32", "ptr"], returns: "i32" } }).symbols.clock_gettime(1, ptr(time));
const offset = Number(time[0] * 1000000000n + time[1]) - Bun.nanoseconds();

const server = Bun.serve({
  port: Number(port),
  hostname: "127.0.0.1",
  fetch(request, server) {
    const path = new URL(request.url).pathname;
    if (path === "/api/metrics/current") return new Response(text, json);
    if (path === "/health") return new Response(health, json);
    if (path === "/ws/metrics" && server.upgrade(request)) return undefined;
    return new Response("", { status: 404 });
  },
  websocket: {
    perMessageDeflate: true,
    open(client) {
      client.subscribe("metrics");
    },
    message() {},
  },
});

function tick() {
  snapshot.seq += 1;
  snapshot.timestamp = new Date().toISOString();
  snapshot.mono_ns = Math.round(offset + Bun.nanoseconds());
  text = JSON.stringify(snapshot);
  server.publish("metrics", text);
}

let due = performance.now();
(function next() {
  tick();
  due += interval * 1000;
  setTimeout(next, Math.max(0, due - performance.now()));
})();
