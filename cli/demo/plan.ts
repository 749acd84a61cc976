import type { ClusterName } from "#model/names.ts";

/*
 * The demo's tree, as YAML that `espalier up` would read: core; two regions; two stores under each;
 * `menu.shop` and `orders.shop` in every one, two endpoints each.
 */

export const DEMO_MESH = "acme.mesh";

const NAMES = ["core", "eu", "us", "store-1.eu", "store-2.eu", "store-1.us", "store-2.us"];
export const DEMO_CLUSTERS = NAMES.map((short) => `${short}.${DEMO_MESH}` as ClusterName);
export const STORE = `store-1.eu.${DEMO_MESH}` as ClusterName;
export const REGION = `eu.${DEMO_MESH}` as ClusterName;
export const DEMO_SERVICES = ["menu", "orders"] as const;
export type DemoService = (typeof DEMO_SERVICES)[number];

/** One way delay of the link to each cluster's gateway, ms. */
export function linkDelayOf(cluster: ClusterName): number {
  if (cluster.startsWith("store-")) return 6;
  return cluster === REGION ? 2 : 12;
}

export interface DemoPorts {
  /** Of the relay in front of the cluster's gateway. */
  readonly gateway: number;
  /** Of each service's endpoints. */
  readonly endpoints: Readonly<Record<DemoService, readonly number[]>>;
}

/**
 * One cluster's resources. An endpoint bears what a black hole holds up until it is noticed and then
 * releases at once: over two seconds of traffic.
 */
export function clusterText(cluster: ClusterName, ports: DemoPorts): string {
  const documents = [
    `apiVersion: espalier.dev/v1alpha1
kind: Cluster
metadata: { name: ${cluster} }
spec:
  mesh: ${DEMO_MESH}
  gateway: { listen: "127.0.0.1:0", advertise: "127.0.0.1:${ports.gateway}" }
`,
    `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: ingress, annotations: { espalier.dev/cluster: ${cluster} } }
spec:
  gatewayClassName: espalier
  listeners: [{ name: http, port: 0, protocol: HTTP }]
`,
  ];
  for (const service of DEMO_SERVICES) {
    const endpoints = ports.endpoints[service]
      .map((port) => `    - { address: 127.0.0.1, port: ${port} }\n`)
      .join("");
    const metadata = `metadata: { name: ${service}, namespace: shop, annotations: { espalier.dev/cluster: ${cluster} } }`;
    documents.push(
      `apiVersion: espalier.dev/v1alpha1
kind: Service
${metadata}
spec:
  ports: [{ port: 80 }]
  capacity: 200
  endpoints:
${endpoints}`,
      `apiVersion: multicluster.x-k8s.io/v1alpha1
kind: ServiceExport
${metadata}
`,
    );
  }
  return documents.join("---\n");
}
