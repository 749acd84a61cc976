/** The first file of the README, word for word, or with other ports. */
export function staticYaml(port = 8080, origin = 9000): string {
  return `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: edge }
spec:
  gatewayClassName: espalier
  listeners: [{ name: http, port: ${port}, protocol: HTTP }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: all }
spec:
  parentRefs: [{ name: edge }]
  rules: [{ backendRefs: [{ name: origin, port: 80 }] }]
---
apiVersion: espalier.dev/v1alpha1
kind: Service
metadata: { name: origin }
spec:
  ports: [{ port: 80, appProtocol: http }]
  endpoints: [{ address: 127.0.0.1, port: ${origin} }]
`;
}
