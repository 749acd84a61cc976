import assert from "node:assert/strict";
import { test } from "node:test";
import type { Catalog, ChildFacts } from "#control/catalog/catalog.ts";
import { upward, viewFor } from "#control/catalog/views.ts";
import type { ClusterName } from "#model/names.ts";
import { type Summary, summarySchema, viewEntrySchema } from "#model/summary.ts";
import { catalogTree, MENU } from "#test/kit/catalog_tree.ts";

/*
 * A child whose credentials are stolen says whatever its parent's schema lets pass: others are to lose nothing by it.
 */

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
