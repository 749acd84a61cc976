import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import type { ConnectionOptions } from "node:tls";
import { seededRng } from "#kernel/rng.ts";
import { TimerWheel } from "#kernel/timer_wheel.ts";
import { VirtualClock } from "#kernel/virtual_clock.ts";
import type { ConnectionRules, Endpoint, ServiceTls } from "#model/snapshot.ts";
import type {
  AnswerHead,
  AnswerSink,
  RequestHead,
  UpstreamStream,
} from "#proxy/exchange/exchange.ts";
import type { Failure } from "#proxy/exchange/failure.ts";
import { CONNECTION_LIMITS } from "#proxy/exchange/limits.ts";
import { HttpUpstreams } from "#proxy/upstream/http_upstreams.ts";
import { UpstreamCounters } from "#proxy/upstream/upstream_counters.ts";
import { until } from "#test/kit/processes.ts";

/** What one request to a pool has met. */
export class Asked implements AnswerSink {
  stream: UpstreamStream | undefined = undefined;
  status = 0;
  ended = false;
  failure: Failure | undefined = undefined;
  drains = 0;
  /** Called when the request has failed: another try, say. */
  onFailed: () => void = () => {};

  onInterim(): void {}
  onAnswer(head: AnswerHead): void {
    this.status = head.status;
  }
  onAnswerBody(): boolean {
    return true;
  }
  onAnswerEnd(): void {
    this.ended = true;
  }
  onRequestDrain(): void {
    this.drains++;
  }
  onFailure(reason: Failure): void {
    this.failure = reason;
    this.onFailed();
  }
}

/** An endpoint whose every connection the test holds in its hands. */
export class HeldOrigin {
  readonly server: Server;
  /** In the order in which they came. */
  readonly sockets: Socket[] = [];
  /** What each has said. */
  readonly said: string[] = [];
  closed = 0;

  private constructor() {
    this.server = createServer({ allowHalfOpen: true }, (socket) => {
      const i = this.sockets.push(socket) - 1;
      this.said.push("");
      socket.on("data", (chunk) => {
        this.said[i] += chunk.toString("latin1");
      });
      socket.on("end", () => socket.end());
      socket.on("error", () => {});
      socket.on("close", () => this.closed++);
    });
  }

  static async start(): Promise<HeldOrigin> {
    const origin = new HeldOrigin();
    await new Promise<void>((resolve) => origin.server.listen(0, "127.0.0.1", resolve));
    return origin;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** Everything that came, of all connections. */
  get all(): string {
    return this.said.join("");
  }

  /** Answers the running request of a connection once the whole of `target` has come there. */
  async answer(i: number, target: string, more = ""): Promise<void> {
    await until(
      `${target} on connection ${i}`,
      () => this.said[i]?.includes(` ${target} `) === true,
    );
    this.sockets[i]!.write(`HTTP/1.1 200 OK\r\ncontent-length: 0\r\n${more}\r\n`);
  }

  stop(): void {
    for (const socket of this.sockets) socket.destroy();
    this.server.close();
  }
}

/** Pools under a clock that the test turns. @param early the chance by which connections end early, 0 to 1. */
export class TestPools {
  readonly clock = new VirtualClock();
  readonly wheel = new TimerWheel(this.clock);
  readonly counters = new UpstreamCounters();
  readonly endpoint: Endpoint;
  readonly upstreams: HttpUpstreams;
  readonly #http2: boolean;

  constructor(
    port: number,
    rules: ConnectionRules | undefined,
    more: {
      early?: number;
      /** Of a peer of the mesh. */
      tls?: ConnectionOptions;
      /** Of an endpoint that is no part of it. */
      own?: ServiceTls | undefined;
      http2?: boolean;
    } = {},
  ) {
    const { early = 0, tls, own, http2 = false } = more;
    this.#http2 = http2;
    const identity = tls === undefined ? {} : { identity: "spiffe://a.b/c" };
    const proof = own === undefined ? identity : { tls: own };
    this.endpoint = { address: "127.0.0.1", port, weight: 1, ...proof };
    this.upstreams = new HttpUpstreams({
      clock: this.clock,
      wheel: this.wheel,
      rng: { ...seededRng(1), next: () => early },
      tls: () => tls,
      limits: CONNECTION_LIMITS,
      counters: this.counters,
    });
    this.follow(rules);
  }

  follow(rules: ConnectionRules | undefined): void {
    this.upstreams.retain([{ endpoint: this.endpoint, rules, http2: this.#http2 }]);
  }

  ask(target: string, change: Partial<RequestHead> = {}, atOnce = false): Asked {
    const asked = new Asked();
    const head = { method: "GET", target, authority: "a", fields: [], body: 0 };
    asked.stream = this.upstreams.open(
      this.endpoint,
      { ...head, upgrade: undefined, takesTrailers: false, ...change },
      asked,
      atOnce,
    );
    return asked;
  }

  /** Open, idle and waiting now. */
  get count(): readonly number[] {
    const { open = 0, idle = 0, pending = 0 } = [...this.upstreams.counts()][0] ?? {};
    return [open, idle, pending];
  }

  stop(): void {
    this.upstreams.close();
    this.upstreams.sever(this.endpoint);
    this.wheel.close();
  }
}
