import assert from "node:assert/strict";
import { connect, type Socket } from "node:net";
import { after, afterEach, before, describe, it } from "node:test";
import type { LocalPlane } from "#proxy/app/local_plane.ts";
import { rawExchange } from "#test/kit/http.ts";
import { until } from "#test/kit/processes.ts";
import { counterOf, simpleSnapshot, startPlane } from "#test/kit/proxy.ts";
import { Recorder } from "#test/kit/recorder.ts";

const POST = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
const HALF_A_HEAD = "HTTP/1.1 200 OK\r\nContent-Le";
const HEAD = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n";
const HALF = `${HEAD}half`;
const LONG = "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\nhalf";
const CHUNK = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n";
const WHOLE = `${HEAD}whole, or`;
/** Long enough for a test, short enough for its reader. */
const STALL_MS = 200;

/** Where things go wrong on their way. */
const endpoint = new Recorder();
let plane: LocalPlane;
let port: number;

async function metric(name: string, labels = ""): Promise<number> {
  return counterOf(await plane.metricsText(), name, labels);
}

const failures = (kind: string): Promise<number> =>
  metric("espalier_failures_total", `kind="${kind}"`);

/** Nothing runs, nobody is connected, no connection is busy. */
async function isQuiet(): Promise<void> {
  await until("nothing runs any more", async () => {
    const text = await plane.metricsText();
    return (
      counterOf(text, "espalier_requests_inflight") === 0 &&
      counterOf(text, "espalier_connections_open") === 0 &&
      counterOf(text, "espalier_upstream_connections", 'state="busy"') === 0
    );
  });
}

/** The service is as it was: a request of its own connection gets its own answer. */
async function stillServes(): Promise<void> {
  endpoint.onData = (socket) => socket.write(WHOLE);
  assert.match(await rawExchange(port, POST), /^HTTP\/1\.1 200 OK\r\n[\s\S]*whole, or$/);
}

/** The next request gets a connection of its own: a used one that fails may be called stale. */
async function noneIdle(): Promise<void> {
  for (const socket of endpoint.sockets) socket.destroy();
  await until("no connection is left", async () => {
    return (await metric("espalier_upstream_connections")) === 0;
  });
}

async function start(change: Parameters<typeof simpleSnapshot>[1]): Promise<void> {
  const started = await startPlane(simpleSnapshot([await endpoint.start()], change));
  ({ plane, port } = started);
}

async function stop(): Promise<void> {
  await plane.drain(0);
  await endpoint.stop();
}

afterEach(isQuiet);

/** What the endpoint does when it is asked; what the client gets; what is counted. */
type Row = readonly [
  what: string,
  act: (socket: Socket) => void,
  said: RegExp,
  kind: string | undefined,
];

/** Acts a moment later: a reset behind the text, sent at once, could overtake it. */
function later(socket: Socket, text: string, act: (socket: Socket) => void): void {
  socket.write(text, () => setTimeout(() => act(socket), 30));
}

const reset = (socket: Socket): void => void socket.resetAndDestroy();
const end = (socket: Socket): void => void socket.end();
const stall = (): void => {};
const CUT_LENGTH =
  /^HTTP\/1\.1 200 OK\r\ndate: [^\r]+\r\ncontent-length: 9\r\nconnection: close\r\n\r\n(?:half)?$/;
const CUT_CHUNK = /\r\n\r\n4\r\nhalf\r\n$/;
const BAD = /^HTTP\/1\.1 502 /;
const LATE = /^HTTP\/1\.1 504 /;
const FINE = /^HTTP\/1\.1 200 OK\r\n[\s\S]*\r\n\r\nwhole, or$/;

const ROWS: readonly Row[] = [
  ["resets before it answers", reset, BAD, "closed_early"],
  ["ends before it answers", end, BAD, "closed_early"],
  ["resets inside the head", (s) => later(s, HALF_A_HEAD, reset), BAD, "closed_early"],
  ["ends inside the head", (s) => later(s, HALF_A_HEAD, end), BAD, "closed_early"],
  ["resets behind the head", (s) => later(s, HEAD, reset), CUT_LENGTH, "answer_truncated"],
  ["resets inside the body", (s) => later(s, HALF, reset), CUT_LENGTH, "answer_truncated"],
  ["ends inside the body", (s) => later(s, HALF, end), CUT_LENGTH, "answer_truncated"],
  ["resets between chunks", (s) => later(s, CHUNK, reset), CUT_CHUNK, "answer_truncated"],
  ["ends between chunks", (s) => later(s, CHUNK, end), CUT_CHUNK, "answer_truncated"],
  ["says less than it promised", (s) => void s.end(HALF), CUT_LENGTH, "answer_truncated"],
  ["says more than it promised", (s) => void s.write(`${WHOLE} more`), FINE, undefined],
  ["answers twice", (s) => void s.write(WHOLE + WHOLE), FINE, undefined],
  ["ends its side behind the answer", (s) => void s.end(WHOLE), FINE, undefined],
  ["resets behind the answer", (s) => later(s, WHOLE, reset), FINE, undefined],
  ["never answers", stall, LATE, "deadline"],
  ["stops inside the head", (s) => later(s, HALF_A_HEAD, stall), LATE, "deadline"],
  [
    "stops behind an interim answer",
    (s) => later(s, "HTTP/1.1 102 x\r\n\r\n", stall),
    /102[\s\S]*HTTP\/1\.1 504 /,
    "deadline",
  ],
  ["stops inside the body", (s) => later(s, HALF, stall), CUT_LENGTH, "deadline"],
];

describe("an endpoint that", { timeout: 60_000 }, () => {
  before(() => start({ requestTimeoutMs: STALL_MS }));
  after(stop);

  for (const [what, act, said, kind] of ROWS) {
    it(`${what}: the client can tell, it is counted, nothing stays behind`, async () => {
      await noneIdle();
      const before = kind === undefined ? 0 : await failures(kind);
      endpoint.onData = act;
      assert.match(await rawExchange(port, POST, 5_000), said);
      if (kind !== undefined) assert.equal(await failures(kind), before + 1);
      await stillServes();
      if (kind === undefined) return;
      await until("the endpoint is let go of", () => endpoint.sockets.size <= 1);
    });
  }
});

describe("an endpoint that stops where nobody limits the whole", { timeout: 60_000 }, () => {
  before(() => start({ rules: { streamIdleMs: STALL_MS } }));
  after(stop);

  it("inside the body: the client can tell", async () => {
    endpoint.onData = (socket) => void socket.write(CHUNK);
    assert.match(await rawExchange(port, POST, 5_000), CUT_CHUNK);
    assert.equal(await failures("stream_idle"), 1);
    await stillServes();
  });
});

describe("a client that vanishes", { timeout: 60_000 }, () => {
  before(() => start({}));
  after(stop);

  /** A client that says `text`, and what came back. */
  async function client(text: string): Promise<{ socket: Socket; said: () => string }> {
    const socket = connect(port, "127.0.0.1");
    let said = "";
    socket.on("error", () => {});
    socket.on("data", (chunk) => {
      said += chunk.toString("latin1");
    });
    await new Promise<void>((resolve) => socket.write(text, () => resolve()));
    return { socket, said: () => said };
  }

  const GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
  const ASK_LENGTH = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n";
  const ASK_CHUNKS = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  /** How an answer goes on, or begins. */
  const MORE: Readonly<Record<string, string>> = { "": WHOLE, [LONG]: "m", [CHUNK]: "1\r\nm\r\n" };
  const close = (socket: Socket): void => void socket.destroy();
  const gone = async () => (await failures("client_closed")) + (await failures("bad_request"));

  const WAYS: ReadonlyArray<readonly [way: string, go: (socket: Socket) => void]> = [
    ["by a reset", reset],
    ["by closing", close],
  ];

  for (const [way, go] of WAYS) {
    it(`inside a head, ${way}: counted, and the endpoint hears of nothing`, async () => {
      endpoint.forget();
      const refused = () => metric("espalier_requests_refused_total");
      const before = await refused();
      const { socket } = await client("GET / HTTP/1.1\r\nHost: a\r\n");
      await until("it is read", async () => {
        const [taken] = await plane.inventory();
        return taken!.clients.some(({ state, bytesIn }) => state === "head" && bytesIn > 0);
      });
      go(socket);
      await until("it is counted", async () => (await refused()) === before + 1);
      assert.equal(endpoint.seen, "");
    });

    for (const [stage, ask, answer, heard] of [
      ["inside a body", `${ASK_LENGTH}half`, "", /half$/],
      ["inside a chunk", `${ASK_CHUNKS}9\r\nhalf`, "", /half\r\n$/],
      ["while it waits", GET, "", /\r\n\r\n$/],
      ["while it is answered", GET, LONG, /\r\n\r\n$/],
      ["between chunks of its answer", GET, CHUNK, /\r\n\r\n$/],
    ] as const) {
      it(`${stage}, ${way}: the endpoint's request is given up, and counted`, async () => {
        await noneIdle();
        endpoint.forget();
        endpoint.onData = (socket) => void (answer !== "" && socket.write(answer));
        const before = await gone();
        const { socket, said } = await client(ask);
        await until("the endpoint has heard it", () => heard.test(endpoint.seen));
        if (answer !== "") await until("the answer arrives", () => said().includes("half"));
        go(socket);
        // Who only says no more may still read: that nobody does shows when something is said to them.
        const goesOn = go === close && ask === GET ? MORE[answer] : undefined;
        if (goesOn === WHOLE) {
          for (const one of endpoint.sockets) one.write(WHOLE);
          return;
        }
        await until("it is counted", async () => {
          if (goesOn !== undefined) for (const one of endpoint.sockets) one.write(goesOn);
          return (await gone()) === before + 1;
        });
        await until("the endpoint is let go of", () => endpoint.sockets.size === 0);
        await stillServes();
      });
    }
  }
});
