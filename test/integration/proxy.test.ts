import assert from "node:assert/strict";
import { createServer as createHttp, type IncomingMessage, type ServerResponse } from "node:http";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { after, afterEach, before, describe, it } from "node:test";
import type { LocalPlane } from "#proxy/app/local_plane.ts";
import { get, rawExchange } from "#test/kit/http.ts";
import { until } from "#test/kit/processes.ts";
import { simpleSnapshot, startPlane } from "#test/kit/proxy.ts";
import { countedBody, readSlowly, sendCounted } from "#test/kit/slow_reader.ts";

const close: Array<() => Promise<unknown> | unknown> = [];
afterEach(async () => {
  for (const act of close.splice(0).reverse()) await act();
});

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  close.push(() => new Promise((resolve) => server.close(resolve)));
  return (server.address() as AddressInfo).port;
}

/** A client that says what it is told to. */
class RawClient {
  readonly #socket: Socket;
  said = "";
  ended = false;

  constructor(port: number) {
    this.#socket = connect(port, "127.0.0.1");
    this.#socket.on("data", (chunk) => {
      this.said += chunk.toString("latin1");
    });
    this.#socket.on("error", () => {});
    this.#socket.on("end", () => {
      this.ended = true;
    });
    close.push(() => this.#socket.destroy());
  }

  send(text: string): void {
    this.#socket.write(text);
  }
}

/** An origin of `node:http`. */
async function httpOrigin(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<number> {
  const server = createHttp(answer);
  close.push(() => server.closeAllConnections());
  return listen(server);
}

/** An origin that says raw bytes. */
async function rawOrigin(answer: (socket: Socket, count: number) => void): Promise<number> {
  const sockets = new Set<Socket>();
  let count = 0;
  const port = await listen(
    createServer((socket) => {
      sockets.add(socket);
      socket.on("error", () => {});
      answer(socket, ++count);
    }),
  );
  close.push(() => {
    for (const socket of sockets) socket.destroy();
  });
  return port;
}

async function proxyTo(
  ports: readonly number[],
  change: Parameters<typeof simpleSnapshot>[1] = {},
): Promise<number> {
  const { plane, port } = await startPlane(simpleSnapshot(ports, change));
  close.push(() => plane.drain(0));
  return port;
}

describe("a proxy between real sockets", { timeout: 60_000 }, () => {
  it("passes requests and answers, whatever their framing", async () => {
    const origin = await httpOrigin((request, response) => {
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.on("end", () => {
        const body = Buffer.concat(chunks);
        if (request.url === "/chunked") response.write(body);
        else response.setHeader("content-length", body.length);
        response.end(request.url === "/chunked" ? "" : body);
      });
    });
    const port = await proxyTo([origin]);
    for (const size of [0, 1, 1_000, 16_384, 16_385, 70_000, 1_000_000]) {
      const body = Buffer.alloc(size, "abcdefghij");
      for (const path of ["/plain", "/chunked"]) {
        for (const framing of ["content-length", "chunked"]) {
          const headers: Record<string, string> =
            framing === "chunked"
              ? { "transfer-encoding": "chunked" }
              : { "content-length": String(size) };
          const answer = await get(port, { path, method: "POST", body, headers });
          assert.equal(answer.status, 200);
          assert.ok(answer.body === body.toString("latin1"), `${size} ${path} ${framing}`);
        }
      }
    }
  });

  it("reuses connections on both sides and answers pipelined requests in order", async () => {
    let connections = 0;
    const server = createHttp((request, response) => response.end(`you asked ${request.url}`));
    server.on("connection", () => connections++);
    const port = await proxyTo([await listen(server)]);
    close.push(() => server.closeAllConnections());
    const asked = Array.from({ length: 20 }, (_, i) => `GET /${i} HTTP/1.1\r\nhost: a\r\n`);
    const text = `${asked.join("\r\n")}connection: close\r\n\r\n`;
    const said = await rawExchange(port, text);
    assert.deepEqual(
      [...said.matchAll(/you asked \/(\d+)/g)].map(([, i]) => Number(i)),
      Array.from({ length: 20 }, (_, i) => i),
    );
    assert.equal(connections, 1);
  });

  it("answers HEAD, 204 and 304 without a body", async () => {
    const origin = await httpOrigin((request, response) => {
      response.statusCode = Number(request.url!.slice(1));
      if (request.method === "HEAD") response.setHeader("content-length", 42);
      response.end();
    });
    const port = await proxyTo([origin]);
    for (const path of ["/204", "/304"]) assert.equal((await get(port, { path })).body, "");
    const head = await get(port, { path: "/200", method: "HEAD" });
    assert.deepEqual([head.status, head.headers["content-length"]], [200, "42"]);
  });

  it("passes an answer that ends with its connection, and closes after it for old clients", async () => {
    const origin = await rawOrigin((socket) => {
      socket.once("data", () => socket.end("HTTP/1.0 200 OK\r\n\r\nuntil the end"));
    });
    const port = await proxyTo([origin]);
    const answer = await get(port);
    assert.deepEqual([answer.status, answer.body], [200, "until the end"]);
    const old = await rawExchange(port, "GET / HTTP/1.0\r\nhost: a\r\n\r\n");
    assert.match(
      old,
      /^HTTP\/1\.1 200 OK\r\ndate: [^\r]+\r\nconnection: close\r\n\r\nuntil the end$/,
    );
  });

  it("passes interim answers on", async () => {
    const origin = await rawOrigin((socket) => {
      socket.once("data", () => {
        socket.write("HTTP/1.1 100 Continue\r\n\r\n");
        socket.once("data", () => socket.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"));
      });
    });
    const port = await proxyTo([origin]);
    const socket = connect(port, "127.0.0.1");
    close.push(() => socket.destroy());
    let said = "";
    socket.on("data", (chunk) => {
      said += chunk.toString();
    });
    socket.write("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n");
    await until("100 arrives", () => said.startsWith("HTTP/1.1 100 Continue\r\n\r\n"));
    socket.write("body");
    await until("the answer arrives", () => said.endsWith("ok"));
  });

  it("removes forged mesh fields and those of one hop", async () => {
    let seen: IncomingMessage["headers"] = {};
    const origin = await httpOrigin((request, response) => {
      seen = request.headers;
      response.setHeader("x-mesh-refused", "no_candidate");
      response.end("ok");
    });
    const port = await proxyTo([origin]);
    const answer = await get(port, {
      headers: {
        "x-mesh-caller": "spiffe://core.acme.mesh/ns/a/sa/b",
        "x-mesh-path": "a.b",
        "x-forwarded-for": "203.0.113.9",
        forwarded: "for=203.0.113.9",
        "x-real-ip": "203.0.113.9",
        "proxy-connection": "x",
        "x-kept": "1",
      },
    });
    const { "user-agent": _agent, connection: _connection, ...rest } = seen;
    const { "x-request-id": id, traceparent, ...said } = rest;
    assert.match(String(id), /^[0-9a-f]{32}$/);
    assert.match(String(traceparent), /^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/);
    assert.deepEqual(said, {
      host: `127.0.0.1:${port}`,
      "x-kept": "1",
      "x-forwarded-for": "127.0.0.1",
      "x-forwarded-proto": "http",
      "x-forwarded-host": `127.0.0.1:${port}`,
      via: "1.1 core.acme.mesh",
    });
    assert.deepEqual([answer.status, answer.headers["x-mesh-refused"]], [200, undefined]);
  });

  it("refuses what is ambiguous before anything reaches an upstream", async () => {
    let asked = 0;
    const origin = await httpOrigin((_request, response) => {
      asked++;
      response.end("no");
    });
    const port = await proxyTo([origin]);
    for (const bad of [
      "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
      "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
      "GET / HTTP/1.1\nhost: a\n\n",
      "GET / HTTP/1.1\r\nhost: a\r\n folded\r\n\r\n",
      "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ]) {
      const said = await rawExchange(port, bad);
      assert.match(said, /^HTTP\/1\.1 400 Bad Request\r\n/, JSON.stringify(bad));
      assert.match(said, /proxy-status: core\.acme\.mesh; error=http_request_error/);
      assert.match(said, /connection: close/);
    }
    const long = `GET / HTTP/1.1\r\nhost: a\r\nx: ${"y".repeat(70_000)}\r\n\r\n`;
    assert.match(await rawExchange(port, long), /^HTTP\/1\.1 431 /);
    assert.equal(asked, 0);
  });

  it("cuts a body short that breaks its framing", async () => {
    const origin = await httpOrigin((request, response) => {
      request.resume();
      request.on("end", () => response.end("whole"));
      request.on("error", () => {});
    });
    const port = await proxyTo([origin]);
    const said = await rawExchange(
      port,
      "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n",
    );
    assert.match(said, /^HTTP\/1\.1 400 /);
    assert.doesNotMatch(said, /whole/);
  });

  it("tries a GET elsewhere when an endpoint fails, a POST only if nothing was sent", async () => {
    const bad = await rawOrigin((socket) => {
      socket.once("data", () => socket.destroy());
    });
    const fine = await httpOrigin((_request, response) => response.end("fine"));
    const port = await proxyTo([bad, fine]);
    for (let i = 0; i < 10; i++) assert.equal((await get(port)).body, "fine");
    const lonely = await proxyTo([bad]);
    const post = await get(lonely, { method: "POST", body: "x" });
    assert.deepEqual(
      [post.status, post.headers["proxy-status"]],
      [502, "core.acme.mesh; error=connection_terminated"],
    );
  });

  it("never sends a POST twice that an endpoint may have acted upon", async () => {
    let seen = 0;
    const bad = await rawOrigin((socket) => {
      socket.once("data", () => {
        seen++;
        socket.destroy();
      });
    });
    const fine = await httpOrigin((request, response) => {
      seen++;
      request.pipe(response);
    });
    const port = await proxyTo([bad, fine]);
    const statuses: number[] = [];
    for (let i = 0; i < 12; i++)
      statuses.push((await get(port, { method: "POST", body: "x" })).status);
    assert.equal(seen, 12);
    assert.ok(statuses.includes(502) && statuses.includes(200), statuses.join(" "));
  });

  it("sends a POST elsewhere when no connection could be made", async () => {
    const gone = await listen(createServer());
    await close.pop()!();
    const fine = await httpOrigin((request, response) => request.pipe(response));
    const port = await proxyTo([gone, fine]);
    for (let i = 0; i < 10; i++) {
      const { status, body } = await get(port, { method: "POST", body: `body ${i}` });
      assert.deepEqual([status, body], [200, `body ${i}`]);
    }
  });

  it("lets the client see that an answer was cut", async () => {
    const origin = await rawOrigin((socket) => {
      socket.once("data", () => {
        socket.write("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this");
        setTimeout(() => socket.destroy(), 50);
      });
    });
    const port = await proxyTo([origin]);
    await assert.rejects(get(port), /aborted|ECONNRESET|hang up/);
  });

  it("answers 502 for an answer that is none", async () => {
    const origin = await rawOrigin((socket) => {
      socket.once("data", () => socket.end("SSH-2.0-nonsense\r\n\r\n"));
    });
    const port = await proxyTo([origin]);
    const { status } = await get(port, { method: "POST", body: "" });
    assert.equal(status, 502);
  });

  it("keeps to the route's time limits", async () => {
    const silent = await rawOrigin((socket) => socket.resume());
    const port = await proxyTo([silent], { requestTimeoutMs: 200 });
    const answer = await get(port);
    assert.deepEqual(
      [answer.status, answer.headers["proxy-status"]],
      [504, "core.acme.mesh; error=http_response_timeout"],
    );
    const fine = await httpOrigin((_request, response) => response.end("fine"));
    const tries = await proxyTo([silent, fine], { backendTimeoutMs: 100 });
    for (let i = 0; i < 4; i++) assert.equal((await get(tries)).body, "fine");
  });

  it("holds little while a client does not read", async () => {
    let sent = 0;
    const origin = await httpOrigin((_request, response) => {
      const push = (): void => {
        let goesOn = true;
        while (goesOn && sent < 200_000_000) {
          sent += 65_536;
          goesOn = response.write(Buffer.alloc(65_536));
        }
      };
      response.on("drain", push);
      push();
    });
    const port = await proxyTo([origin]);
    const socket = connect(port, "127.0.0.1");
    close.push(() => socket.destroy());
    socket.pause();
    socket.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let before = -1;
    await until("the origin is held back", async () => {
      const still = sent === before && sent > 0;
      before = sent;
      await new Promise((resolve) => setTimeout(resolve, 200));
      return still;
    });
    assert.ok(sent < 20_000_000, `${sent} bytes were taken for nobody`);
  });

  it("delivers every byte in its place to clients that read by fits and starts", async () => {
    const body = countedBody(12_000_000);
    const origin = await httpOrigin((asked, answer) => sendCounted(body, asked, answer));
    const port = await proxyTo([origin]);
    const paths = ["/length", "/chunked", "/pieces", "/pieces"];
    await Promise.all(paths.map((path) => readSlowly(port, body, { path, host: "a" })));
  });

  it("tells the origin when the client has gone", async () => {
    let gone = false;
    const origin = await httpOrigin((request, response) => {
      response.on("close", () => {
        gone = !response.writableFinished;
      });
      request.resume();
    });
    const port = await proxyTo([origin]);
    const socket = connect(port, "127.0.0.1");
    socket.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    await new Promise((resolve) => setTimeout(resolve, 100));
    socket.resetAndDestroy();
    await until("the origin knows", () => gone);
  });

  it("ends running requests before it closes", async () => {
    const origin = await httpOrigin((_request, response) => {
      setTimeout(() => response.end("late"), 300);
    });
    const { plane, port } = await startPlane(simpleSnapshot([origin]));
    const running = get(port);
    await new Promise((resolve) => setTimeout(resolve, 100));
    const drained = plane.drain(5_000);
    // Who came before the port was closed is still served.
    await until("nobody is let in any more", () =>
      get(port).then(
        () => false,
        (error: NodeJS.ErrnoException) => error.code === "ECONNREFUSED",
      ),
    );
    const { status, body, headers } = await running;
    assert.deepEqual([status, body, headers["connection"]], [200, "late", "close"]);
    await drained;
  });

  it("serves who had just come when it began to drain, and closes who was idle", async () => {
    const origin = await httpOrigin((_request, response) => response.end("ok"));
    const { plane, port } = await startPlane(simpleSnapshot([origin]));
    const [idle, fresh] = [new RawClient(port), new RawClient(port)];
    idle.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    await until("the first is answered", () => idle.said.endsWith("ok"));
    await until("both have come", async () => (await plane.inventory())[0]!.clients.length === 2);
    const drained = plane.drain(60_000);
    await until("the idle one is closed", () => idle.ended);
    fresh.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    await until("the new one is served", () => fresh.ended);
    assert.match(fresh.said, /^HTTP\/1\.1 200 OK\r\n[\s\S]*connection: close\r\n[\s\S]*ok$/i);
    await drained;
  });
});

describe("a changing configuration", { timeout: 60_000 }, () => {
  let plane: LocalPlane;
  let port: number;
  const names = ["one", "two"];
  const origins: Server[] = [];

  before(async () => {
    for (const name of names) {
      const server = createHttp((_request, response) => response.end(name));
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      origins.push(server);
    }
    ({ plane, port } = await startPlane(simpleSnapshot([portOf(0)])));
  });
  after(async () => {
    await plane.drain(0);
    for (const server of origins) {
      (server as ReturnType<typeof createHttp>).closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  });
  const portOf = (i: number): number => (origins[i]!.address() as AddressInfo).port;

  it("moves to other endpoints on the same port without losing a connection", async () => {
    assert.equal((await get(port)).body, "one");
    plane.apply(simpleSnapshot([portOf(1)], { revision: "2" }));
    await plane.settled();
    assert.equal((await get(port)).body, "two");
  });

  it("says which listener could not be opened", async () => {
    const {
      plane: other,
      statuses,
      log,
    } = await startPlane(simpleSnapshot([portOf(0)], { listenerPort: port }));
    assert.match(statuses[0]!.problem!, /EADDRINUSE/);
    assert.ok(log.lines.some(({ level }) => level === "error"));
    await other.drain(0);
  });
});
