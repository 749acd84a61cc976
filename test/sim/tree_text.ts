import type { ClusterName } from "#model/names.ts";

/** A cluster of the tree, whose gateway is where the simulated network looks for it. */
export function clusterText(name: ClusterName, mesh: string, index: number): string {
  return `apiVersion: espalier.dev/v1alpha1
kind: Cluster
metadata: { name: ${name} }
spec: { mesh: ${mesh}, gateway: { listen: "127.0.0.1:${10_000 + index}" } }
`;
}

/** A service of `shop` that others may use. @param endpoints `address` and `port` of each. */
export function exportedServiceText(
  service: string,
  cluster: ClusterName,
  endpoints: readonly { readonly address: string; readonly port: number }[],
): string {
  const metadata = `metadata: { name: ${service}, namespace: shop, annotations: { espalier.dev/cluster: ${cluster} } }`;
  const places = endpoints.map(({ address, port }) => `{ address: ${address}, port: ${port} }`);
  return `---
apiVersion: espalier.dev/v1alpha1
kind: Service
${metadata}
spec: { ports: [{ port: 80 }], capacity: 20, endpoints: [${places.join(", ")}] }
---
apiVersion: multicluster.x-k8s.io/v1alpha1
kind: ServiceExport
${metadata}
`;
}
