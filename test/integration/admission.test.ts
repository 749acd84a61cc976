import assert from "node:assert/strict";
import { Agent, createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, it } from "node:test";
import type { Snapshot } from "#model/snapshot.ts";
import type { TrafficPolicy } from "#model/traffic_policy.ts";
import { type Answer, get } from "#test/kit/http.ts";
import { counterOf, simpleSnapshot, startPlane } from "#test/kit/proxy.ts";

const close: Array<() => Promise<unknown> | unknown> = [];
afterEach(async () => {
  for (const act of close.splice(0).reverse()) await act();
});

/**
 * An endpoint that answers its oldest request as soon as more than so many run, and none before: it stands still
 * where it is not kept busy.
 */
class BusyOrigin {
  readonly server: Server;
  readonly #held: ServerResponse[] = [];
  #keeps: number;
  /** The most that ran at once, and all that it has answered. */
  most = 0;
  served = 0;

  constructor(keeps = 0) {
    this.#keeps = keeps;
    this.server = createServer((_request, response) => {
      this.most = Math.max(this.most, this.#held.push(response));
      if (this.#held.length > this.#keeps) this.#answer();
    });
    close.push(() => this.server.closeAllConnections());
  }

  /** From now on nobody waits. */
  letGo(): void {
    this.#keeps = 0;
    while (this.#held.length > 0) this.#answer();
  }

  #answer(): void {
    this.served++;
    this.#held.shift()!.end("done");
  }

  async start(): Promise<number> {
    await new Promise<void>((resolve) => this.server.listen(0, "127.0.0.1", resolve));
    close.push(() => new Promise((resolve) => this.server.close(resolve)));
    return (this.server.address() as AddressInfo).port;
  }
}

function governed(port: number, policy: TrafficPolicy): Snapshot {
  const snapshot = simpleSnapshot([port]);
  return { ...snapshot, services: snapshot.services.map((one) => ({ ...one, policy })) };
}

async function proxy(snapshot: Snapshot) {
  const started = await startPlane(snapshot);
  close.push(() => started.plane.drain(0));
  return started;
}

/** Asks again and again, one request at a time, until it is enough. */
async function client(port: number, priority: string, enough: () => boolean): Promise<Answer[]> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const answers: Answer[] = [];
  while (!enough()) {
    const answer = await get(port, { agent, headers: { "x-class": priority }, timeoutMs: 60_000 });
    answers.push(answer);
    // Who is refused comes back later: 150 clients that do not wait would keep this process from all else.
    if (answer.status !== 200) await new Promise((resolve) => setTimeout(resolve, 250));
  }
  agent.destroy();
  return answers;
}

describe("admission", { timeout: 120_000 }, () => {
  it("answers 429 over a rate limit, and says when to come again", async () => {
    const origin = new BusyOrigin();
    const limit = { name: 'wr"ites', scope: "Local", rate: 0.01, burst: 3 } as const;
    const policy: TrafficPolicy = { rateLimits: [limit] };
    const { plane, port } = await proxy(governed(await origin.start(), policy));
    const answers: Answer[] = [];
    for (let i = 0; i < 5; i++) answers.push(await get(port));
    assert.deepEqual(
      answers.map(({ status }) => status),
      [200, 200, 200, 429, 429],
    );
    const { headers, body } = answers[3]!;
    const wait = Number(headers["retry-after"]);
    assert.ok(wait > 90 && wait <= 100, `${wait}`);
    assert.equal(headers["ratelimit-policy"], '"wr\\"ites";q=1;w=100');
    assert.equal(headers["ratelimit"], `"wr\\"ites";r=0;t=${wait}`);
    assert.match(body, /^429 rate_limited/);
    const metrics = await plane.metricsText();
    assert.equal(counterOf(metrics, "espalier_rate_limited_total"), 2);
    assert.equal(counterOf(metrics, "espalier_requests_shed_total", 'reason="rate_limited"'), 2);
    assert.equal(counterOf(metrics, "espalier_requests_admitted"), 0);
  });

  it("counts each client for itself", async () => {
    const origin = new BusyOrigin();
    const by = { type: "Header", name: "X-Key" } as const;
    const limit = { name: "each", scope: "Local", rate: 0.01, burst: 1, by } as const;
    const { port } = await proxy(governed(await origin.start(), { rateLimits: [limit] }));
    const statuses: number[] = [];
    for (const key of ["one", "one", "two", "two"]) {
      statuses.push((await get(port, { headers: { "x-key": key } })).status);
    }
    assert.deepEqual(statuses, [200, 429, 200, 429]);
  });

  it("tells callers of gRPC in their words", async () => {
    const origin = new BusyOrigin();
    const limit = { name: "calls", scope: "Local", rate: 0.01, burst: 1 } as const;
    const { port } = await proxy(governed(await origin.start(), { rateLimits: [limit] }));
    const headers = { "content-type": "application/grpc" };
    await get(port, { method: "POST", headers, body: "x" });
    const answer = await get(port, { method: "POST", headers, body: "x" });
    assert.equal(answer.status, 200);
    assert.equal(answer.headers["grpc-status"], "8");
    const wait = Number(answer.headers["grpc-retry-pushback-ms"]);
    assert.ok(wait > 90_000 && wait <= 100_000, `${wait}`);
  });

  it("keeps an endpoint busy and its critical clients unharmed while three times as much comes as it bears", async () => {
    const bears = 50;
    const origin = new BusyOrigin(0.9 * bears);
    const policy: TrafficPolicy = {
      // An endpoint that stands still when it is not busy is none to learn from.
      limits: { requests: bears, adaptive: false },
      priority: { header: "x-class" },
    };
    const { plane, port } = await proxy(governed(await origin.start(), policy));
    const enough = () => {
      if (origin.served >= 1_000) origin.letGo();
      return origin.served >= 1_000;
    };
    const run = (count: number, priority: string) =>
      Promise.all(Array.from({ length: count }, () => client(port, priority, enough)));
    const [critical, others, sheddable] = await Promise.all([
      run(10, "critical"),
      run(90, "default"),
      run(50, "sheddable"),
    ]);
    const failed = (answers: Answer[][]) =>
      answers.flat().filter(({ status }) => status !== 200).length;
    assert.equal(failed(critical), 0);
    assert.ok(failed(others) > 0);
    assert.ok(failed(sheddable) / 50 > failed(others) / 90, "the least important first");
    const refused = others.flat().find(({ status }) => status !== 200)!;
    assert.equal(refused.status, 503);
    assert.equal(refused.headers["retry-after"], "1");
    assert.match(refused.body, /^503 shed/);
    assert.ok(origin.most <= bears * 1.25, `${origin.most}`);
    const metrics = await plane.metricsText();
    const shed = counterOf(metrics, "espalier_requests_shed_total", 'priority="default"');
    assert.equal(shed, failed(others));
    assert.equal(counterOf(metrics, "espalier_requests_admitted"), 0);
  });
});
