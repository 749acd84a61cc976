import { tlsPolicyOf } from "#control/config/backend_tls.ts";
import type { Resource, Resources } from "#control/config/resources.ts";
import type { ServiceSpec } from "#control/config/schema.ts";
import type { ServiceTls } from "#model/snapshot.ts";

/** How the endpoints of a Service are verified; undefined: they speak no TLS of their own. */
export function compileTls(
  service: Resource<ServiceSpec>,
  resources: Resources,
): ServiceTls | undefined {
  const { alpn, overTls } = service.spec.ports[0]!;
  const policy = tlsPolicyOf(service, resources);
  if (policy !== undefined) {
    const { hostname, subjectAltNames } = policy.spec.validation;
    return {
      serverName: hostname,
      ca: trustedBy(policy, resources),
      subjectAltNames: subjectAltNames.map((one) =>
        one.type === "URI"
          ? { type: one.type, value: one.uri }
          : { type: one.type, value: one.hostname },
      ),
      alpn: [...alpn],
    };
  }
  return overTls ? { ca: "system", subjectAltNames: [], alpn: [...alpn] } : undefined;
}

function trustedBy(
  { spec, metadata }: NonNullable<ReturnType<typeof tlsPolicyOf>>,
  { configMaps }: Resources,
): string {
  const { caCertificateRefs: refs } = spec.validation;
  if (refs.length === 0) return "system";
  return refs
    .flatMap(({ name }) =>
      configMaps.filter(
        ({ metadata: one }) => one.name === name && one.namespace === metadata.namespace,
      ),
    )
    .map((map) => map.spec["ca.crt"].trim())
    .join("\n");
}
