import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, describe, it } from "node:test";
import { FrameType, Setting } from "#proxy/http2/frames.ts";
import { gatewayYaml } from "#test/kit/gateway.ts";
import { get } from "#test/kit/http.ts";
import { RawHttp2, word } from "#test/kit/http2_raw.ts";
import { RawHttp2Server } from "#test/kit/http2_raw_server.ts";
import { EspalierProcess, until } from "#test/kit/processes.ts";
import { metricOf } from "#test/kit/promtool.ts";
import { counterOf } from "#test/kit/proxy.ts";

const CLIENTS = 200;
const MB = 1_048_576;
/** Bytes that each takes one by one: fewer than would be a flood. */
const SINGLE = 100;
/**
 * By how much all of them may let the proxy grow, MB. What they have asked for are 200; of each, what a buffer of the
 * kernel and one window hold may lie here.
 */
const GROWN_MB = 100;
const WINDOW = 65_535;

const ROUTES = [
  "{ matches: [{ path: { type: PathPrefix, value: /never } }], backendRefs: [{ name: never, port: 80 }] }",
  "{ backendRefs: [{ name: origin, port: 80 }] }",
];

/** Clients and endpoints of HTTP/2 who open no window, or a byte at a time: of what waits for them little lies here. */
describe("HTTP/2 windows that stay small", { timeout: 120_000 }, () => {
  let dir: string;
  let proxy: EspalierProcess;
  let port: number;
  let admin: number;
  const body = Buffer.alloc(MB, "x");
  const origin = createServer({ keepAliveTimeout: 60_000 }, (asked, answer) => {
    asked.resume();
    asked.on("end", () => answer.end(asked.url === "/small" ? "ok" : body));
  });
  /** Reads nothing of what it is sent. */
  const never = new RawHttp2Server({ opensWindows: false });
  const clients: RawHttp2[] = [];

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), "espalier-windows-"));
    await new Promise<void>((resolve) => origin.listen(0, "127.0.0.1", 1_024, resolve));
    const { port: at } = origin.address() as AddressInfo;
    const yaml = gatewayYaml(ROUTES, { origin: [at], never: [await never.start()] });
    const [first, second] = yaml.split("metadata: { name: never }");
    const file = join(dir, "edge.yaml");
    const h2c = second!.replace("port: 80 }", "port: 80, appProtocol: kubernetes.io/h2c }");
    await writeFile(file, `${first}metadata: { name: never }${h2c}`);
    proxy = new EspalierProcess(["proxy", "-f", file, "--admin", "127.0.0.1:0"]);
    ({ port } = await proxy.ready("default/edge/http"));
    admin = (await proxy.ready("admin")).port;
    for (let i = 0; i < 200; i++) await get(port, { path: "/small" });
  });
  after(async () => {
    await proxy.stop("SIGKILL");
    origin.closeAllConnections();
    origin.close();
    never.stop();
    await rm(dir, { recursive: true });
  });
  afterEach(() => {
    for (const { socket } of clients.splice(0)) socket.destroy();
  });

  const metrics = async (): Promise<string> => (await get(admin, { path: "/metrics" })).body;
  const memory = async (): Promise<number> =>
    metricOf(await metrics(), 'process_resident_memory_bytes{process="main"}')! / MB;

  const bytesOf = (client: RawHttp2, stream: number): number =>
    client.of(FrameType.DATA, stream).reduce((sum, { payload }) => sum + payload.length, 0);
  const opens = (client: RawHttp2, stream: number, bytes: number): void =>
    client.say(FrameType.WINDOW_UPDATE, 0, stream, word(bytes));

  /** Nothing of any body passes any more. */
  async function isStill(): Promise<void> {
    let before = -1;
    await until("nothing moves any more", async () => {
      const text = await metrics();
      const now =
        counterOf(text, "espalier_response_body_bytes_total") +
        counterOf(text, "espalier_request_body_bytes_total");
      const still = now === before;
      before = now;
      return still;
    });
  }

  it("of 200 readers of a megabyte: bounded with none, byte by byte, and usable after that", async (t) => {
    const at = await memory();
    for (let i = 0; i < CLIENTS; i++) {
      const client = new RawHttp2(port, [Setting.INITIAL_WINDOW_SIZE, 0]);
      clients.push(client);
      client.ask(1);
    }
    await until("all have heads", () =>
      clients.every((client) => client.of(FrameType.HEADERS, 1).length === 1),
    );
    await isStill();
    assert.ok(clients.every((client) => bytesOf(client, 1) === 0));
    const withNone = (await memory()) - at;
    assert.ok(withNone < GROWN_MB, `${withNone} MB`);
    for (let given = 1; given <= SINGLE; given++) {
      for (const client of clients) opens(client, 1, 1);
      await until("each has its byte", () =>
        clients.every((client) => bytesOf(client, 1) === given),
      );
    }
    const byBytes = (await memory()) - at;
    t.diagnostic(`${withNone.toFixed(0)} MB with no window, ${byBytes.toFixed(0)} MB byte by byte`);
    assert.ok(byBytes < GROWN_MB, `${byBytes} MB`);
    const floods = 'listener="default/edge/http",kind="window_update"';
    const counted = counterOf(await metrics(), "espalier_http2_idle_frames_total", floods);
    assert.ok(counted >= CLIENTS * SINGLE, `${counted}`);
    // Others are served meanwhile, on these connections too.
    for (const client of clients) {
      client.say(FrameType.HEADERS, 0x5, 3, client.block(headOf("GET", "/small")));
      opens(client, 3, 2);
    }
    await until("all are answered", () => clients.every((client) => bytesOf(client, 3) === 2));
    for (const client of clients.slice(0, 20)) {
      opens(client, 0, 4 * MB);
      opens(client, 1, MB);
    }
    await until("the rest has come", () =>
      clients.slice(0, 20).every((client) => bytesOf(client, 1) === MB),
    );
    assert.ok(clients.every(({ closed }) => !closed));
  });

  it("of an endpoint: uploads to it stop at their client, and hold little here", async (t) => {
    const at = await memory();
    const uploads = new Uploads(port, 100);
    clients.push(uploads.client);
    await uploads.stalled(isStill);
    const grown = (await memory()) - at;
    t.diagnostic(`${(uploads.bytes / MB).toFixed(1)} MB taken, ${grown.toFixed(0)} MB grown`);
    // What all streams of a connection may hold, and its window.
    assert.ok(uploads.bytes < 3 * MB, `${uploads.bytes} bytes taken`);
    for (const stream of uploads.streams) {
      assert.ok(uploads.sent(stream) <= 4 * WINDOW, `${uploads.sent(stream)}`);
    }
    assert.ok(grown < GROWN_MB, `${grown} MB`);
    assert.equal((await get(port, { path: "/small" })).status, 200);
  });

  it("of an endpoint: a few uploads that it stalls do not stop the others of their connection", async () => {
    const uploads = new Uploads(port, 10);
    clients.push(uploads.client);
    await uploads.stalled(isStill);
    const other = uploads.begin("/small");
    await until("the other is answered", () => {
      if (uploads.sent(other) < MB) uploads.send(other);
      else uploads.end(other);
      return uploads.client.of(FrameType.HEADERS, other).length > 0 && uploads.sent(other) >= MB;
    });
  });
});

/** A client that sends as much as windows allow. */
class Uploads {
  readonly client: RawHttp2;
  readonly streams: readonly number[];
  readonly #sent = new Map<number, number>([[0, 0]]);
  #last = -1;
  #ended = false;

  /** @param count of streams to the endpoint that reads nothing. */
  constructor(port: number, count: number) {
    this.client = new RawHttp2(port);
    this.streams = Array.from({ length: count }, () => this.begin("/never"));
  }

  /** Bytes of all of them. */
  get bytes(): number {
    return this.#sent.get(0)!;
  }

  sent(stream: number): number {
    return this.#sent.get(stream)!;
  }

  begin(path: string): number {
    this.#last += 2;
    this.client.say(FrameType.HEADERS, 0x4, this.#last, this.client.block(headOf("POST", path)));
    this.#sent.set(this.#last, 0);
    return this.#last;
  }

  send(stream: number): void {
    const bytes = Math.min(16_384, this.#left(stream), this.#left(0));
    if (bytes <= 0) return;
    this.client.say(FrameType.DATA, 0, stream, Buffer.alloc(bytes));
    this.#sent.set(stream, this.sent(stream) + bytes);
    this.#sent.set(0, this.bytes + bytes);
  }

  end(stream: number): void {
    if (!this.#ended) this.client.say(FrameType.DATA, 1, stream);
    this.#ended = true;
  }

  /** Sends until none of them may. @param isStill until nothing moves in the proxy. */
  async stalled(isStill: () => Promise<void>): Promise<void> {
    for (let before = -1; this.bytes !== before; ) {
      before = this.bytes;
      await isStill();
      for (let i = 0; i < 8; i++) for (const stream of this.streams) this.send(stream);
    }
    assert.ok(this.bytes > 0);
  }

  #left(stream: number): number {
    const updates = this.client.of(FrameType.WINDOW_UPDATE, stream);
    const given = updates.reduce((sum, { payload }) => sum + payload.readUInt32BE(0), WINDOW);
    return given - this.sent(stream);
  }
}

function headOf(method: string, path: string): ReadonlyArray<readonly [string, string]> {
  return [
    [":method", method],
    [":scheme", "http"],
    [":authority", "a"],
    [":path", path],
  ];
}
