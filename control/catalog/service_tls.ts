import { tlsPoliciesOf } from "#control/config/backend_tls.ts";
import { meshNameOf, type Resource, type Resources } from "#control/config/resources.ts";
import type { ServiceSpec } from "#control/config/schema.ts";
import type { BackendTlsSpec } from "#control/config/schema_backend_tls.ts";
import type { ServiceTls } from "#model/snapshot.ts";

/** Says of a Service how its endpoints are verified; undefined: they speak no TLS of their own. */
export function tlsCompiler(
  resources: Resources,
): (service: Resource<ServiceSpec>) => ServiceTls | undefined {
  const policies = tlsPoliciesOf(resources);
  const configMaps = Map.groupBy(
    resources.configMaps,
    ({ metadata }) => `${metadata.namespace}/${metadata.name}`,
  );
  const trustedBy = ({ spec, metadata }: Resource<BackendTlsSpec>): string => {
    const { caCertificateRefs: refs } = spec.validation;
    if (refs.length === 0) return "system";
    return refs
      .flatMap(({ name }) => configMaps.get(`${metadata.namespace}/${name}`) ?? [])
      .map((map) => map.spec["ca.crt"].trim())
      .join("\n");
  };
  return (service) => {
    const { alpn, overTls } = service.spec.ports[0]!;
    const policy = policies.get(meshNameOf(service));
    if (policy === undefined) {
      return overTls ? { ca: "system", subjectAltNames: [], alpn: [...alpn] } : undefined;
    }
    const { hostname, subjectAltNames } = policy.spec.validation;
    return {
      serverName: hostname,
      ca: trustedBy(policy),
      subjectAltNames: subjectAltNames.map((one) =>
        one.type === "URI"
          ? { type: one.type, value: one.uri }
          : { type: one.type, value: one.hostname },
      ),
      alpn: [...alpn],
    };
  };
}
