// node with ws: the snapshot is encoded once per tick, and every client and request gets that text.
"use strict";
const http = require("node:http");
const { readFileSync } = require("node:fs");
const { WebSocketServer } = require("ws");

const [port, file, interval] = process.argv.slice(2);
const snapshot = JSON.parse(readFileSync(file, "utf8"));
const health = JSON.stringify({ status: "healthy", service: "observability" });
let text;

function reply(response, body) {
  response.writeHead(200, { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body) });
  response.end(body);
}

const server = http.createServer((request, response) => {
  if (request.url === "/api/metrics/current") reply(response, text);
  else if (request.url === "/health") reply(response, health);
  else response.writeHead(404, { "Content-Length": 0 }).end();
});
server.keepAliveTimeout = 0;
const clients = new WebSocketServer({ server, path: "/ws/metrics", perMessageDeflate: true }).clients;

function tick() {
  snapshot.seq += 1;
  snapshot.timestamp = new Date().toISOString();
  snapshot.mono_ns = Number(process.hrtime.bigint());
  text = JSON.stringify(snapshot);
  const message = Buffer.from(text);
  for (const client of clients) if (client.readyState === 1) client.send(message, { binary: false });
}

let due = performance.now();
(function next() {
  tick();
  due += interval * 1000;
  setTimeout(next, Math.max(0, due - performance.now()));
})();
server.listen({ port: Number(port), host: "127.0.0.1", backlog: 4096 });
