import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { isAllowed, isConcrete, subjectMatches } from "#discovery/bus/subjects.ts";
import {
  type ClusterName,
  firstLabel,
  isWithin,
  lineage,
  type MeshName,
  parentOf,
  parseClusterName,
  parseMeshName,
  parseServiceAddress,
  parseServiceName,
} from "#model/names.ts";
import { parseSnapshot } from "#model/snapshot.ts";

const MESH = "acme.mesh" as MeshName;
const c = (name: string): ClusterName => name as ClusterName;

describe("names", () => {
  it("know their place in the tree", () => {
    assert.equal(parentOf(c("core.acme.mesh"), MESH), undefined);
    assert.equal(parentOf(c("eu.acme.mesh"), MESH), "core.acme.mesh");
    assert.equal(parentOf(c("a.b.eu.acme.mesh"), MESH), "b.eu.acme.mesh");
    assert.equal(parentOf(c("core.other.mesh"), MESH), undefined);
    // The mesh's own name is no cluster's, whatever it looks like.
    assert.equal(parentOf(c("acme.mesh"), MESH), undefined);
    assert.equal(parentOf(c("acme"), "acme" as MeshName), undefined);
    assert.deepEqual(lineage(c("a.eu.acme.mesh"), MESH), [
      "a.eu.acme.mesh",
      "eu.acme.mesh",
      "core.acme.mesh",
    ]);
    assert.equal(firstLabel(c("a.eu.acme.mesh")), "a");
  });

  it("are compared by labels, never by letters", () => {
    assert.equal(isWithin("a.eu.acme.mesh", "eu.acme.mesh"), true);
    assert.equal(isWithin("a.xeu.acme.mesh", "eu.acme.mesh"), false);
    assert.equal(isWithin("eu.acme.mesh", "a.eu.acme.mesh"), false);
  });

  it("are labels of a-z, 0-9 and inner hyphens", () => {
    for (const bad of [
      "",
      "a",
      "A.b",
      "a..b",
      ".a.b",
      "a.b.",
      "a_b.c",
      "-a.b",
      "a-.b",
      "ä.b",
      `${"x".repeat(64)}.b`,
      "a.b\n",
      "a b.c",
    ]) {
      assert.equal(parseClusterName(bad).ok, false, JSON.stringify(bad));
    }
    assert.equal(parseClusterName(`${"x".repeat(63)}.b-2.c3`).ok, true);
    assert.equal(parseMeshName("local").ok, true);
    assert.deepEqual(parseServiceName("menu"), { ok: true, value: "menu.default" });
    assert.equal(parseServiceName("a.b.c").ok, false);
  });

  it("give a service its addresses", () => {
    const read = (host: string) => parseServiceAddress(host, MESH);
    assert.deepEqual(read("menu.shop.svc.acme.mesh"), { service: "menu.shop", within: undefined });
    assert.deepEqual(read("menu.shop.svc.eu.acme.mesh"), {
      service: "menu.shop",
      within: "eu.acme.mesh",
    });
    for (const bad of [
      "menu.svc.acme.mesh",
      "menu.shop.acme.mesh",
      "menu.shop.svc.other.mesh",
      "a.b.c.svc.acme.mesh",
      "menu.shop.svc.x_y.acme.mesh",
    ]) {
      assert.equal(read(bad), undefined, bad);
    }
  });
});

describe("snapshots", () => {
  it("are refused with everything that is wrong with them", () => {
    const parsed = parseSnapshot(
      { revision: "", mesh: "a b", listeners: [{ port: -1 }], extra: 1 },
      "x",
    );
    assert.ok(!parsed.ok);
    const paths = parsed.error.map(({ path }) => path);
    for (const path of ["revision", "mesh", "cluster", "listeners[0].port", "routes"]) {
      assert.ok(paths.includes(path), `${path} in ${paths.join(" ")}`);
    }
  });
});

describe("subjects", () => {
  it("match by tokens", () => {
    for (const [pattern, subject, matches] of [
      ["a.b", "a.b", true],
      ["a.*", "a.b", true],
      ["a.*", "a.b.c", false],
      ["a.>", "a.b.c", true],
      ["a.>", "a", false],
      [">", "a", true],
      ["a.*.c", "a.b.c", true],
      ["a.b", "a.bc", false],
      ["*", "*", true],
      ["a.*", "a.>", false],
      ["a.>", "a.*", true],
      ["a.b", "a.*", false],
    ] as const) {
      assert.equal(subjectMatches(pattern, subject), matches, `${pattern} ${subject}`);
    }
    assert.equal(isAllowed(["a.>", "b"], "b"), true);
    assert.equal(isAllowed(["a.>"], "b"), false);
  });

  it("are published without wildcards or blanks", () => {
    for (const bad of ["", "a..b", "a.*", "a.>", "a b", ".a", "a.", "a\r\nb"]) {
      assert.equal(isConcrete(bad), false, JSON.stringify(bad));
    }
    assert.equal(isConcrete("mesh.v1.up.eu.hb"), true);
  });
});
