import { isIP } from "node:net";
import { byPrecedence } from "#control/config/precedence.ts";
import { meshNameOf, problemAt, type Resource, type Resources } from "#control/config/resources.ts";
import type { ServiceSpec } from "#control/config/schema.ts";
import type { BackendTlsSpec } from "#control/config/schema_backend_tls.ts";
import type { Problem } from "#kernel/result.ts";
import { type ServiceName, serviceName } from "#model/names.ts";

type Policy = Resource<BackendTlsSpec>;
type Service = Resource<ServiceSpec>;

/** The policy of each Service that has one, by the Service's name in the mesh. */
export function tlsPoliciesOf({ tlsPolicies }: Resources): ReadonlyMap<ServiceName, Policy> {
  const policies = new Map<ServiceName, Policy>();
  for (const policy of tlsPolicies) {
    for (const ref of policy.spec.targetRefs) {
      const name = targetOf(policy, ref);
      if (!policies.has(name)) policies.set(name, policy);
    }
  }
  return policies;
}

/** What is wrong with policies and what they refer to, and with Services whose endpoints could not be verified. */
export function tlsProblems(
  resources: Resources,
  services: ReadonlyMap<string, Service>,
): Problem[] {
  const owners = new Map<ServiceName, Policy>();
  const configMaps = new Set(
    resources.configMaps.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`),
  );
  return [
    ...resources.tlsPolicies.toSorted(byPrecedence).flatMap((policy) => [
      ...policy.spec.targetRefs.flatMap((ref, i) => {
        const problem = targetProblem(policy, ref, services, owners);
        if (problem === undefined) return [];
        const at = ["spec", "targetRefs", i, problem.field];
        return [problemAt(policy.origin, at, problem.message)];
      }),
      ...caProblems(policy, configMaps),
    ]),
    ...resources.services.flatMap((service) => serviceProblems(service, owners)),
  ];
}

type TargetRef = BackendTlsSpec["targetRefs"][number];

/** Gateway API: it stands beside the policy. */
function targetOf({ metadata }: Policy, { name }: TargetRef): ServiceName {
  return serviceName(name, metadata.namespace);
}

/** @param owners of Services that have a policy already; gets this one. */
function targetProblem(
  policy: Policy,
  ref: TargetRef,
  services: ReadonlyMap<string, Service>,
  owners: Map<ServiceName, Policy>,
): { readonly field: "name" | "sectionName"; readonly message: string } | undefined {
  const name = targetOf(policy, ref);
  const service = services.get(name);
  const say = (what: string) => ({ field: "name" as const, message: `Service ${name} ${what}` });
  if (service === undefined) return { field: "name", message: `no Service ${name} is defined` };
  const owner = owners.get(name);
  if (owner === policy) return say("is named twice");
  if (owner !== undefined) {
    const { name: first, namespace } = owner.metadata;
    return say(`has BackendTLSPolicy ${namespace}/${first}, which goes first`);
  }
  owners.set(name, policy);
  const { name: section, appProtocol } = service.spec.ports[0]!;
  if (ref.sectionName !== undefined && ref.sectionName !== section) {
    return { ...say(`has no port named ${ref.sectionName}`), field: "sectionName" };
  }
  if (appProtocol === "tcp") return say("has appProtocol tcp, whose connections go on as they are");
  return undefined;
}

function caProblems(
  { spec, metadata, origin }: Policy,
  configMaps: ReadonlySet<string>,
): Problem[] {
  return spec.validation.caCertificateRefs.flatMap(({ name }, i) => {
    const full = `${metadata.namespace}/${name}`;
    if (configMaps.has(full)) return [];
    const at = ["spec", "validation", "caCertificateRefs", i, "name"];
    return [problemAt(origin, at, `no ConfigMap ${full} is defined`)];
  });
}

/** Nobody is spoken to over TLS without a name that can be verified. */
function serviceProblems(service: Service, owners: ReadonlyMap<ServiceName, Policy>): Problem[] {
  const { spec, origin } = service;
  const hasPolicy = owners.has(meshNameOf(service));
  if (!hasPolicy && !spec.ports[0]!.overTls) return [];
  return spec.endpoints.flatMap(({ address, identity }, i) => {
    const at = ["spec", "endpoints", i];
    if (identity !== undefined) {
      const message = "an endpoint with an identity of the mesh has no other TLS";
      return [problemAt(origin, [...at, "identity"], message)];
    }
    if (hasPolicy || isIP(address) === 0) return [];
    const message = "an IP address is no name to verify; needs a BackendTLSPolicy with a hostname";
    return [problemAt(origin, [...at, "address"], message)];
  });
}
