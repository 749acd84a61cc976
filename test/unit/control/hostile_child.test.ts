import assert from "node:assert/strict";
import { test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import type { Catalog, ChildFacts } from "#control/catalog/catalog.ts";
import { upward } from "#control/catalog/views.ts";
import { compileGateway } from "#control/compile/mesh.ts";
import { noResources } from "#control/config/resources.ts";
import type { ClusterSpec } from "#control/config/schema.ts";
import type { ClusterName } from "#model/names.ts";
import {
  type Summary,
  summarySchema,
  type ViewEntry,
  viewEntrySchema,
  viewKey,
} from "#model/summary.ts";
import { EPOCH_MAX, type Replication } from "#model/traffic_policy.ts";
import { catalogTree, MENU, viewFor } from "#test/kit/catalog_tree.ts";

/*
 * A child whose credentials are stolen says whatever its parent's schema lets pass: others are to lose nothing by it.
 */

const SPEC = {
  gateway: { listen: { address: "::", port: 1 } },
  egressMs: { child: 0, sibling: 0, parent: 0 },
} as ClusterSpec;

const NAMES = { region: "eu.acme.mesh", honest: "a.eu.acme.mesh", hostile: "z.eu.acme.mesh" };

test("the largest numbers that a child may say leave what its parent tells of the service readable", () => {
  const most = (field: keyof Summary): number =>
    largest((value) => ({ ...summary, [field]: value }));
  const summary: Summary = honestly();
  const said: Summary = {
    ...summary,
    healthy: most("healthy"),
    total: most("total"),
    capacity: most("capacity"),
    offer: most("offer"),
    demand: most("demand"),
    arrivals: most("arrivals"),
    p50Ms: most("p50Ms"),
    stalenessMs: most("stalenessMs"),
  };
  const variants: Summary[] = [said];
  for (const field of [
    "capacity",
    "offer",
    "demand",
    "arrivals",
    "p50Ms",
    "stalenessMs",
  ] as const) {
    const { [field]: _, ...without } = said;
    variants.push(without as Summary, { ...summary, [field]: said[field] });
  }
  for (const variant of variants) {
    const region = regionWith(variant, variant);
    const up = summarySchema.safeParse(onTheWire(upward(region).get(MENU)));
    assert.ok(up.success, `upward: ${JSON.stringify(variant)} ${up.error?.message}`);
    const view = viewFor(region, NAMES.honest as ClusterName);
    assert.ok(view.size > 0);
    for (const entry of view.values()) {
      const read = viewEntrySchema.safeParse(onTheWire(entry));
      assert.ok(read.success, `view: ${JSON.stringify(entry)} ${read.error?.message}`);
    }
  }
});

test("nobody takes the writes of a service whose replicas are written down by calling himself its primary", () => {
  const [one, two] = [NAMES.honest, "z0.eu.acme.mesh"] as ClusterName[] as [
    ClusterName,
    ClusterName,
  ];
  const thief = "z1.eu.acme.mesh" as ClusterName;
  const word: Replication = { primary: one, epoch: 3, replicas: [one, two], maxStalenessMs: 2_000 };
  const claims: Array<readonly [Replication, Replication]> = [
    // Himself, in the last epoch that there is; and the right one in it, so that its store takes no other any more.
    [{ ...word, primary: thief, replicas: [thief], epoch: EPOCH_MAX }, word],
    [{ ...word, epoch: EPOCH_MAX }, word],
    // A replica that nobody has written down, and data of any age.
    [
      { ...word, epoch: 4, replicas: [one, thief], maxStalenessMs: 1e9 },
      { ...word, epoch: 4, replicas: [one] },
    ],
    // The other replica has been made the primary.
    [
      { ...word, epoch: 4, primary: two },
      { ...word, epoch: 4, primary: two },
    ],
  ];
  for (const [claim, held] of claims) {
    const region = regionWith(honestly(), { ...honestly(), replication: claim });
    const own = catalogTree({ name: NAMES.region, capacity: 10 }).get(NAMES.region)!.own;
    const catalog: Catalog = {
      ...region,
      own: own.map((service) => ({ ...service, replication: word })),
    };
    assert.deepEqual(upward(catalog).get(MENU)?.replication, held);
    const view = viewFor(catalog, one);
    assert.deepEqual(view.get(viewKey(NAMES.region, MENU))?.summary.replication, held);
    const shown = view.get(viewKey(thief, MENU))?.summary.replication;
    assert.ok(shown === undefined || isDeepStrictEqual(shown, held), JSON.stringify(shown));
    const compiled = compileGateway({ catalog, resources: noResources(), spec: SPEC });
    assert.deepEqual(compiled.services.find(({ name }) => name === MENU)?.replication, held);
    // Heard from above it counts no more than from below.
    const above: ViewEntry = {
      ...{ kind: "parent", cluster: "core.acme.mesh", service: MENU, freshness: "fresh" },
      summary: { ...honestly(), replication: claim },
    };
    const told = viewFor({ ...catalog, children: region.children.slice(0, 1), view: [above] }, one);
    assert.deepEqual(told.get(viewKey(NAMES.region, MENU))?.summary.replication, held);
  }
});

/** The largest number that makes a summary which is accepted. */
function largest(of: (value: number) => unknown): number {
  const accepts = (value: number): boolean => summarySchema.safeParse(of(value)).success;
  if (accepts(Number.MAX_VALUE)) return Number.MAX_VALUE;
  let value = 1;
  while (accepts(value * 10)) value *= 10;
  return value;
}

function onTheWire(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value));
}

function honestly(): Summary {
  return {
    gateways: [{ address: "10.0.0.2", port: 1 }],
    ...{ healthy: 1, total: 1, demand: 3, arrivals: 30, capacity: 10, offer: 7, p50Ms: 5 },
    ...{ port: 80, appProtocol: "http" as const },
  };
}

/** A region of an honest child and two hostile ones. */
function regionWith(...said: readonly Summary[]): Catalog {
  const tree = catalogTree({ name: "core.acme.mesh", children: [{ name: NAMES.region }] });
  const facts = (summary: Summary): ChildFacts["facts"] => new Map([[MENU as string, summary]]);
  const children: ChildFacts[] = said.map((summary, i) => ({
    cluster: `z${i}.eu.acme.mesh` as ClusterName,
    freshness: "fresh",
    facts: facts(summary),
  }));
  const honest: ChildFacts = {
    cluster: NAMES.honest as ClusterName,
    freshness: "fresh",
    facts: facts(honestly()),
  };
  return { ...tree.get(NAMES.region)!, children: [honest, ...children] };
}
