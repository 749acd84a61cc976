import { line, nanos } from "#bench/micro/nanos.ts";
import { routingLines } from "#bench/micro/routing.ts";
import { systemClock } from "#kernel/clock.ts";
import { seededRng } from "#kernel/rng.ts";
import { callPath } from "#model/call.ts";
import type { ClusterName, MeshName } from "#model/names.ts";
import { parseSnapshot, type Snapshot } from "#model/snapshot.ts";
import { readHop } from "#proxy/authorize/hop.ts";
import { ServiceBalancer } from "#proxy/balance/service_balancer.ts";
import type { Exchange, RequestHead } from "#proxy/exchange/exchange.ts";
import { anonymous } from "#proxy/exchange/peer.ts";
import { AccessEntry } from "#proxy/observe/access_entry.ts";
import { compileRoutes } from "#proxy/route/table.ts";

function snapshotWith(services: number, locales: number): Snapshot {
  const parsed = parseSnapshot(
    {
      revision: "1",
      mesh: "acme.mesh",
      cluster: "core.acme.mesh",
      listeners: [{ name: "http", address: "::", port: 80, protocol: "HTTP" }],
      routes: [
        {
          name: "all",
          listeners: ["http"],
          hostnames: ["shop.example.org"],
          rules: [
            {
              matches: [{ path: { type: "PathPrefix", value: "/menu" } }],
              backends: [{ service: "s0.shop" }],
            },
          ],
        },
      ],
      services: Array.from({ length: services }, (_, s) => ({
        name: `s${s}.shop`,
        port: 80,
        appProtocol: "http",
        locales: Array.from({ length: locales }, (_unused, l) => ({
          kind: l === 0 ? "local" : "child",
          cluster: l === 0 ? "core.acme.mesh" : `c${l}.acme.mesh`,
          endpoints: [1, 2, 3].map((e) => ({ address: "10.0.0.1", port: e })),
          healthy: 3,
          capacity: 1_000,
        })),
      })),
    },
    "bench",
  );
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error[0]));
  return parsed.value;
}

/** ns of a lookup among `count` routes, half of them hosts, half paths of one host. */
function lookupAmong(count: number): number {
  const snapshot = snapshotWith(1, 1);
  const [listener] = snapshot.listeners;
  const [route] = snapshot.routes;
  const [rule] = route!.rules;
  const [match] = rule!.matches;
  const routes = Array.from({ length: count }, (_, i) => ({
    ...route!,
    hostnames: [i % 2 === 0 ? "shop.example.org" : `h${i}.example.org`],
    rules: [
      {
        ...rule!,
        matches: [{ ...match!, path: { type: "PathPrefix" as const, value: `/menu/${i}` } }],
      },
    ],
  }));
  const table = compileRoutes({ ...snapshot, listeners: [listener!], routes });
  const asked = Array.from({ length: 64 }, (_, i) => headOf(`/menu/${(i * 2) % count}/x?a=1`));
  return nanos((i) => table.match("http", asked[i & 63]!));
}

/** ns of a call's way among methods of 100 services, one in five known by an expression alone. */
function callAmong(): number {
  const snapshot = snapshotWith(1, 1);
  const [route] = snapshot.routes;
  const match = { headers: [], queries: [], grpc: true };
  const matches = Array.from({ length: 100 }, (_, i) => {
    const exact = i % 5 !== 0;
    const [service, method] = [`shop.v${i}.Orders`, exact ? "Buy" : "B.*"];
    return {
      ...match,
      path: callPath({ type: exact ? "Exact" : "RegularExpression", service, method }),
    };
  });
  const rule = { ...route!.rules[0]!, matches };
  const table = compileRoutes({ ...snapshot, routes: [{ ...route!, rules: [rule] }] });
  const asked = Array.from({ length: 64 }, (_, i) =>
    callOf(`/shop.v${1 + 5 * (i % 19)}.Orders/Buy`),
  );
  return nanos((i) => table.match("http", asked[i & 63]!));
}

function callOf(target: string): RequestHead {
  const fields = ["te", "trailers", "content-type", "application/grpc", "user-agent", "grpc-node"];
  return { ...headOf(target), method: "POST", fields, body: -1 };
}

function headOf(target: string): RequestHead {
  return {
    method: "GET",
    target,
    authority: "shop.example.org",
    fields: [],
    body: 0,
    upgrade: undefined,
    takesTrailers: false,
  };
}

/** ns that a request costs which the sampling leaves out, and one that becomes a line. */
function accessLog(): { readonly unsampled: number; readonly written: number } {
  const head = headOf("/menu/today?table=4");
  head.fields.push("user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36");
  head.fields.push("x-request-id", "0123456789abcdef0123456789abcdef");
  head.fields.push("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
  const exchange = {
    head,
    peer: anonymous("10.0.0.2", 4_711),
    listener: "default/edge/http",
    httpVersion: "1.1",
    secure: false,
    raw: false,
    serverName: undefined,
  } as unknown as Exchange;
  const entry = new AccessEntry(exchange);
  let bytes = 0;
  const log = { write: (text: string) => (bytes += text.length) };
  const act = (sampled: boolean) => (i: number) => {
    entry.begin(sampled, i);
    entry.status = 200;
    entry.service = "menu.shop";
    entry.answerBytes = 1_024;
    entry.end(log, systemClock);
  };
  return { unsampled: nanos(act(false)), written: nanos(act(true)) };
}

/** One line per decision on a request's way. */
export function decisionLines(): string[] {
  const self = "core.acme.mesh" as ClusterName;
  const snapshot = snapshotWith(100, 20);
  const routes = compileRoutes(snapshot);
  const balancers = snapshot.services.map(
    (service) => new ServiceBalancer(service, { self, workers: 1 }, 0),
  );
  const rng = seededRng(1);
  const constraint = { visited: [], tried: [], within: undefined, foreign: false };
  const peer = anonymous("10.0.0.2");
  let now = 0;
  const pick = nanos((i) => {
    if (i % 64 === 0) now += 1;
    const balancer = balancers[i % balancers.length]!;
    const endpoint = balancer.pick(constraint, now, rng)!;
    balancer.started(endpoint, now);
    balancer.finished(endpoint, "ok", 2, now);
  });
  const asked = headOf("/menu/today?table=4");
  const match = nanos(() => routes.match("http", asked));
  const hop = nanos(() =>
    readHop(["accept", "x", "cookie", "y"], peer, self, "acme.mesh" as MeshName),
  );
  const logged = accessLog();
  return [
    line("match its route", match),
    line("… among 10 routes", lookupAmong(10)),
    line("… among 10,000", lookupAmong(10_000)),
    line("match a call of gRPC by its method", callAmong()),
    line("look for fields of a hop", hop),
    line("locale and endpoint, and their record", pick, "100 services × 20 locales × 3 endpoints"),
    ...routingLines(),
    line("access log, a request left out", logged.unsampled),
    line("access log, a line", logged.written),
  ];
}
