import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type Rng, seededRng } from "#kernel/rng.ts";
import { MeshStand, type Place } from "#test/kit/mesh_stand.ts";

const CASES = 100;

/** A cluster of a tree made by chance. */
interface Node {
  readonly name: string;
  readonly parent: Node | undefined;
  readonly children: Node[];
  readonly serves: boolean;
  /** It has endpoints and they are all dead, or its gateway is. */
  dead: "endpoints" | "gateway" | undefined;
}

function anyTree(rng: Rng, depth: number): Node[] {
  const grow = (name: string, parent: Node | undefined, levels: number): Node[] => {
    const serves = rng.next() < 0.6;
    const node: Node = { name, parent, children: [], serves, dead: undefined };
    const all = [node];
    for (let i = levels > 0 ? 1 + rng.below(4) : 0; i > 0; i--) {
      const below = parent === undefined ? `n${i}` : `n${i}.${name}`;
      const grown = grow(below, node, levels - 1);
      node.children.push(grown[0]!);
      all.push(...grown);
    }
    return all;
  };
  return grow("core", undefined, depth);
}

const has = (node: Node): boolean => node.serves || node.children.some(has);
/** What a summary says, once it has come. */
const isWell = (node: Node): boolean =>
  node.dead !== "gateway" &&
  ((node.serves && node.dead === undefined) || node.children.some(isWell));

/** What a cluster knows: its own, its children, its siblings, and through its parent all the others. */
function placesOf(node: Node, hasOf: (node: Node) => boolean): Place[] {
  const { parent } = node;
  const isKnownDead = hasOf === isWell && node.dead !== undefined;
  const places: Place[] = node.serves && !isKnownDead ? [{ kind: "local", count: 2 }] : [];
  const add = (kind: Place["kind"], of: Node): void => {
    if (hasOf(of)) places.push({ kind, at: of.name });
  };
  for (const child of node.children) add("child", child);
  for (const sibling of parent?.children ?? []) if (sibling !== node) add("sibling", sibling);
  if (parent !== undefined && beyond(node, hasOf)) places.push({ kind: "parent", at: parent.name });
  return places;
}

/** Whether somebody serves who is reached through the parent. */
function beyond({ parent, ...node }: Node, hasOf: (node: Node) => boolean): boolean {
  if (parent === undefined) return false;
  if (hasOf === isWell && parent.dead === "gateway") return false;
  if (parent.serves && (hasOf === has || parent.dead === undefined)) return true;
  const others = parent.children.some((one) => one.name !== node.name && hasOf(one));
  return others || beyond(parent, hasOf);
}

function standOf(nodes: readonly Node[], hasOf: (node: Node) => boolean): MeshStand {
  const stand = new MeshStand(
    Object.fromEntries(nodes.map((node) => [node.name, placesOf(node, hasOf)])),
  );
  const at = new Map(nodes.map((node) => [node.name, node]));
  stand.origin = (arrival) => (at.get(arrival.at)!.dead ? "connect_refused" : 200);
  stand.link = (_, to) => (at.get(to)!.dead === "gateway" ? "connect_refused" : undefined);
  return stand;
}

function kill(nodes: readonly Node[], rng: Rng): void {
  for (const node of nodes) {
    if (rng.next() < 0.5) node.dead = rng.next() < 0.3 ? "gateway" : "endpoints";
  }
}

describe("requests in a tree where clusters have died", () => {
  it("pass every gateway once at most, and go up, once aside, and down", () => {
    for (let seed = 1; seed <= CASES; seed++) {
      const rng = seededRng(seed);
      const depth = 1 + rng.below(3);
      const nodes = anyTree(rng, depth);
      kill(nodes, rng);
      const stand = standOf(nodes, has);
      const level = (name: string): number => (name === "core" ? 0 : name.split(".").length);
      for (let i = 0; i < 5; i++) {
        const from = nodes[rng.below(nodes.length)]!;
        if (from.dead === "gateway") continue;
        stand.arrivals.length = 0;
        stand.answered(from.name);
        for (const arrival of stand.arrivals) {
          const path = (arrival.field("x-mesh-path") ?? "").replaceAll(".acme.mesh", "");
          const way = arrival.port === undefined ? [...path.split(","), arrival.at] : [];
          const said = `seed ${seed}: ${way}`;
          assert.equal(new Set(way).size, way.length, said);
          assert.ok(way.length <= 2 * depth + 1, said);
          const steps = way.slice(1).map((name, k) => level(name) - level(way[k]!));
          assert.match(
            steps.map((step) => (step < 0 ? "u" : step > 0 ? "d" : "a")).join(""),
            /^u*a?d*$/,
            said,
          );
        }
      }
    }
  });

  it("are served wherever somebody is left who is known to be", () => {
    for (let seed = 1; seed <= CASES; seed++) {
      const rng = seededRng(seed);
      const nodes = anyTree(rng, 1 + rng.below(3));
      kill(nodes, rng);
      const stand = standOf(nodes, isWell);
      for (const node of nodes) {
        if (node.dead === "gateway") continue;
        const isServed = isWell(node) || beyond(node, isWell) || aside(node);
        const { status } = stand.answered(node.name);
        assert.equal(status === 200, isServed, `seed ${seed}: ${node.name}`);
      }
    }
  });
});

/** A sibling is reached without the parent. */
function aside(node: Node): boolean {
  return node.parent?.children.some((one) => one !== node && isWell(one)) === true;
}

describe("a service that has died in fifty places at once", () => {
  const EDGES = Array.from({ length: 50 }, (_, i) => `e${i}.eu`);

  /** What summaries still say; the core alone has it in truth. */
  function dead(): MeshStand {
    const places: Record<string, Place[]> = {
      core: [{ kind: "child", at: "eu" }, { kind: "local" }],
      eu: [...EDGES.map((at) => ({ kind: "child" as const, at })), { kind: "parent", at: "core" }],
    };
    for (const edge of EDGES) {
      const siblings = EDGES.filter((one) => one !== edge);
      places[edge] = [
        ...siblings.map((at) => ({ kind: "sibling" as const, at, p50Ms: 5 })),
        { kind: "parent", at: "eu", p50Ms: 80 },
      ];
    }
    return new MeshStand(places);
  }

  it("serves every request from the core, and asks each sibling once in two seconds", () => {
    const stand = dead();
    for (let i = 0; i < 100; i++) {
      assert.equal(stand.ask("e0.eu", { method: "POST" }).answer, undefined);
      stand.clock.advance(15);
    }
    stand.clock.advance(400);
    assert.equal(stand.served.filter(({ at }) => at === "core").length, 100);
    const asked = stand.arrivals
      .filter(({ at }) => EDGES.includes(at))
      .map((one) => `${one.field("x-mesh-path")} to ${one.at}`);
    assert.ok(asked.length > 20);
    assert.equal(new Set(asked).size, asked.length, "nobody twice");
  });

  it("leads upwards from the first sibling that has refused", () => {
    const stand = dead();
    const met = stand.ask("e0.eu");
    stand.clock.advance(100);
    assert.equal(met.answer?.status, 200);
    const ways = stand.arrivals.map(({ at }) => at);
    assert.deepEqual(ways.slice(1), ["eu", "core", "core"], `${ways}`);
  });
});
