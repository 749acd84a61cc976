import { compact } from "#control/compile/compact.ts";
import type { Resource, Resources } from "#control/config/resources.ts";
import type { GatewaySpec, ParametersSpec } from "#control/config/schema_gateway.ts";
import type { Certificate, ClientRules, Listener } from "#model/snapshot.ts";

/** All addresses of the machine, IPv4 and IPv6. */
const ANY_ADDRESS = "::";

type Gateway = Resource<GatewaySpec>;
type ListenerSpec = GatewaySpec["listeners"][number];
type CertificateRef = NonNullable<ListenerSpec["tls"]>["certificateRefs"][number];

/** A listener's name in a snapshot: unique among all Gateways of a cluster. */
export function listenerName(gateway: Resource<unknown>, listener: string): string {
  const { name, namespace } = gateway.metadata;
  return `${namespace}/${name}/${listener}`;
}

/** Every listener of the cluster's Gateways. */
export function compileListeners(resources: Resources): Listener[] {
  return resources.gateways.flatMap((gateway) => {
    const rules = clientRules(parametersOf(gateway, resources));
    return gateway.spec.listeners.map(({ name, port, protocol, hostname, tls }) => {
      const min = tls?.options["espalier.dev/min-version"];
      return compact({
        name: listenerName(gateway, name),
        address: ANY_ADDRESS,
        port,
        protocol,
        hostname,
        certificates: (tls?.certificateRefs ?? []).flatMap(
          (ref) => certificateOf(ref, gateway, resources) ?? [],
        ),
        tlsMinVersion: min === undefined ? undefined : (`TLSv${min}` as const),
        rules,
      });
    });
  });
}

/** What a Gateway's listener refers to; undefined if it is not there. */
export function certificateOf(
  ref: CertificateRef,
  gateway: Gateway,
  { secrets, certificates }: Resources,
): Certificate | undefined {
  const namespace = ref.namespace ?? gateway.metadata.namespace;
  const isIt = ({ metadata }: Resource<unknown>): boolean =>
    metadata.name === ref.name && metadata.namespace === namespace;
  const name = `${namespace}/${ref.name}`;
  if (ref.kind === "Secret") {
    const secret = secrets.find(isIt);
    if (secret === undefined) return undefined;
    const { spec } = secret;
    return { from: "pem", name, certificate: spec["tls.crt"], key: spec["tls.key"] };
  }
  const files = certificates.find(isIt)?.spec;
  if (files === undefined) return undefined;
  const { certificateFile: certificate, keyFile: key, ocspFile: ocsp } = files;
  return compact({ from: "file" as const, name, certificate, key, ocsp });
}

/** The GatewayParameters that a Gateway refers to; they stand in its own namespace. */
function parametersOf(gateway: Gateway, { parameters }: Resources): ParametersSpec | undefined {
  const name = gateway.spec.infrastructure?.parametersRef.name;
  const { namespace } = gateway.metadata;
  return parameters.find(
    ({ metadata }) => metadata.name === name && metadata.namespace === namespace,
  )?.spec;
}

function clientRules(spec: ParametersSpec | undefined): ClientRules | undefined {
  if (spec === undefined) return undefined;
  const { limits, timeouts, proxyProtocol, forwarding, accessLog, debug } = spec;
  return compact({
    headBytesMax: limits.headBytes,
    fieldsMax: limits.headers,
    targetBytesMax: limits.targetBytes,
    connectionsMax: limits.connections,
    headTimeoutMs: timeouts.head,
    idleTimeoutMs: timeouts.idle,
    bodyTimeoutMs: timeouts.body,
    streamIdleMs: timeouts.streamIdle,
    proxyProtocolFrom: proxyProtocol?.trusted ?? [],
    trustedForwarders: forwarding.trusted,
    forwarded: forwarding.forwarded,
    accessLogShare: accessLog?.share,
    debugFrom: debug?.trusted ?? [],
  });
}
