import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { planTree } from "#cli/up/tree_problems.ts";
import { parseResources } from "#control/config/parse.ts";
import { referenceProblems } from "#control/config/references.ts";
import { formatProblem } from "#kernel/result.ts";
import { gatewayYaml, problemsOf } from "#test/kit/gateway.ts";
import { policyYaml } from "#test/kit/traffic_policy.ts";

const ROUTE = gatewayYaml([], { a: [1], b: [2] }).replace("  rules:\n", "  rules: [{}]\n");
const SERVICES = `${ROUTE}---
apiVersion: espalier.dev/v1alpha1
kind: Service
metadata: { name: pipe }
spec:
  ports: [{ port: 80, appProtocol: tcp }]
  endpoints: [{ address: 127.0.0.1, port: 3 }]
`;
/** Line of the `spec` of a policy that follows. */
const AT = SERVICES.split("\n").length + 4;

describe("a TrafficPolicy that says what cannot be is refused", () => {
  const TCP = "targetRef: { kind: Service, name: pipe }";
  for (const [spec, path, says] of [
    ["balance: { algorithm: RingHash }", "balance.algorithm", /RingHash needs hashOn/],
    ["balance: { algorithm: Maglev }", "balance.algorithm", /Maglev needs hashOn/],
    ["balance: { hashOn: { type: Caller } }", "balance.hashOn", /without algorithm: RingHash/],
    [
      "balance: { algorithm: PeakEwma, hashOn: { type: Caller } }",
      "balance.hashOn",
      /without algorithm: RingHash/,
    ],
    ["balance: { algorithm: Best }", "balance.algorithm", /./],
    ["balance: { algorithm: Maglev, hashOn: { type: Header } }", "balance.hashOn.name", /./],
    ["balance: { panicPercent: 101 }", "balance.panicPercent", /./],
    ["balance: { slowStart: 3 }", "balance.slowStart", /./],
    ["outliers: { ejection: 2s, maxEjection: 1s }", "outliers.maxEjection", /shorter/],
    ["outliers: { interval: 0s }", "outliers.interval", /more than nothing/],
    ["limits: { requests: 0 }", "limits.requests", /./],
    ["limits: { request: 1 }", "limits.request", /unknown field/],
    ["waterfall: { deadBandPercent: -1 }", "waterfall.deadBandPercent", /./],
    ["retries: { budgetPercent: 120 }", "retries.budgetPercent", /./],
    ["hedging: {}", "hedging.percentile", /./],
    ["hedging: { percentile: 40 }", "hedging.percentile", /must be 0, or 50 to 99\.9/],
    ["hedging: { percentile: 100 }", "hedging.percentile", /must be 0, or 50 to 99\.9/],
    ["priority: { class: best }", "priority.class", /./],
    ["rateLimits: [{ name: x }]", "rateLimits[0].requests", /./],
    ["rateLimits: [{ name: x, requests: 1, per: 0s }]", "rateLimits[0].per", /more than nothing/],
    [
      "rateLimits: [{ name: x, requests: 1 }, { name: x, requests: 2 }]",
      "rateLimits[1].name",
      /"x" is taken/,
    ],
    ["places: { mustStayIn: core }", "places.mustStayIn", /not a cluster name/],
    ["places: { mustStayIn: eu.acme.mesh }", "places.mustStayIn", /not in the mesh local/],
    ["places: { pin: eu.local }", "places.pin", /no Cluster eu\.local is defined/],
    [
      "places: { mustStayIn: core.local, pin: eu.local }",
      "places.pin",
      /eu\.local is outside of mustStayIn: core\.local/,
    ],
    [
      "places: { mustStayIn: core.local, split: [{ cluster: eu.local, weight: 1 }] }",
      "places.split[0].cluster",
      /eu\.local is outside of mustStayIn: core\.local/,
    ],
    [
      "places: { split: [{ cluster: core.local, weight: -1 }] }",
      "places.split[0].weight",
      /must not be negative/,
    ],
    [
      "places: { split: [{ cluster: core.local, weight: 0 }] }",
      "places.split",
      /all weights are 0/,
    ],
    [
      "places: { split: [{ cluster: core.local, weight: 1 }, { cluster: core.local, weight: 2 }] }",
      "places.split[1].cluster",
      /core\.local is named twice/,
    ],
    [
      "places: { split: [{ cluster: eu.local, weight: 1 }, { cluster: s.eu.local, weight: 2 }] }",
      "places.split[1].cluster",
      /s\.eu\.local and eu\.local lie within each other/,
    ],
    ["targetRef: { kind: Service, name: gone }", "targetRef.name", /no Service gone\.default/],
    ["targetRef: { kind: Gateway, name: edge }", "targetRef.kind", /./],
    [
      "targetRef: { kind: Cluster, name: eu.local }",
      "targetRef.name",
      /the cluster it stands in, core\.local/,
    ],
    [`${TCP}, hedging: { percentile: 95 }`, "hedging", /appProtocol tcp has connections/],
    [`${TCP}, priority: { header: x }`, "priority.header", /appProtocol tcp/],
    [
      `${TCP}, balance: { algorithm: Maglev, hashOn: { type: Cookie, name: c } }`,
      "balance.hashOn",
      /appProtocol tcp/,
    ],
    [
      `${TCP}, rateLimits: [{ name: x, requests: 1, by: { type: Header, name: x } }]`,
      "rateLimits[0].by",
      /appProtocol tcp/,
    ],
  ] as const) {
    it(`{ ${spec} }`, () => {
      const [problem = "nothing is wrong", ...more] = problemsOf(
        SERVICES + policyYaml(`{ ${spec} }`),
      );
      assert.deepEqual(more, []);
      assert.ok(problem.startsWith(`f.yaml:${AT}: spec.${path}: `), problem);
      assert.match(problem, says);
    });
  }

  it("with nothing wrong where it is for connections", () => {
    const spec = `{ ${TCP}, limits: { requests: 5 }, retries: { budgetPercent: 10 },
      balance: { algorithm: Maglev, hashOn: { type: SourceAddress } },
      rateLimits: [{ name: x, requests: 1, by: { type: Caller } }], priority: { class: critical } }`;
    assert.deepEqual(problemsOf(SERVICES + policyYaml(spec)), []);
  });

  it("with two for one target, and both places are said", () => {
    for (const target of ["targetRef: { kind: Service, name: a }", ""]) {
      const again = target === "" ? "targetRef: { kind: Cluster, name: core.local }" : target;
      const text =
        SERVICES + policyYaml(`{ ${target} }`, "one") + policyYaml(`{ ${again} }`, "two");
      const [problem, ...more] = problemsOf(text);
      assert.deepEqual(more, []);
      const what = target === "" ? "every service" : "a\\.default";
      assert.match(
        problem!,
        new RegExp(
          `^f\\.yaml:${AT + 5}: spec\\.targetRef\\.name: ${what} has TrafficPolicy default/one \\(f\\.yaml:${AT - 1}\\)`,
        ),
      );
    }
  });

  it("whose places do not fit those of the policy for all", () => {
    const target = "targetRef: { kind: Service, name: a }";
    const all = (places: string) => policyYaml(`{ places: { ${places} } }`, "all");
    const own = (places: string) => policyYaml(`{ ${target}, places: { ${places} } }`, "own");
    const told = (text: string) => {
      const { resources } = parseResources(
        `${text}---\n${clusterYaml("core.acme.mesh")}`,
        "f.yaml",
      );
      return referenceProblems(resources, { elsewhere: undefined }).map(formatProblem);
    };
    for (const [general, special, says] of [
      [
        "mustStayIn: eu.acme.mesh",
        "pin: us.acme.mesh",
        /places\.pin: pin us\.acme\.mesh is outside/,
      ],
      [
        "mustStayIn: eu.acme.mesh",
        "split: [{ cluster: us.acme.mesh, weight: 1 }]",
        /places\.split: split us\.acme\.mesh is outside/,
      ],
      ["pin: us.acme.mesh", "mustStayIn: eu.acme.mesh", /places\.mustStayIn: pin us\.acme\.mesh/],
    ] as const) {
      const problems = told(all(general) + own(special));
      assert.equal(problems.length, 1, problems.join("\n"));
      assert.match(problems[0]!, says);
    }
    assert.deepEqual(
      told(all("mustStayIn: eu.acme.mesh") + own("mustStayIn: us.acme.mesh, pin: us.acme.mesh")),
      [],
    );
    assert.deepEqual(told(all("mustStayIn: eu.acme.mesh") + own("pin: s.eu.acme.mesh")), []);
  });
});

describe("a Service that says of its data what cannot be is refused", () => {
  const withReplication = (replication: string, appProtocol = "http") =>
    `${ROUTE}---
apiVersion: espalier.dev/v1alpha1
kind: Service
metadata: { name: db }
spec:
  ports: [{ port: 80, appProtocol: ${appProtocol} }]
  endpoints: [{ address: 127.0.0.1, port: 3 }]
  replication: ${replication}
`;
  for (const [replication, appProtocol, says] of [
    [
      "{ primary: eu.local, epoch: 1, replicas: [core.local], maxStaleness: 1s }",
      "http",
      /replication\.primary: eu\.local is not among the replicas/,
    ],
    [
      "{ primary: core.local, epoch: 1, replicas: [core.local, core.local], maxStaleness: 1s }",
      "http",
      /replication\.replicas\[1\]: core\.local is named twice/,
    ],
    [
      "{ primary: core.local, epoch: -1, replicas: [core.local], maxStaleness: 1s }",
      "http",
      /replication\.epoch: /,
    ],
    [
      "{ primary: core.local, epoch: 1, replicas: [core.local, eu.acme.mesh], maxStaleness: 1s }",
      "http",
      /replication\.replicas\[1\]: eu\.acme\.mesh is not in the mesh local/,
    ],
    [
      "{ primary: core.local, epoch: 1, replicas: [core.local], maxStaleness: 1s }",
      "tcp",
      /replication: not for appProtocol: tcp/,
    ],
  ] as const) {
    it(`${appProtocol} ${replication}`, () => {
      const [problem, ...more] = problemsOf(withReplication(replication, appProtocol));
      assert.deepEqual(more, []);
      assert.match(problem!, /^f\.yaml:\d+: spec\./);
      assert.match(problem!, says);
    });
  }
});

function clusterYaml(name: string): string {
  return `apiVersion: espalier.dev/v1alpha1
kind: Cluster
metadata: { name: ${name} }
spec: { mesh: acme.mesh }
`;
}

describe("where a whole tree is known", () => {
  const TREE = ["core", "eu", "us"].map((one) => clusterYaml(`${one}.acme.mesh`)).join("---\n");
  const serviceIn = (cluster: string) => `---
apiVersion: espalier.dev/v1alpha1
kind: Service
metadata: { name: menu, annotations: { espalier.dev/cluster: ${cluster}.acme.mesh } }
spec:
  ports: [{ port: 80 }]
  endpoints: [{ address: 127.0.0.1, port: 3 }]
`;
  const policyIn = (cluster: string, spec: string) =>
    policyYaml(spec).replace(
      "{ name: p }",
      `{ name: p, annotations: { espalier.dev/cluster: ${cluster}.acme.mesh } }`,
    );
  const told = (text: string) => {
    const { resources, problems } = parseResources(TREE + text, "t.yaml");
    assert.deepEqual(problems, []);
    const planned = planTree(resources);
    return planned.ok ? [] : planned.error.map(formatProblem);
  };
  const only = (text: string) => {
    const [problem, ...more] = told(text);
    assert.deepEqual(more, []);
    return problem ?? "nothing is wrong";
  };

  it("a fence against the only provider is refused", () => {
    for (const target of ["", "targetRef: { kind: Service, name: menu }, "]) {
      const fence = policyIn("core", `{ ${target}places: { mustStayIn: eu.acme.mesh } }`);
      assert.match(
        only(serviceIn("us") + fence),
        /^t\.yaml:26: spec\.places\.mustStayIn: nobody in eu\.acme\.mesh provides menu\.default, which .* only in us\./,
      );
      assert.deepEqual(told(serviceIn("us") + serviceIn("eu") + fence), []);
    }
  });

  it("a cluster that is not there is refused", () => {
    const text = policyIn("core", "{ places: { pin: asia.acme.mesh } }");
    assert.match(only(text), /places\.pin: no Cluster asia\.acme\.mesh is defined/);
    const mesh = policyIn("core", "{ places: { mustStayIn: acme.mesh } }");
    assert.match(only(mesh), /acme\.mesh is the mesh, not a cluster/);
  });

  it("what loosens a parent's limit is refused, at the child's line", () => {
    const parent = policyIn(
      "core",
      "{ limits: { requests: 10, adaptive: true }, retries: { budgetPercent: 20 }, rateLimits: [{ name: x, requests: 5 }], places: { mustStayIn: eu.acme.mesh } }",
    );
    for (const [spec, says] of [
      [
        "limits: { requests: 11 }",
        /spec\.limits\.requests: 11 is looser than 10 of core\.acme\.mesh default\/p$/,
      ],
      ["limits: { adaptive: false }", /spec\.limits\.adaptive: false is looser than true/],
      ["retries: { budgetPercent: 30 }", /spec\.retries\.budgetPercent: 30 % is looser than 20 %/],
      [
        "rateLimits: [{ name: y, requests: 1 }, { name: x, requests: 6, burst: 2 }]",
        /spec\.rateLimits\[1\]\.requests: 6 is looser than 5/,
      ],
      [
        "rateLimits: [{ name: x, requests: 1, burst: 6 }]",
        /spec\.rateLimits\[0\]\.burst: 6 is looser than 5/,
      ],
      [
        "places: { mustStayIn: us.acme.mesh }",
        /mustStayIn: us\.acme\.mesh excludes eu\.acme\.mesh/,
      ],
      ["places: { pin: us.acme.mesh }", /places\.pin: us\.acme\.mesh is outside of mustStayIn eu/],
    ] as const) {
      const problem = only(parent + policyIn("us", `{ ${spec} }`));
      assert.match(problem, /^t\.yaml:24: spec\./);
      assert.match(problem, says);
    }
    const tighter = "{ limits: { requests: 9 }, rateLimits: [{ name: x, requests: 1 }] }";
    assert.deepEqual(told(parent + policyIn("us", tighter)), []);
    // What is no limit may be another way.
    const usual = policyIn("core", "{ balance: { algorithm: RoundRobin } }");
    assert.deepEqual(told(usual + policyIn("us", "{ balance: { algorithm: PeakEwma } }")), []);
  });
});
