import assert from "node:assert/strict";
import { it } from "node:test";
import { kindProblems } from "#control/config/kind_clashes.ts";
import { parseResources } from "#control/config/parse.ts";
import { byPrecedence } from "#control/config/precedence.ts";
import { seededRng } from "#kernel/rng.ts";

const HOSTS = ["a.b.c", "d.b.c", "*.b.c", "*.c", "b.c", "x.y", "*.y", "*.a.b.c", "c", "y"];
const LISTENERS = [undefined, "*.b.c", "a.b.c"];

/** As it is meant: for two hosts of two routes and that of the listener, some name is of all three. */
function isShared(...patterns: (string | undefined)[]): boolean {
  const names = HOSTS.map((host) => host.replace("*", "any")).concat("any.any.b.c");
  return names.some((name) =>
    patterns.every(
      (one) =>
        one === undefined || one === name || (one.startsWith("*.") && name.endsWith(one.slice(1))),
    ),
  );
}

it("of routes of two kinds whose hosts meet on a listener those that come later are refused, each for the first", () => {
  let clashes = 0;
  for (let seed = 0; seed < 150; seed++) {
    const rng = seededRng(seed);
    const listener = LISTENERS[rng.below(LISTENERS.length)];
    const host = listener === undefined ? "" : `, hostname: "${listener}"`;
    const routes = Array.from({ length: 6 }, (_, i) => {
      const hosts = HOSTS.filter(() => rng.next() < 0.15);
      return `apiVersion: gateway.networking.k8s.io/v1
kind: ${rng.next() < 0.5 ? "HTTPRoute" : "GRPCRoute"}
metadata: { name: r${i} }
spec: { parentRefs: [{ name: edge }], hostnames: ${JSON.stringify(hosts)}, rules: [{}] }
`;
    });
    const gateway = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: edge }
spec: { gatewayClassName: espalier, listeners: [{ name: http, port: 80, protocol: HTTP${host} }] }
`;
    const { resources, problems } = parseResources([gateway, ...routes].join("---\n"), "f.yaml");
    assert.deepEqual(problems, []);
    const all = [...resources.routes, ...resources.grpcRoutes].toSorted(byPrecedence);
    const kept: typeof all = [];
    const wanted: string[] = [];
    for (const route of all) {
      const hostsOf = ({ spec }: (typeof all)[number]) =>
        spec.hostnames.length === 0 ? [undefined] : spec.hostnames;
      const first = kept.find(
        (one) =>
          one.kind !== route.kind &&
          hostsOf(one).some((a) => hostsOf(route).some((b) => isShared(a, b, listener))),
      );
      if (first === undefined) kept.push(route);
      else wanted.push(`${first.kind} default/${first.metadata.name}`);
    }
    const told = kindProblems(resources).map(
      ({ message }) => /belongs to (\S+ \S+), which goes first$/.exec(message)?.[1],
    );
    assert.deepEqual(told, wanted, `seed ${seed}\n${routes.join("")}`);
    clashes += wanted.length;
  }
  assert.ok(clashes > 50);
});
