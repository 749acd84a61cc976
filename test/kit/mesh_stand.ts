import assert from "node:assert/strict";
import { seededRng } from "#kernel/rng.ts";
import { TimerWheel } from "#kernel/timer_wheel.ts";
import { VirtualClock } from "#kernel/virtual_clock.ts";
import type { ClusterName, ServiceName } from "#model/names.ts";
import { type Locale, parseSnapshot } from "#model/snapshot.ts";
import { SessionSeal } from "#proxy/app/session_seal.ts";
import { buildTables } from "#proxy/app/tables.ts";
import type { AnswerHead, AnswerSink, RequestHead } from "#proxy/exchange/exchange.ts";
import { type FailureName, failure } from "#proxy/exchange/failure.ts";
import { fieldValue } from "#proxy/exchange/fields.ts";
import { anonymous } from "#proxy/exchange/peer.ts";
import { AddressBlocks } from "#proxy/listen/address_blocks.ts";
import { RequestStats } from "#proxy/observe/service_stats.ts";
import { Dispatcher, type Tables } from "#proxy/relay/dispatcher.ts";
import type { RelayPorts } from "#proxy/relay/plan.ts";
import type { Upstreams } from "#proxy/upstream/upstreams.ts";
import { MESH, must } from "#test/kit/mesh.ts";
import { SimExchange } from "#test/sim/exchange.ts";

/** A place of the service, as one gateway knows it. `local`: so many endpoints of its own. */
export type Place = Partial<Locale> & {
  readonly kind: Locale["kind"];
  readonly at?: string;
  readonly count?: number;
};

/** What a request meets at an endpoint or on a way: an answer, or a failure. */
export type Meets = AnswerHead["status"] | FailureName;

/** What has reached an endpoint or a gateway. */
export interface Arrival {
  /** The cluster, without the mesh's name. */
  readonly at: string;
  /** Of an endpoint; undefined: the gateway. */
  readonly port: number | undefined;
  readonly head: RequestHead;
  field(name: string): string | undefined;
}

interface Gate {
  readonly dispatcher: Dispatcher;
  readonly tables: Tables;
  readonly stats: RequestStats;
}

/** What gateways know, and who may ask them. */
interface Known {
  /** Of the service, whoever knows it … */
  readonly service?: object;
  /** … and as one of them alone does. */
  readonly serviceOf?: Readonly<Record<string, object>>;
  readonly ports?: Partial<RelayPorts>;
  readonly routes?: readonly object[];
  readonly debugFrom?: readonly string[];
}

const LINK_MS = 1;
const ORIGIN_MS = 2;

/** Gateways of several clusters in virtual time, whose ways and endpoints do what the test says. */
export class MeshStand {
  readonly clock = new VirtualClock();
  readonly wheel = new TimerWheel(this.clock);
  readonly arrivals: Arrival[] = [];
  /** What an endpoint says. */
  origin: (arrival: Arrival) => Meets = () => 200;
  /** What becomes of what one gateway sends to another; undefined: it arrives, and so does the answer. */
  link: (from: string, to: string) => FailureName | undefined = () => undefined;
  readonly #gates = new Map<string, Gate>();
  readonly #names: readonly string[];
  readonly #debugFrom: AddressBlocks;

  /** @param more of the service, as every gateway knows it, and of the gateways' ports. */
  constructor(clusters: Readonly<Record<string, readonly Place[]>>, more: Known = {}) {
    this.#debugFrom = new AddressBlocks(more.debugFrom ?? []);
    this.#names = Object.keys(clusters);
    for (const [name, places] of Object.entries(clusters)) this.#addGate(name, places, more);
  }

  tables(of: string): Tables {
    return this.#gates.get(of)!.tables;
  }

  stats(of: string) {
    return this.#gates.get(of)!.stats.of("origin.shop");
  }

  /** Those at endpoints. */
  get served(): readonly Arrival[] {
    return this.arrivals.filter(({ port }) => port !== undefined);
  }

  /** A client's request to one gateway. Its answer is there when the clock has moved on. */
  ask(
    at: string,
    change: Partial<RequestHead> = {},
  ): { answer?: AnswerHead; field(name: string): string | undefined } {
    const met: { answer?: AnswerHead; field(name: string): string | undefined } = {
      field: (name) => met.answer && fieldValue(met.answer.fields, name),
    };
    const head: RequestHead = {
      ...{ method: "GET", target: "/", authority: `origin.shop.svc.${MESH}`, fields: [], body: 0 },
      ...{ upgrade: undefined, takesTrailers: false, ...change },
    };
    const exchange = new SimExchange(
      head,
      { peer: anonymous("127.0.0.1"), listener: "http" },
      { answer: (answer) => Object.assign(met, { answer }), abort: () => {} },
    );
    if (!this.#debugFrom.isEmpty) {
      Object.assign(exchange, { policy: { ...exchange.policy, debugFrom: this.#debugFrom } });
    }
    this.#gates.get(at)!.dispatcher.onRequest(exchange);
    return met;
  }

  /** The same, until it is answered. */
  answered(at: string, change: Partial<RequestHead> = {}) {
    const met = this.ask(at, change);
    this.clock.advance(20_000);
    assert.ok(met.answer !== undefined, "it is answered");
    return { ...met, status: met.answer.status };
  }

  #addGate(name: string, places: readonly Place[], more: Known): void {
    const { clock, wheel } = this;
    const locales = places.map(({ at = name, count = 1, ...place }) => {
      const isLocal = place.kind === "local";
      const port = 1_000 + 10 * this.#names.indexOf(at) + (isLocal ? 1 : 0);
      const identity = isLocal ? {} : { identity: `spiffe://${at}.${MESH}/mesh/gateway` };
      const endpoints = Array.from({ length: count }, (_, i) => ({
        ...{ address: "127.0.0.1", port: port + i, ...identity },
      }));
      return { cluster: `${at}.${MESH}`, endpoints, healthy: count, ...place };
    });
    const service = {
      name: "origin.shop",
      port: 80,
      appProtocol: "http",
      locales,
      ...more.service,
      ...more.serviceOf?.[name],
    };
    const content = {
      revision: "1",
      mesh: MESH,
      cluster: `${name}.${MESH}`,
      listeners: [LISTENER],
    };
    const snapshot = must(
      parseSnapshot({ ...content, routes: more.routes ?? [], services: [service] }, "test"),
    );
    const stats = new RequestStats();
    const tables = buildTables(snapshot, undefined, stats, clock.now());
    const upstreams: Upstreams = {
      open: ({ port, identity }, head, sink) => {
        const to = this.#names[Math.floor((port - 1_000) / 10)]!;
        if (identity === undefined) return this.#toOrigin(to, port, head, sink);
        return this.#toGate(name, to, head, sink);
      },
      retain: () => {},
      close: () => {},
    };
    const raw = { open: () => assert.fail("no raw connection is asked for") };
    const self = `${name}.${MESH}` as ClusterName;
    const rng = seededRng(this.#gates.size + 1);
    const seal = new SessionSeal(Buffer.from(name));
    const ports = { self, clock, wheel, rng, upstreams, raw, seal, ...more.ports };
    const dispatcher = new Dispatcher(ports, stats.unrouted);
    dispatcher.use(tables);
    assert.ok(tables.services.has("origin.shop" as ServiceName));
    this.#gates.set(name, { dispatcher, tables, stats });
  }

  #arrive(at: string, port: number | undefined, head: RequestHead): Arrival {
    const fields = head.fields.slice();
    const arrival = { at, port, head, field: (name: string) => fieldValue(fields, name) };
    this.arrivals.push(arrival);
    return arrival;
  }

  #toOrigin(at: string, port: number, head: RequestHead, sink: AnswerSink) {
    const meets = this.origin(this.#arrive(at, port, head));
    const stream = streamTo();
    this.clock.after(ORIGIN_MS, () => {
      if (stream.cancelled) return;
      if (typeof meets === "string") sink.onFailure(failure(meets, "test"));
      else
        answer(stream, sink, { ...BARE, status: meets, fields: ["x-served-by", `${port}@${at}`] });
    });
    return stream;
  }

  #toGate(from: string, to: string, head: RequestHead, sink: AnswerSink) {
    const lost = this.link(from, to);
    this.#arrive(to, undefined, head);
    const cluster = `${from}.${MESH}` as ClusterName;
    const id = `spiffe://${cluster}/mesh/gateway`;
    const stream = streamTo(() => exchange.clientGone());
    const exchange = new SimExchange(
      { ...head, fields: head.fields.slice() },
      { peer: { kind: "gateway", address: "sim", id, cluster }, listener: "mesh" },
      {
        answer: (said) => {
          this.clock.after(LINK_MS, () => {
            if (!stream.cancelled) answer(stream, sink, said);
          });
        },
        abort: () => {
          if (!stream.cancelled) sink.onFailure(failure("closed_early", "test"));
        },
      },
    );
    this.clock.after(LINK_MS, () => {
      if (lost !== undefined) {
        stream.cancelled = true;
        sink.onFailure(failure(lost, "test"));
      }
      // The request may have passed before the link was lost.
      if (lost !== "connect_refused") this.#gates.get(to)!.dispatcher.onRequest(exchange);
    });
    return stream;
  }
}

const LISTENER = { name: "http", address: "127.0.0.1", port: 0, protocol: "HTTP" };
const BARE = { reason: "", body: 0, upgrade: undefined };

function answer(stream: { readonly cancelled: boolean }, sink: AnswerSink, head: AnswerHead): void {
  sink.onAnswer({ ...head, fields: head.fields.slice() });
  // A relay that tries again has cancelled it.
  if (!stream.cancelled) sink.onAnswerEnd(undefined);
}

function streamTo(onCancel: () => void = () => {}) {
  const stream = {
    cancelled: false,
    stage: "begun" as const,
    sendBody: () => true,
    sendEnd: () => {},
    resume: () => {},
    cancel: () => {
      stream.cancelled = true;
      onCancel();
    },
  };
  return stream;
}
