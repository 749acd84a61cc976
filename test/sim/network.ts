import assert from "node:assert/strict";
import { gatewayId } from "#certs/identity/spiffe_id.ts";
import type { Clock } from "#kernel/clock.ts";
import type { ClusterName } from "#model/names.ts";
import type { Endpoint } from "#model/snapshot.ts";
import type {
  AnswerHead,
  AnswerSink,
  Handler,
  RequestHead,
  UpstreamStream,
} from "#proxy/exchange/exchange.ts";
import { type FailureName, failure } from "#proxy/exchange/failure.ts";
import { endpointKey, type Links, type Upstreams } from "#proxy/upstream/upstreams.ts";
import { SimExchange } from "#test/sim/exchange.ts";

/** An endpoint of a service. */
export interface SimOrigin {
  readonly name: string;
  delayMs: number;
  alive: boolean;
}

interface SimGate {
  readonly cluster: ClusterName;
  readonly handler: Handler;
  alive: boolean;
  readonly running: Set<SimExchange>;
}

/** Between two tries of TCP to get something through. */
const RETRANSMIT_MS = 400;

/** The connections of a whole mesh: what they carry, how late, and what they swallow. */
export class SimNetwork {
  readonly clock: Clock;
  readonly #origins = new Map<number, SimOrigin>();
  readonly #gates = new Map<number, SimGate>();
  readonly #holes = new Set<string>();
  /** Every way that a request went from gateway to gateway: who sent it where, along which path. */
  onHop: (from: ClusterName, to: ClusterName, path: readonly string[]) => void = () => {};

  constructor(clock: Clock) {
    this.clock = clock;
  }

  addOrigin(port: number, origin: SimOrigin): void {
    this.#origins.set(port, origin);
  }

  addGate(port: number, cluster: ClusterName, handler: Handler): void {
    this.#gates.set(port, { cluster, handler, alive: true, running: new Set() });
  }

  origin(port: number): SimOrigin | undefined {
    return this.#origins.get(port);
  }

  gate(port: number): SimGate | undefined {
    return this.#gates.get(port);
  }

  /** Packets from `from` to `to` and back vanish. */
  blackHole(from: ClusterName, to: ClusterName, isHole: boolean): void {
    if (isHole) this.#holes.add(`${from} ${to}`);
    else this.#holes.delete(`${from} ${to}`);
  }

  isHole(from: ClusterName, to: ClusterName): boolean {
    return this.#holes.has(`${from} ${to}`);
  }

  healAll(): void {
    this.#holes.clear();
    for (const gate of this.#gates.values()) gate.alive = true;
  }

  /** As `kill -9` of a gateway would: every request that runs through it is cut. */
  killGate(port: number): void {
    const gate = this.#gates.get(port)!;
    gate.alive = false;
    for (const exchange of [...gate.running]) {
      gate.running.delete(exchange);
      exchange.clientGone();
      exchange.abort(failure("closed_early", "gateway killed"));
    }
  }
}

/** The upstream side of one simulated gateway. */
export class SimUpstreams implements Upstreams, Links {
  readonly #network: SimNetwork;
  readonly #self: ClusterName;
  readonly #streams = new Map<string, Set<SimStream>>();

  constructor(network: SimNetwork, self: ClusterName) {
    this.#network = network;
    this.#self = self;
  }

  open(endpoint: Endpoint, head: RequestHead, sink: AnswerSink): UpstreamStream {
    const key = endpointKey(endpoint);
    const streams = this.#streams.get(key) ?? new Set();
    this.#streams.set(key, streams);
    const stream = new SimStream(sink, () => streams.delete(stream));
    streams.add(stream);
    const origin = this.#network.origin(endpoint.port);
    if (origin !== undefined) this.#toOrigin(origin, stream);
    else this.#toGate(endpoint, head, stream);
    return stream;
  }

  ping(endpoint: Endpoint, done: (rttMs: number | undefined) => void): void {
    const { clock } = this.#network;
    const gate = this.#network.gate(endpoint.port);
    if (gate?.alive !== true || endpoint.identity !== gatewayId(gate.cluster)) {
      clock.after(1, () => done(undefined));
      return;
    }
    const startedAt = clock.now();
    this.#over(gate.cluster, () => {
      if (!gate.alive) done(undefined);
      else this.#over(gate.cluster, () => done(clock.now() - startedAt));
    });
  }

  sever(endpoint: Endpoint): void {
    for (const stream of [...(this.#streams.get(endpointKey(endpoint)) ?? [])]) {
      stream.fail("link_down");
    }
  }

  retain(): void {}
  close(): void {}

  #toOrigin(origin: SimOrigin, stream: SimStream): void {
    const { clock } = this.#network;
    if (!origin.alive) {
      clock.after(0.2, () => stream.fail("connect_refused"));
      return;
    }
    clock.after(origin.delayMs, () => {
      if (!origin.alive) stream.fail("closed_early");
      else
        stream.answer({
          status: 200,
          reason: "",
          fields: ["x-served-by", origin.name],
          body: 0,
          upgrade: undefined,
        });
    });
  }

  #toGate(endpoint: Endpoint, head: RequestHead, stream: SimStream): void {
    const { clock } = this.#network;
    const gate = this.#network.gate(endpoint.port);
    if (gate === undefined || !gate.alive) {
      clock.after(1, () => stream.fail("connect_refused"));
      return;
    }
    if (endpoint.identity !== gatewayId(gate.cluster)) {
      clock.after(1, () => stream.fail("tls_failed"));
      return;
    }
    this.#network.onHop(this.#self, gate.cluster, pathOf(head));
    const peer = {
      kind: "gateway" as const,
      address: "sim",
      id: gatewayId(this.#self),
      cluster: this.#self,
    };
    const back = (act: () => void): void => {
      gate.running.delete(exchange);
      this.#over(gate.cluster, act);
    };
    const copy = { ...head, fields: [...head.fields] };
    const exchange = new SimExchange(
      copy,
      { peer, listener: "mesh" },
      {
        answer: (answer) => back(() => stream.answer(answer)),
        abort: () => back(() => stream.fail("closed_early")),
      },
    );
    stream.onCancel = () => {
      gate.running.delete(exchange);
      exchange.clientGone();
    };
    this.#over(gate.cluster, () => {
      if (stream.over) return;
      if (!gate.alive) {
        stream.fail("connect_refused");
        return;
      }
      gate.running.add(exchange);
      gate.handler.onRequest(exchange);
    });
  }

  /** Over the link to `to`; what it swallows is sent again, as TCP would, until the hole has closed. */
  #over(to: ClusterName, arrive: () => void): void {
    const { clock } = this.#network;
    const attempt = (): void => {
      if (this.#network.isHole(this.#self, to)) clock.after(RETRANSMIT_MS, attempt);
      else arrive();
    };
    clock.after(delayOf(this.#self, to), attempt);
  }
}

class SimStream implements UpstreamStream {
  readonly #sink: AnswerSink;
  readonly #onOver: () => void;
  readonly stage = "begun";
  over = false;
  onCancel: () => void = () => {};

  constructor(sink: AnswerSink, onOver: () => void) {
    this.#sink = sink;
    this.#onOver = onOver;
  }

  answer(head: AnswerHead): void {
    if (this.over) return;
    // The sink may give the answer up for another try, and cancel us within the call.
    this.#sink.onAnswer({ ...head, fields: [...head.fields] });
    if (this.#end()) this.#sink.onAnswerEnd(undefined);
  }

  fail(kind: FailureName): void {
    if (this.#end()) this.#sink.onFailure(failure(kind, "simulated"));
  }

  sendBody(): boolean {
    return true;
  }
  sendEnd(): void {}
  resume(): void {}

  cancel(): void {
    if (this.#end()) this.onCancel();
  }

  #end(): boolean {
    if (this.over) return false;
    this.over = true;
    this.#onOver();
    return true;
  }
}

function pathOf(head: RequestHead): readonly string[] {
  const at = head.fields.indexOf("x-mesh-path");
  return at < 0 ? [] : head.fields[at + 1]!.split(",");
}

/** One way, ms: near within a region, far between regions. */
function delayOf(from: ClusterName, to: ClusterName): number {
  const regionOf = (cluster: string): string => cluster.split(".").at(-3)!;
  assert.ok(from !== to);
  return regionOf(from) === regionOf(to) ? 3 : 20;
}
