import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { planTree } from "#cli/up/tree_problems.ts";
import { compileStatic } from "#control/compile/static.ts";
import { loadResources } from "#control/config/load.ts";
import { parseResources } from "#control/config/parse.ts";
import { referenceProblems } from "#control/config/references.ts";
import { formatProblem } from "#kernel/result.ts";
import { ROOT } from "#test/kit/processes.ts";
import { staticYaml } from "#test/kit/static_yaml.ts";

const STATIC = staticYaml();

function problemsOf(text: string): string[] {
  const { resources, problems } = parseResources(text, "f.yaml");
  const all = [...problems, ...referenceProblems(resources, { elsewhere: new Set() })];
  return all.map(formatProblem);
}

describe("resources", () => {
  it("of the README are read as they are meant", async () => {
    const readme = await readFile(join(ROOT, "README.md"), "utf8");
    assert.ok(readme.includes(`\`\`\`yaml\n${STATIC}\`\`\`\n`), "the README has another file");
    const { resources, problems } = parseResources(STATIC, "f.yaml");
    assert.deepEqual(problems, []);
    const { revision, ...snapshot } = compileStatic(resources);
    assert.match(revision, /^[0-9a-f]{16}$/);
    assert.deepEqual(snapshot, {
      mesh: "local",
      cluster: "core.local",
      listeners: [
        {
          name: "default/edge/http",
          address: "::",
          port: 8080,
          protocol: "HTTP",
          certificates: [],
        },
      ],
      streamRoutes: [],
      routes: [
        {
          name: "default/all",
          listeners: ["default/edge/http"],
          hostnames: [],
          rules: [
            {
              matches: [
                { path: { type: "PathPrefix", value: "/" }, headers: [], queries: [], grpc: false },
              ],
              backends: [{ service: "origin.default", weight: 1 }],
            },
          ],
        },
      ],
      services: [
        {
          name: "origin.default",
          port: 80,
          appProtocol: "http",
          exported: false,
          locales: [
            {
              kind: "local",
              cluster: "core.local",
              endpoints: [{ address: "127.0.0.1", port: 9000, weight: 1 }],
              healthy: 1,
              egressMs: 0,
              freshness: "fresh",
            },
          ],
        },
      ],
    });
  });

  it("have the same revision as long as they mean the same", () => {
    const again = compileStatic(parseResources(`# a comment\n${STATIC}`, "g.yaml").resources);
    assert.equal(
      again.revision,
      compileStatic(parseResources(STATIC, "f.yaml").resources).revision,
    );
  });

  const CASES: ReadonlyArray<readonly [string, (text: string) => string, RegExp]> = [
    [
      "a backend that nobody defines",
      (t) => t.replace("name: origin, port: 80 }]", "name: gone, port: 80 }]"),
      /^f\.yaml:13: spec\.rules\[0\]\.backendRefs\[0\]\.name: no Service gone\.default/,
    ],
    [
      "a port that the service does not have",
      (t) => t.replace("name: origin, port: 80 }]", "name: origin, port: 81 }]"),
      /^f\.yaml:13: .*port: Service origin\.default has no port 81; its port is 80/,
    ],
    [
      "a Gateway that nobody defines",
      (t) => t.replace("parentRefs: [{ name: edge", "parentRefs: [{ name: edgy"),
      /^f\.yaml:12: spec\.parentRefs\[0\]\.name: no Gateway default\/edgy/,
    ],
    [
      "a listener that is not there",
      (t) => t.replace("{ name: edge }]\n  rules", "{ name: edge, sectionName: https }]\n  rules"),
      /^f\.yaml:12: .*sectionName: .*no listener "https"/,
    ],
    [
      "a kind that is no text",
      (t) => t.replace("kind: HTTPRoute", "kind: [HTTPRoute]"),
      /^f\.yaml:9: kind: must be a text/,
    ],
    [
      "an unknown kind",
      (t) => t.replace("kind: HTTPRoute", "kind: HttpRoute"),
      /^f\.yaml:9: kind: unknown resource "gateway\.networking\.k8s\.io\/v1\/HttpRoute"; known are /,
    ],
    [
      "an unknown version",
      (t) => t.replace("espalier.dev/v1alpha1", "espalier.dev/v9"),
      /^f\.yaml:15: apiVersion: unknown resource/,
    ],
    [
      "an unknown field",
      (t) => t.replace("  rules:", "  colour: red\n  rules:"),
      /^f\.yaml:13: spec\.colour: unknown field/,
    ],
    [
      "an unknown field deep inside",
      (t) => t.replace("port: 9000", "port: 9000, tls: true"),
      /^f\.yaml:20: spec\.endpoints\[0\]\.tls: unknown field/,
    ],
    [
      "a port out of range",
      (t) => t.replace("port: 9000", "port: 90000"),
      /^f\.yaml:20: spec\.endpoints\[0\]\.port: /,
    ],
    [
      "text where a number must be",
      (t) => t.replace("port: 9000", 'port: "9000"'),
      /^f\.yaml:20: spec\.endpoints\[0\]\.port: .*number/,
    ],
    [
      "a missing field",
      (t) => t.replace("  gatewayClassName: espalier\n", ""),
      /^f\.yaml:4: spec\.gatewayClassName: /,
    ],
    [
      "another class",
      (t) => t.replace("gatewayClassName: espalier", "gatewayClassName: other"),
      /^f\.yaml:5: spec\.gatewayClassName: /,
    ],
    [
      "a protocol that nobody speaks",
      (t) => t.replace("protocol: HTTP", "protocol: UDP"),
      /^f\.yaml:6: spec\.listeners\[0\]\.protocol: /,
    ],
    [
      "the same port twice",
      (t) =>
        t.replace(
          "protocol: HTTP }]",
          "protocol: HTTP }, { name: b, port: 8080, protocol: HTTP }]",
        ),
      /^f\.yaml:6: spec\.listeners\[1\]\.port: port 8080 has a listener for \* already/,
    ],
    [
      "the same name twice",
      (t) => `${t}---\n${t.split("---\n")[2]}`,
      /^f\.yaml:24: metadata\.name: Service default\/origin is defined in f\.yaml:17 already/,
    ],
    [
      "a key twice",
      (t) => t.replace("kind: Service", "kind: Service\nkind: Service"),
      /^f\.yaml:17: Map keys must be unique/,
    ],
    [
      "broken YAML",
      (t) => t.replace("{ name: edge }\nspec", "{ name: edge\nspec"),
      /^f\.yaml:\d+: /,
    ],
    [
      "an export without a service",
      (t) =>
        `${t}---\napiVersion: multicluster.x-k8s.io/v1alpha1\nkind: ServiceExport\nmetadata: { name: x }\n`,
      /^f\.yaml:24: metadata\.name: no Service x\.default/,
    ],
    ["a scalar for a resource", (t) => `${t}---\n42\n`, /^f\.yaml:22: not a resource/],
    ["an alias bomb", (t) => `${t}---\n${bomb()}`, /^f\.yaml:22: too many aliases/],
  ];
  for (const [what, change, expected] of CASES) {
    it(`are refused for ${what}`, () => {
      const changed = change(STATIC);
      assert.notEqual(changed, STATIC);
      const found = problemsOf(changed);
      assert.ok(
        found.some((line) => expected.test(line)),
        found.join("\n"),
      );
    });
  }

  it("tell all their problems at once", () => {
    const bad = STATIC.replace("port: 9000", "port: 0")
      .replace("protocol: HTTP", "protocol: UDP")
      .replace("  rules:", "  extra: 1\n  rules:");
    assert.equal(problemsOf(bad).length, 3, problemsOf(bad).join("\n"));
  });

  it("may have durations", () => {
    const timed = STATIC.replace(
      "port: 80 }] }]",
      "port: 80 }], timeouts: { request: 1m30s, backendRequest: 250ms } }]",
    );
    const { resources } = parseResources(timed, "f.yaml");
    assert.deepEqual(resources.routes[0]!.spec.rules[0]!.timeouts, {
      request: 90_000,
      backendRequest: 250,
    });
    assert.equal(problemsOf(timed.replace("1m30s", "1 minute")).length, 1);
  });

  it("are read from a directory, all files' problems together", async () => {
    const dir = await mkdtemp(join(tmpdir(), "espalier-config-"));
    assert.equal((await loadResources(dir)).ok, false);
    await writeFile(join(dir, "a.yaml"), STATIC);
    await writeFile(join(dir, "ignored.txt"), "{");
    assert.equal((await loadResources(dir)).ok, true);
    await writeFile(join(dir, "b.yaml"), "kind: 1");
    await writeFile(join(dir, "c.json"), '{"kind": 2}');
    const loaded = await loadResources(dir);
    assert.ok(!loaded.ok);
    assert.deepEqual(
      loaded.error.map(({ source }) => source),
      [join(dir, "b.yaml"), join(dir, "c.json")],
    );
    const gone = await loadResources(join(dir, "gone.yaml"));
    assert.ok(!gone.ok && gone.error[0]!.message.includes("no such file"));
    await rm(dir, { recursive: true });
  });
});

describe("the example tree", () => {
  it("is one", async () => {
    const loaded = await loadResources(join(ROOT, "examples", "tree.yaml"));
    assert.ok(loaded.ok, JSON.stringify(loaded));
    const planned = planTree(loaded.value);
    assert.ok(planned.ok, JSON.stringify(planned));
    assert.equal(planned.value.length, 3);
  });
});

describe("a tree", () => {
  const clusterText = (name: string, mesh = "acme.mesh") =>
    `apiVersion: espalier.dev/v1alpha1\nkind: Cluster\nmetadata: { name: ${name} }\nspec: { mesh: ${mesh} }\n`;
  const plan = (...texts: string[]) => {
    const { resources, problems } = parseResources(texts.join("---\n"), "t.yaml");
    assert.deepEqual(problems, []);
    const planned = planTree(resources);
    return planned.ok
      ? planned.value.map(({ name, tiers }) => `${name} ${tiers}`)
      : planned.error.map(formatProblem);
  };

  it("is planned from the core down", () => {
    const names = ["a.eu.acme.mesh", "eu.acme.mesh", "core.acme.mesh"].map((name) =>
      clusterText(name),
    );
    assert.deepEqual(plan(...names), ["core.acme.mesh 0", "eu.acme.mesh 1", "a.eu.acme.mesh 0"]);
  });

  it("is refused without a parent, in two meshes, or with resources for nobody", () => {
    assert.match(
      plan(clusterText("a.eu.acme.mesh"), clusterText("core.acme.mesh")).join(),
      /its parent eu\.acme\.mesh is not defined/,
    );
    assert.match(
      plan(clusterText("core.acme.mesh"), clusterText("core.b.mesh", "b.mesh")).join(),
      /the tree's mesh is acme\.mesh/,
    );
    assert.match(
      plan(clusterText("core.acme.mesh"), clusterText("x.other", "acme.mesh")).join(),
      /not in the mesh/,
    );
    const lost = `apiVersion: espalier.dev/v1alpha1\nkind: Service\nmetadata: { name: a, annotations: { espalier.dev/cluster: nowhere } }\nspec: { ports: [{ port: 1 }], endpoints: [] }\n`;
    assert.match(
      plan(clusterText("core.acme.mesh"), lost).join(),
      /t\.yaml:\d+: .*no Cluster nowhere is defined/,
    );
  });
});

function bomb(): string {
  const lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"];
  for (let i = 1; i < 12; i++) {
    lines.push(
      `a${i}: &a${i} [${Array(10)
        .fill(`*a${i - 1}`)
        .join(", ")}]`,
    );
  }
  return `${lines.join("\n")}\n`;
}

describe("routes that are equally specific", () => {
  const routeText = (name: string, created?: string): string => `---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: ${name}${created === undefined ? "" : `, creationTimestamp: "${created}"`} }
spec:
  parentRefs: [{ name: edge }]
  rules: [{ backendRefs: [{ name: origin, port: 80 }] }]
`;
  const orderOf = (...routes: string[]): string[] =>
    compileStatic(parseResources(STATIC + routes.join(""), "f.yaml").resources).routes.map(
      ({ name }) => name.slice("default/".length),
    );

  it("go by age, then by the alphabet", () => {
    assert.deepEqual(orderOf(routeText("c"), routeText("b")), ["all", "b", "c"]);
    const [old, young] = ["2026-01-01T00:00:00Z", "2026-02-01T00:00:00+02:00"];
    assert.deepEqual(orderOf(routeText("x", young), routeText("z", old)), ["z", "x", "all"]);
  });
});
