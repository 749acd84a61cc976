import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { before, describe, it } from "node:test";
import { ownServices } from "#control/catalog/own.ts";
import { compileGateway, compileSidecar } from "#control/compile/mesh.ts";
import { parseResources } from "#control/config/parse.ts";
import type { ClusterSpec } from "#control/config/schema.ts";
import type { MeshName } from "#model/names.ts";
import { parseSnapshot } from "#model/snapshot.ts";
import { forge } from "#test/kit/forge.ts";
import { problemsOf, snapshotOf } from "#test/kit/gateway.ts";
import { cluster } from "#test/kit/mesh.ts";
import { ROOT } from "#test/kit/processes.ts";

const SYSTEM = "wellKnownCACertificates: System";

/** A Service `a`, its port named `web`. */
function service(appProtocol: string, endpoints = "[{ address: 127.0.0.1, port: 1 }]"): string {
  return `apiVersion: espalier.dev/v1alpha1
kind: Service
metadata: { name: a }
spec:
  ports: [{ name: web, port: 80, appProtocol: ${appProtocol} }]
  endpoints: ${endpoints}
`;
}

/** @param spec flow YAML; stands in line 11. */
function policy(spec: string, metadata = "{ name: p }"): string {
  return `---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: ${metadata}
spec: ${spec}
`;
}

function configMap(pem: string, name = "roots"): string {
  return `---
apiVersion: v1
kind: ConfigMap
metadata: { name: ${name} }
data:
  ca.crt: ${JSON.stringify(pem)}
`;
}

const toA = (validation: string): string =>
  `{ targetRefs: [{ group: "", kind: Service, name: a }], validation: ${validation} }`;
const BY_SYSTEM = toA(`{ hostname: shop.example, ${SYSTEM} }`);
const tlsOf = (text: string) => snapshotOf(text).services[0]!.tls;

describe("TLS of a Service's endpoints", () => {
  let pem: string;
  let other: string;
  before(async () => {
    pem = (await forge({ ca: true })).pem;
    other = (await forge({ ca: true })).pem;
  });

  it("is in the snapshot as its words mean it", () => {
    const NAMED = "[{ address: a.example, port: 1 }]";
    const both = ["h2", "http/1.1"];
    const system = { ca: "system", subjectAltNames: [] };
    assert.equal(tlsOf(service("http")), undefined);
    assert.equal(tlsOf(service("kubernetes.io/ws")), undefined);
    assert.deepEqual(tlsOf(service("https", NAMED)), { ...system, alpn: both });
    assert.deepEqual(tlsOf(service("kubernetes.io/wss", NAMED)), { ...system, alpn: ["http/1.1"] });
    const named = { ...system, serverName: "shop.example" };
    for (const [word, alpn] of [
      ["http", both],
      ["https", both],
      ["kubernetes.io/ws", ["http/1.1"]],
      ["kubernetes.io/h2c", ["h2"]],
      ["grpc", ["h2"]],
    ] as const) {
      assert.deepEqual(tlsOf(service(word) + policy(BY_SYSTEM)), { ...named, alpn }, word);
    }
    const { appProtocol } = snapshotOf(service("https", NAMED)).services[0]!;
    assert.equal(appProtocol, "http");
  });

  const everything = (): string =>
    service("https") +
    configMap(`${pem}${pem}`) +
    configMap(other, "more") +
    policy(`{ targetRefs: [{ kind: Service, name: a, sectionName: web }], validation: {
      caCertificateRefs: [{ group: "", kind: ConfigMap, name: roots }, { kind: ConfigMap, name: more }],
      hostname: shop.example, subjectAltNames: [{ type: Hostname, hostname: b.example },
        { type: URI, uri: "spiffe://acme.mesh/ns/shop" }] } }`);
  const meant = () => ({
    serverName: "shop.example",
    ca: `${pem.trim()}\n${pem.trim()}\n${other.trim()}`,
    subjectAltNames: [
      { type: "Hostname", value: "b.example" },
      { type: "URI", value: "spiffe://acme.mesh/ns/shop" },
    ],
    alpn: ["h2", "http/1.1"],
  });

  it("is in the snapshots of its cluster's gateway and sidecars, and is read back", () => {
    assert.deepEqual(tlsOf(everything()), meant());
    const { resources, problems } = parseResources(everything(), "f.yaml");
    assert.deepEqual(problems, []);
    const catalog = {
      mesh: "acme.mesh" as MeshName,
      cluster: cluster("eu"),
      gateways: [],
      own: ownServices(resources, cluster("eu")),
      health: new Map(),
      children: [],
      view: [],
      orders: [],
    };
    const spec = { gateway: { listen: { address: "::", port: 1 } } } as ClusterSpec;
    for (const compile of [compileGateway, compileSidecar]) {
      const snapshot = compile({ catalog, resources, spec });
      assert.deepEqual(snapshot.services[0]!.tls, meant());
      const read = parseSnapshot(JSON.parse(JSON.stringify(snapshot)), "test");
      assert.ok(read.ok && read.value.services[0]!.tls?.serverName === "shop.example");
    }
  });

  it("is refused in a snapshot that would trust nobody or agree on nothing", () => {
    const snapshot = snapshotOf(everything());
    const tls = snapshot.services[0]!.tls!;
    for (const change of [
      { ca: "" },
      { ca: "none" },
      { alpn: [] },
      { alpn: ["h3"] },
      { serverName: "" },
    ]) {
      const services = [{ ...snapshot.services[0]!, tls: { ...tls, ...change } }];
      assert.equal(parseSnapshot({ ...snapshot, services }, "test").ok, false);
    }
  });

  it("of the documentation is read as it is meant", async () => {
    const docs = await readFile(join(ROOT, "docs", "configuration.md"), "utf8");
    const block = docs.split("```yaml\n").find((text) => text.includes("kind: BackendTLSPolicy"));
    const [yaml] = block!.split("```");
    const whole = yaml!.replace(/ +-----BEGIN[\s\S]*?-----END CERTIFICATE-----/, (indented) =>
      pem.trim().replaceAll(/^/gm, /^ +/.exec(indented)![0]),
    );
    const { services } = snapshotOf(whole);
    assert.deepEqual(
      services.map(({ name, tls }) => [name, tls?.serverName, tls?.ca === "system", tls?.alpn]),
      [
        ["shop.default", "shop.internal.example", false, ["h2", "http/1.1"]],
        ["payments.default", undefined, true, ["h2", "http/1.1"]],
      ],
    );
  });

  const TWO = "[{ address: a.example, port: 1 }, { address: 10.0.0.1, port: 1 }]";
  const MESH = "[{ address: a.example, port: 1, identity: /ns/a }]";
  const BAD: ReadonlyArray<readonly [string, () => string, RegExp]> = [
    [
      "https to an IP address",
      () => service("https", TWO),
      /^f\.yaml:6: spec\.endpoints\[1\]\.address: an IP address is no name to verify; needs a BackendTLSPolicy/,
    ],
    [
      "wss to an IPv6 address",
      () => service("kubernetes.io/wss", '[{ address: "::1", port: 1 }]'),
      /endpoints\[0\]\.address: an IP address is no name to verify/,
    ],
    [
      "https to a sidecar",
      () => service("https", MESH),
      /^f\.yaml:6: spec\.endpoints\[0\]\.identity: an endpoint with an identity of the mesh has no other TLS$/,
    ],
    [
      "a policy for a sidecar",
      () => service("http", MESH) + policy(BY_SYSTEM),
      /endpoints\[0\]\.identity: an endpoint with an identity/,
    ],
    [
      "a policy for connections that go whole",
      () => service("tcp") + policy(BY_SYSTEM),
      /^f\.yaml:11: spec\.targetRefs\[0\]\.name: Service a\.default has appProtocol tcp, whose connections go/,
    ],
    [
      "a policy for nobody",
      () => policy(BY_SYSTEM),
      /^f\.yaml:5: spec\.targetRefs\[0\]\.name: no Service a\.default is defined$/,
    ],
    [
      "a policy of another namespace",
      () => service("http") + policy(BY_SYSTEM, "{ name: p, namespace: b }"),
      /targetRefs\[0\]\.name: no Service a\.b is defined$/,
    ],
    [
      "a second policy, though it stands first",
      () =>
        service("http") +
        policy(BY_SYSTEM, "{ name: z }") +
        policy(BY_SYSTEM, "{ name: old, creationTimestamp: 2020-01-01T00:00:00Z }"),
      /^f\.yaml:11: .*\[0\]\.name: Service a\.default has BackendTLSPolicy default\/old, which goes first$/,
    ],
    [
      "a Service that is named twice",
      () =>
        service("http") +
        policy(`{ targetRefs: [{ kind: Service, name: a }, { kind: Service, name: a }],
          validation: { hostname: b, ${SYSTEM} } }`),
      /targetRefs\[1\]\.name: Service a\.default is named twice$/,
    ],
    [
      "a port that there is not",
      () =>
        service("http") +
        policy(`{ targetRefs: [{ kind: Service, name: a, sectionName: admin }],
          validation: { hostname: b, ${SYSTEM} } }`),
      /targetRefs\[0\]\.sectionName: Service a\.default has no port named admin$/,
    ],
    [
      "another kind of target",
      () =>
        service("http") +
        policy(
          `{ targetRefs: [{ kind: Gateway, name: a }], validation: { hostname: b, ${SYSTEM} } }`,
        ),
      /^f\.yaml:11: spec\.targetRefs\[0\]\.kind: /,
    ],
    [
      "no target",
      () => policy(`{ targetRefs: [], validation: { hostname: b, ${SYSTEM} } }`),
      /spec\.targetRefs: /,
    ],
    [
      "nobody to trust",
      () => service("http") + policy(toA("{ hostname: b }")),
      /^f\.yaml:11: spec\.validation: needs one of caCertificateRefs and wellKnownCACertificates$/,
    ],
    [
      "an empty list of whom to trust",
      () => service("http") + policy(toA("{ hostname: b, caCertificateRefs: [] }")),
      /spec\.validation: needs one of/,
    ],
    [
      "two ways to trust",
      () =>
        service("http") +
        configMap(pem) +
        policy(
          toA(`{ hostname: b, ${SYSTEM}, caCertificateRefs: [{ kind: ConfigMap, name: roots }] }`),
        ),
      /spec\.validation: needs one of/,
    ],
    [
      "roots of somebody unknown",
      () => service("http") + policy(toA("{ hostname: b, wellKnownCACertificates: Mozilla }")),
      /validation\.wellKnownCACertificates: /,
    ],
    ["no name", () => service("http") + policy(toA(`{ ${SYSTEM} }`)), /validation\.hostname: /],
    [
      "an address for a name",
      () => service("http") + policy(toA(`{ hostname: 127.0.0.1, ${SYSTEM} }`)),
      /validation\.hostname: must be a name, not an IP address$/,
    ],
    [
      "a wildcard for a name",
      () => service("http") + policy(toA(`{ hostname: "*.example", ${SYSTEM} }`)),
      /validation\.hostname: must be a lower-case host name$/,
    ],
    [
      "an alternative name without the field of its type",
      () =>
        service("http") +
        policy(toA(`{ hostname: b, ${SYSTEM}, subjectAltNames: [{ type: URI, hostname: b }] }`)),
      /validation\.subjectAltNames\[0\]\.(uri|hostname): /,
    ],
    [
      "a URI without a scheme",
      () =>
        service("http") +
        policy(toA(`{ hostname: b, ${SYSTEM}, subjectAltNames: [{ type: URI, uri: b }] }`)),
      /subjectAltNames\[0\]\.uri: must be a URI with its scheme$/,
    ],
    [
      "options",
      () => service("http") + policy(BY_SYSTEM.replace(/ }$/, ", options: {} }")),
      /^f\.yaml:11: spec\.options: unknown field/,
    ],
    [
      "a ConfigMap that there is not",
      () =>
        service("http") +
        policy(toA("{ hostname: b, caCertificateRefs: [{ kind: ConfigMap, name: roots }] }")),
      /^f\.yaml:11: spec\.validation\.caCertificateRefs\[0\]\.name: no ConfigMap default\/roots is defined$/,
    ],
    [
      "CAs in a Secret",
      () =>
        service("http") +
        policy(toA("{ hostname: b, caCertificateRefs: [{ kind: Secret, name: roots }] }")),
      /validation\.caCertificateRefs\[0\]\.kind: /,
    ],
    [
      "a bundle of nothing",
      () => configMap("none"),
      /^f\.yaml:6: data\.ca\.crt: must hold certificates, PEM$/,
    ],
    [
      "a bundle with a key in it",
      () => configMap(`${pem}-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n`),
      /must hold nothing but certificates, PEM$/,
    ],
    [
      "a bundle with a broken certificate",
      () => configMap(`${pem}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n`),
      /certificate 2 cannot be read$/,
    ],
    [
      "a ConfigMap with something else",
      () => configMap(pem).replace("ca.crt", "ca.pem"),
      /unknown field/,
    ],
  ];
  for (const [what, text, expected] of BAD) {
    it(`is refused for ${what}`, () => {
      const found = problemsOf(text());
      assert.ok(
        found.some((problem) => expected.test(problem)),
        found.join("\n"),
      );
    });
  }
});
