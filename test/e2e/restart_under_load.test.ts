import assert from "node:assert/strict";
import { Agent, createServer, type Server } from "node:http";
import {
  createServer as createHttp2,
  type Http2Server,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import type { AddressInfo } from "node:net";
import { after, before, describe, it } from "node:test";
import { get } from "#test/kit/http.ts";
import {
  clusterYaml,
  type ProcessCluster,
  ProcessMesh,
  serviceYaml,
} from "#test/kit/mesh_processes.ts";
import { PoliteHttp2, type PoliteRequest } from "#test/kit/polite_http2.ts";
import { freePort } from "#test/kit/ports.ts";
import { type EspalierProcess, until } from "#test/kit/processes.ts";

const MENU = "menu.shop.svc.acme.mesh";
const CALLS = "calls.shop.svc.acme.mesh";
const BODY = Buffer.alloc(3_000, "body ");
const MESSAGES = Array.from({ length: 10 }, (_, i) => Buffer.from(`message ${i};`));
const CALL: PoliteRequest = {
  ...{ method: "POST", host: CALLS, path: "/x.Y/Chat", messages: MESSAGES },
  headers: { "content-type": "application/grpc", te: "trailers" },
};

/** What the core's endpoints take longer: as long as the far store is there, it is nearer. */
const CORE_SLOWER_MS = 60;

/** A plain service and one of calls that stream both ways. Each sends back what it gets. */
class Origins {
  readonly #plain: Server;
  readonly #calls: Http2Server;
  readonly #sessions = new Set<ServerHttp2Session>();
  readonly served = { plain: 0, calls: 0 };

  constructor(delayMs: number) {
    this.#plain = createServer({ keepAliveTimeout: 60_000 }, (asked, answer) => {
      this.served.plain++;
      const chunks: Buffer[] = [];
      asked.on("data", (chunk: Buffer) => chunks.push(chunk));
      asked.on("end", () => setTimeout(() => answer.end(Buffer.concat(chunks)), delayMs));
    });
    this.#calls = createHttp2();
    this.#calls.on("session", (session) => {
      this.#sessions.add(session);
      session.on("error", () => {});
    });
    this.#calls.on("stream", (stream: ServerHttp2Stream) => {
      this.served.calls++;
      stream.on("error", () => {});
      stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
      setTimeout(() => {
        if (stream.destroyed) return;
        const head = { ":status": 200, "content-type": "application/grpc" };
        stream.respond(head, { waitForTrailers: true });
        stream.pipe(stream);
      }, delayMs);
    });
  }

  /** Its services' files. */
  async start(): Promise<Record<string, string>> {
    const [plain, calls] = await Promise.all([this.#plain, this.#calls].map(listening));
    const grpc = serviceYaml("calls", calls!, undefined, "grpc");
    return { "menu.yaml": serviceYaml("menu", plain!), "calls.yaml": grpc };
  }

  stop(): void {
    for (const session of this.#sessions) session.destroy();
    this.#calls.close();
    this.#plain.close();
    this.#plain.closeAllConnections();
  }
}

async function listening(server: Server | Http2Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return (server.address() as AddressInfo).port;
}

/** Requests of every kind at a steady rate until it is stopped, and what became of each. */
class Load {
  sent = 0;
  done = 0;
  readonly failures: string[] = [];
  readonly #timer: NodeJS.Timeout;

  constructor(kinds: ReadonlyMap<string, () => Promise<string | undefined>>) {
    const names = [...kinds.keys()];
    this.#timer = setInterval(() => {
      const name = names[this.sent++ % names.length]!;
      void kinds.get(name)!().then((problem) => {
        this.done++;
        if (problem !== undefined) this.failures.push(`${name}: ${problem}`);
      });
    }, 4);
  }

  async flows(more: number): Promise<void> {
    const due = this.done + more;
    await until("traffic flows", () => this.done >= due);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await until("all are answered", () => this.done === this.sent, 40_000);
  }
}

/** What the kinds of requests are answered with; undefined: as it should. */
function kindsOver(client: PoliteHttp2): Map<string, () => Promise<string | undefined>> {
  const plain = (method: string, body?: Buffer) => async () => {
    const asked = { method, host: MENU, path: "/", ...(body === undefined ? {} : { body }) };
    const { status, body: got, failed } = await client.ask(asked);
    if (failed !== undefined) return failed;
    const isRight = got.equals(body ?? Buffer.alloc(0));
    return status === 200 && isRight ? undefined : `status ${status}: ${got.subarray(0, 80)}`;
  };
  const call = async () => {
    const { status, body, trailers, failed } = await client.ask(CALL);
    if (failed !== undefined) return failed;
    const isRight = body.equals(Buffer.concat(MESSAGES)) && trailers["grpc-status"] === "0";
    return isRight ? undefined : `status ${status}: ${body.length} ${JSON.stringify(trailers)}`;
  };
  return new Map([
    ["GET over HTTP/2", plain("GET")],
    ["POST over HTTP/2", plain("POST", BODY)],
    ["PUT over HTTP/2", plain("PUT", BODY)],
    ["a streaming call", call],
  ]);
}

function kindsOverHttp1(
  port: number,
  agent: Agent,
): Map<string, () => Promise<string | undefined>> {
  const plain = (method: string, body?: Buffer) => () =>
    get(port, { host: MENU, method, agent, ...(body === undefined ? {} : { body }) }).then(
      (answer) => {
        const isRight = answer.body === (body?.latin1Slice() ?? "");
        return answer.status === 200 && isRight ? undefined : `${answer.status} ${answer.body}`;
      },
      (error: Error) => error.message,
    );
  return new Map([
    ["GET over HTTP/1.1", plain("GET")],
    ["POST over HTTP/1.1", plain("POST", BODY)],
    ["PUT over HTTP/1.1", plain("PUT", BODY)],
  ]);
}

/** Two stores below a core: the far one and the core serve, and the near one's gateway is who is asked. */
describe("a gateway that is started again under load", { timeout: 240_000 }, () => {
  let mesh: ProcessMesh;
  let core: ProcessCluster;
  let near: ProcessCluster;
  let far: ProcessCluster;
  let nearGateway: EspalierProcess;
  let farGateway: EspalierProcess;
  const ports = { near: 0, core: 0 };
  const origins = { core: new Origins(CORE_SLOWER_MS), far: new Origins(0) };

  /** Whose ports are where they were when its gateway is started again. */
  async function fixed(name: string, ingress: number): Promise<string> {
    return clusterYaml(name)
      .replace('listen: "127.0.0.1:0"', `listen: "127.0.0.1:${await freePort()}"`)
      .replace("port: 0, protocol", `port: ${ingress}, protocol`);
  }

  before(async () => {
    [ports.near, ports.core] = [await freePort(), await freePort()];
    mesh = await ProcessMesh.create();
    const cluster = async (name: string, port: number) => ({
      "cluster.yaml": await fixed(name, port),
    });
    core = await mesh.core({
      ...(await cluster("core.acme.mesh", ports.core)),
      ...(await origins.core.start()),
    });
    near = await mesh.child("store-1.acme.mesh", core, {
      ...(await cluster("store-1.acme.mesh", ports.near)),
    });
    far = await mesh.child("store-2.acme.mesh", core, {
      ...(await cluster("store-2.acme.mesh", await freePort())),
      ...(await origins.far.start()),
    });
    await core.startGateway();
    [nearGateway, farGateway] = await Promise.all([near.startGateway(), far.startGateway()]);
  });
  after(async () => {
    await mesh?.stop();
    for (const each of Object.values(origins)) each.stop();
  });

  /** The far store gets requests of both services. */
  async function farServes(load: Load): Promise<void> {
    const now = () => Object.values(origins.far.served);
    const before = now();
    await until("it serves", () => now().every((count, i) => count > before[i]! + 20), 60_000);
    await load.flows(100);
  }

  it("by a drain loses no request of its siblings, whatever the method", async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 16 });
    const client = new PoliteHttp2([ports.near]);
    const load = new Load(new Map([...kindsOver(client), ...kindsOverHttp1(ports.near, agent)]));
    await farServes(load);
    for (let round = 0; round < 2; round++) {
      const ended = farGateway.stop("SIGTERM");
      await load.flows(200);
      assert.equal(await ended, 0, farGateway.err);
      await load.flows(200);
      farGateway = await far.startGateway();
      await farServes(load);
    }
    await load.stop();
    client.close();
    agent.destroy();
    assert.deepEqual(load.failures, []);
    assert.equal(client.again, 0);
  });

  it("by another process that takes over loses none either", async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 16 });
    const client = new PoliteHttp2([ports.near]);
    const load = new Load(new Map([...kindsOver(client), ...kindsOverHttp1(ports.near, agent)]));
    await farServes(load);
    for (let round = 0; round < 2; round++) {
      const old = farGateway;
      farGateway = await far.startGateway();
      await load.flows(200);
      assert.equal(await old.ended(), 0, old.err);
      await farServes(load);
    }
    await load.stop();
    client.close();
    agent.destroy();
    assert.deepEqual(load.failures, []);
    assert.equal(client.again, 0);
  });

  it("sends its own clients elsewhere by GOAWAY, and they come back", async () => {
    const clients = [0, 1, 2, 3].map(() => new PoliteHttp2([ports.near, ports.core]));
    const load = new Load(
      new Map(
        clients.flatMap((client, i) =>
          [...kindsOver(client)].map(([name, ask]) => [`${i} ${name}`, ask] as const),
        ),
      ),
    );
    await load.flows(200);
    const told = () => clients.reduce((sum, { goaways }) => sum + goaways, 0);
    for (let round = 0; round < 2; round++) {
      const before = told();
      const ended = nearGateway.stop("SIGTERM");
      if (round === 0) await until("all have been told", () => told() === before + 4);
      assert.equal(await ended, 0, nearGateway.err);
      await load.flows(100);
      nearGateway = await near.startGateway();
      await load.flows(100);
    }
    for (let round = 0; round < 2; round++) {
      const old = nearGateway;
      nearGateway = await near.startGateway();
      assert.equal(await old.ended(), 0, old.err);
      await load.flows(100);
    }
    await load.stop();
    for (const client of clients) client.close();
    assert.deepEqual(load.failures, []);
  });
});
