import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { afterEach, describe, it } from "node:test";
import { until } from "#test/kit/processes.ts";
import { simpleSnapshot, startPlane } from "#test/kit/proxy.ts";
import { onHeads, RawClient, RawOrigin } from "#test/kit/raw.ts";

const close: Array<() => Promise<unknown> | unknown> = [];
afterEach(async () => {
  for (const act of close.splice(0).reverse()) await act();
});

/** A proxy before an origin that serves each connection so. */
async function through(serve: (socket: Socket, nth: number) => void) {
  const origin = new RawOrigin(serve);
  const { plane, port } = await startPlane(simpleSnapshot([await origin.start()]));
  close.push(
    () => origin.stop(),
    () => plane.drain(0),
  );
  const client = (first: string | Buffer): RawClient => {
    const one = new RawClient(port, first);
    close.push(() => one.socket.destroy());
    return one;
  };
  return { origin, client };
}

/** An origin that answers every head with the same text. */
function saying(answer: string): (socket: Socket) => void {
  return (socket) => onHeads(socket, () => socket.write(answer));
}

const EMPTY = "HTTP/1.1 204 No Content\r\n\r\n";
const OK = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const GET = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const LAST = "GET /last HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

/** The other side has said its last. */
function isOver(socket: Socket | undefined): boolean {
  return socket !== undefined && (socket.destroyed || socket.readableEnded);
}

describe("methods", { timeout: 60_000 }, () => {
  it("OPTIONS * goes to the route for everything, as it is", async () => {
    const { origin, client } = await through(saying(EMPTY));
    await client("OPTIONS * HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").rest();
    assert.match(origin.heard, /^OPTIONS \* HTTP\/1\.1\r\nhost: a\r\n/);
  });

  it("OPTIONS goes as far as Max-Forwards lets it", async () => {
    const { origin, client } = await through(saying(OK));
    const ask = (more: string): Promise<string> =>
      client(`OPTIONS / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n${more}\r\n`).rest();
    assert.match(await ask("max-forwards: 0\r\n"), /^HTTP\/1\.1 204 /);
    for (const bad of ["-1", "", "1.5", "1, 2", "9999999999"]) {
      assert.match(await ask(`max-forwards: ${bad}\r\n`), /^HTTP\/1\.1 400 /, bad);
    }
    assert.match(await ask("max-forwards: 2\r\nmax-forwards: 2\r\n"), /^HTTP\/1\.1 400 /);
    assert.equal(origin.sockets.length, 0);
    assert.match(await ask("max-forwards: 5\r\n"), /^HTTP\/1\.1 200 /);
    assert.match(origin.heard, /\r\nmax-forwards: 4\r\n/);
    const get = "GET / HTTP/1.1\r\nhost: a\r\nmax-forwards: 0\r\nconnection: close\r\n\r\n";
    assert.match(await client(get).rest(), /^HTTP\/1\.1 200 /);
  });

  it("TRACE is 501 and reaches nobody", async () => {
    const { origin, client } = await through(saying(OK));
    assert.match(await client("TRACE / HTTP/1.1\r\nhost: a\r\n\r\n").rest(), /^HTTP\/1\.1 501 /);
    assert.equal(origin.sockets.length, 0);
  });

  it("GET with a body uses its endpoint's connection up: some would read the body as a request", async () => {
    const { origin, client } = await through(saying(OK));
    const get = "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody";
    const one = client(get);
    await one.hears("ok");
    one.send(LAST);
    await one.rest();
    assert.equal(origin.sockets.length, 2);
    assert.match(origin.said[0]!, /\r\n\r\nbody$/);
    assert.match(origin.said[1]!, /^GET \/last /);
  });

  it("an absolute target goes on in origin form, with its host", async () => {
    const { origin, client } = await through(saying(EMPTY));
    await client(
      "GET http://A.example:80/x?y HTTP/1.1\r\nhost: a.example:80\r\nconnection: close\r\n\r\n",
    ).rest();
    assert.match(origin.heard, /^GET \/x\?y HTTP\/1\.1\r\nhost: a\.example:80\r\n/);
  });
});

describe("answers", { timeout: 60_000 }, () => {
  const FRAMED: ReadonlyArray<readonly [string, string, string, RegExp]> = [
    [
      "HEAD keeps the length",
      "HEAD",
      "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n",
      /content-length: 9\r\n/,
    ],
    [
      "HEAD of a chunked one has no length",
      "HEAD",
      "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
      /^(?!.*content-length)/s,
    ],
    [
      "304 keeps the length",
      "GET",
      "HTTP/1.1 304 x\r\ncontent-length: 9\r\n\r\n",
      /content-length: 9\r\n/,
    ],
    [
      "204 has none",
      "GET",
      "HTTP/1.1 204 x\r\ncontent-length: 0\r\n\r\n",
      /^(?!.*content-length)/s,
    ],
    ["205 is empty", "GET", "HTTP/1.1 205 x\r\ncontent-length: 0\r\n\r\n", /content-length: 0\r\n/],
  ];
  for (const [what, method, answer, expected] of FRAMED) {
    it(`without a body: ${what}, and the next follows on both connections`, async () => {
      const { origin, client } = await through((socket) =>
        onHeads(socket, (head) => socket.write(head.includes("/last") ? OK : answer)),
      );
      const said = await client(`${method} / HTTP/1.1\r\nhost: a\r\n\r\n${LAST}`).rest();
      const [first, second] = said.split(/(?=HTTP\/1\.1 )/);
      assert.match(first!, expected);
      assert.doesNotMatch(first!, /transfer-encoding/);
      assert.ok(first!.endsWith("\r\n\r\n"), said);
      assert.ok(second!.endsWith("\r\n\r\nok"), said);
      assert.equal(origin.sockets.length, 1);
    });
  }

  it("bear a date: their own, or the time at which they came", async () => {
    const own = "Sun, 06 Nov 1994 08:49:37 GMT";
    const { client } = await through((socket) =>
      onHeads(socket, (_head, nth) =>
        socket.write(
          nth === 0 ? `HTTP/1.1 200 OK\r\ndate: ${own}\r\ncontent-length: 0\r\n\r\n` : OK,
        ),
      ),
    );
    const one = client(GET);
    await one.hears("\r\n\r\n");
    assert.match(one.said, new RegExp(`\\r\\ndate: ${own}\\r\\n`));
    assert.equal(one.said.match(/date:/g)!.length, 1);
    const before = Math.floor(Date.now() / 1_000) * 1_000;
    for (const ask of [
      LAST,
      "nonsense\r\n\r\n",
      "OPTIONS / HTTP/1.1\r\nhost: a\r\nmax-forwards: 0\r\nconnection: close\r\n\r\n",
    ]) {
      const said = await client(ask).rest();
      const date = Date.parse(/\r\ndate: ([^\r]+ GMT)\r\n/.exec(said)![1]!);
      assert.ok(date >= before && date <= Date.now(), said);
    }
  });

  it("and requests lose what Connection names, and nothing else", async () => {
    const { origin, client } = await through(
      saying(
        "HTTP/1.1 302 Found\r\nlocation: http://other:81/a/../b\r\nconnection: x-hop, keep-alive\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\nproxy-connection: x\r\nx-kept: 2\r\ncontent-length: 0\r\n\r\n",
      ),
    );
    const said = await client(
      "GET / HTTP/1.1\r\nhost: a\r\nconnection: X-Mine, close\r\nx-mine: 1\r\nkeep-alive: 1\r\nx-other: 2\r\n\r\n",
    ).rest();
    assert.doesNotMatch(origin.heard, /x-mine|keep-alive|connection/i);
    assert.match(origin.heard, /\r\nx-other: 2\r\n/);
    assert.doesNotMatch(said, /x-hop|keep-alive|proxy-connection/);
    assert.match(said, /\r\nlocation: http:\/\/other:81\/a\/\.\.\/b\r\n.*x-kept: 2\r\n/s);
  });

  it("that end with their connection end here with a last chunk, or visibly cut", async () => {
    const { client } = await through((socket, nth) =>
      onHeads(socket, () => {
        socket.write("HTTP/1.1 200 OK\r\n\r\nall of it");
        if (nth === 0) socket.end();
        else setImmediate(() => socket.resetAndDestroy());
      }),
    );
    const whole = client(GET);
    await whole.hears("0\r\n\r\n");
    assert.match(whole.said, /transfer-encoding: chunked\r\n\r\n9\r\nall of it\r\n0\r\n\r\n$/);
    assert.equal(whole.ended, false);
    const cut = await client(GET).rest();
    assert.doesNotMatch(cut, /\r\n0\r\n\r\n$/);
  });

  it("come in the order of pipelined requests, up to the first that is wrong", async () => {
    const { origin, client } = await through((socket) =>
      onHeads(socket, (head) => {
        const path = head.split(" ")[1]!;
        const answer = `HTTP/1.1 200 OK\r\ncontent-length: ${path.length}\r\n\r\n${path}`;
        // The earlier, the later.
        setTimeout(() => socket.write(answer), path === "/1" ? 50 : 1);
      }),
    );
    const ask = (path: string, more = ""): string =>
      `GET ${path} HTTP/1.1\r\nhost: a\r\n${more}\r\n`;
    const said = await client(
      `${ask("/1")}${ask("/2")}${ask("/bad", "content-length : 1\r\n")}${ask("/3")}`,
    ).rest();
    assert.match(said, /^HTTP\/1\.1 200.*\r\n\r\n\/1HTTP\/1\.1 200.*\r\n\r\n\/2HTTP\/1\.1 400 /s);
    assert.equal(said.match(/HTTP\/1\.1 /g)!.length, 3, said);
    assert.doesNotMatch(origin.heard, /bad|\/3/);
  });
});

describe("HTTP/1.0", { timeout: 60_000 }, () => {
  const CHUNKED =
    "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n";

  it("clients get no chunks, no interim answers, and the connection's end", async () => {
    const { origin, client } = await through(saying(CHUNKED));
    const said = await client(
      "POST / HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\nhi",
    ).rest();
    assert.match(said, /^HTTP\/1\.1 200 OK\r\n/);
    assert.match(said, /connection: close\r\n\r\nok$/);
    assert.doesNotMatch(said, /transfer-encoding|103|x-sum/);
    assert.doesNotMatch(origin.heard, /expect/);
    assert.match(origin.heard, /via: 1\.0 core\.acme\.mesh\r\n/);
  });

  it("clients keep their connection if they ask and the length is known", async () => {
    const { client } = await through(saying(OK));
    const one = client("GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n");
    await one.hears("ok");
    assert.match(one.said, /content-length: 2\r\n.*connection: keep-alive\r\n\r\nok$/s);
    one.send("GET / HTTP/1.0\r\n\r\n");
    assert.match(await one.rest(), /okHTTP\/1\.1 200 .*connection: close\r\n\r\nok$/s);
  });

  it("clients that ask for it get no connection kept where only its end ends the body", async () => {
    const { client } = await through(saying(CHUNKED));
    const said = await client("GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n").rest();
    assert.match(said, /connection: close\r\n\r\nok$/);
  });

  it("endpoints are believed about their connection", async () => {
    const { origin, client } = await through((socket, nth) =>
      onHeads(socket, () => {
        const more = nth === 0 ? "connection: keep-alive\r\ncontent-length: 2\r\n" : "";
        socket.write(`HTTP/1.0 200 OK\r\n${more}\r\nok`);
        if (nth > 0 || origin.heard.includes("/2")) socket.end();
      }),
    );
    const one = client(`GET /1 HTTP/1.1\r\nhost: a\r\n\r\n${"GET /2 HTTP/1.1\r\nhost: a\r\n\r\n"}`);
    await until("both", () => one.said.split("ok").length === 3);
    assert.equal(origin.sockets.length, 1);
    one.send("GET /3 HTTP/1.1\r\nhost: a\r\n\r\n");
    await one.hears("2\r\nok\r\n0\r\n\r\n");
    assert.equal(origin.sockets.length, 2);
  });
});

describe("expectations and early answers", { timeout: 60_000 }, () => {
  const ASK = "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";

  it("100-continue goes to the endpoint, and its word back", async () => {
    const { origin, client } = await through((socket) => {
      onHeads(socket, () => socket.write("HTTP/1.1 100 Continue\r\n\r\n"));
      socket.on("data", (chunk) => {
        if (chunk.toString().endsWith("body")) socket.write(OK);
      });
    });
    const one = client(ASK);
    await one.hears("HTTP/1.1 100 Continue\r\n\r\n");
    assert.match(origin.heard, /\r\nexpect: 100-continue\r\n.*\r\n\r\n$/s);
    one.send(`body${LAST.replace("GET /last", "GET /x")}`);
    await one.hears("ok");
    assert.doesNotMatch(one.said, /connection: close\r\n.*ok/s);
  });

  it("an answer in place of 100 reaches the client, and ends the connection", async () => {
    const { origin, client } = await through((socket) =>
      onHeads(socket, () => socket.write("HTTP/1.1 413 No\r\ncontent-length: 2\r\n\r\nno")),
    );
    const said = await client(ASK).rest();
    assert.match(said, /^HTTP\/1\.1 413 No\r\n.*connection: close\r\n\r\nno$/s);
    await until("the endpoint is let go", () => isOver(origin.sockets[0]));
  });

  it("other expectations are refused, for servers differ about them", async () => {
    const { origin, client } = await through(saying(OK));
    const said = await client(LAST.replace("\r\nconn", "\r\nexpect: miracles\r\nconn")).rest();
    assert.match(said, /^HTTP\/1\.1 417 /);
    assert.equal(origin.heard, "");
  });

  it("early hints are passed on", async () => {
    const hint = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\nx-mesh-refused: y\r\n\r\n";
    const { client } = await through(saying(hint + hint + OK));
    const one = client(GET);
    await one.hears("ok");
    const heard = /HTTP\/1\.1 103 Early Hints\r\nlink: <\/a\.css>\r\n\r\n/g;
    assert.equal(one.said.match(heard)!.length, 2);
    assert.doesNotMatch(one.said, /x-mesh/);
  });

  it("an endpoint that hints and hints is given up", async () => {
    const { client } = await through(saying("HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100) + OK));
    const one = client("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
    await one.hears("HTTP/1.1 502 ");
  });

  it("a refusal in the middle of an upload is heard, however much is still on its way", async () => {
    const { origin, client } = await through((socket) =>
      socket.once("data", () => {
        socket.write("HTTP/1.1 413 Too Much\r\ncontent-length: 2\r\n\r\nno");
        socket.resume();
      }),
    );
    const one = client("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
    // Reads nothing before all is sent, as a simple client would.
    one.socket.pause();
    one.send(`10000\r\n${"x".repeat(65_536)}\r\n`.repeat(64));
    await until("it has sent all", () => one.socket.writableLength === 0 || one.closed);
    one.socket.resume();
    const said = await one.rest();
    assert.match(said, /^HTTP\/1\.1 413 Too Much\r\n.*connection: close\r\n\r\nno$/s);
    await until("the endpoint is let go", () => isOver(origin.sockets[0]));
  });

  it("a refusal by an endpoint that closes at once is heard all the same", async () => {
    const { client } = await through((socket) =>
      socket.once("data", () => {
        // With the rest of the request unread: a reset.
        const answer = "HTTP/1.1 413 Too Much\r\ncontent-length: 2\r\n\r\nno";
        socket.write(answer, () => socket.destroy());
      }),
    );
    for (let i = 0; i < 20; i++) {
      const one = client("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
      one.send(`10000\r\n${"x".repeat(65_536)}\r\n`.repeat(16));
      assert.match(await one.rest(), /^HTTP\/1\.1 413 .*\r\n\r\nno$/s);
    }
  });

  it("a request that ends inside its body is told so", async () => {
    const { origin, client } = await through(() => {});
    const one = client("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc");
    await until("it has come", () => origin.heard.endsWith("abc"));
    one.socket.end();
    assert.match(await one.rest(), /^HTTP\/1\.1 400 .*connection: close\r\n/s);
    await until("the endpoint is let go", () => isOver(origin.sockets[0]));
  });
});

describe("trailers", { timeout: 60_000 }, () => {
  it("go both ways with what announces them; TE is said anew for each connection", async () => {
    const { origin, client } = await through((socket) =>
      socket.on("data", (chunk) => {
        if (!chunk.toString().includes("\r\n0\r\n")) return;
        socket.write(
          "HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 1\r\nset-cookie: a=b\r\n\r\n",
        );
      }),
    );
    const one = client(
      "POST / HTTP/1.1\r\nhost: a\r\nte: deflate;q=0.5, trailers\r\nconnection: te\r\ntrailer: x-end\r\ntransfer-encoding: chunked\r\n\r\n",
    );
    one.send("2\r\nhi\r\n0\r\nx-end: 2\r\nauthorization: no\r\n\r\n");
    await one.hears("0\r\nx-sum: 1\r\n\r\n");
    assert.match(one.said, /\r\ntrailer: x-sum\r\n/);
    assert.match(origin.heard, /\r\ntrailer: x-end\r\n/);
    assert.match(origin.heard, /\r\nte: trailers\r\nconnection: te\r\n/);
    assert.match(origin.heard, /\r\n0\r\nx-end: 2\r\n\r\n$/);
    assert.doesNotMatch(one.said, /set-cookie/);
  });

  it("are not asked for where the client does not take them", async () => {
    const { origin, client } = await through(saying(EMPTY));
    for (const te of ["", "te: deflate\r\n", "te: trailersx\r\n"]) {
      await client(`GET / HTTP/1.1\r\nhost: a\r\nconnection: close, te\r\n${te}\r\n`).rest();
    }
    assert.equal(origin.heard.match(/GET/g)!.length, 3);
    assert.doesNotMatch(origin.heard, /\nte:/);
  });
});
