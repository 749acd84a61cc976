import type { Brand } from "#kernel/brand.ts";
import { err, ok, type Result } from "#kernel/result.ts";
import { type ClusterName, isLabel } from "#model/names.ts";

/** `spiffe://<cluster>/<path>`: who a workload, a gateway or a control service is (SPIFFE-ID §2). */
export type SpiffeId = Brand<string, "SpiffeId">;

/** Roles that an id's path tells. `/mesh/` is reserved: only a control service issues it. */
export type PeerRole = "gateway" | "control" | "workload";

const ID_BYTES_MAX = 2_048;
const SEGMENT = /^[A-Za-z0-9._-]{1,128}$/;

/**
 * Stricter than the standard: the trust domain is a cluster name of DNS labels, the path has 1 to 16
 * segments. Compared as text ever after, never through `URL` (whose idea of a host differs).
 */
export function parseSpiffeId(text: string): Result<SpiffeId, string> {
  const bad = err(`"${printable(text)}" is not a SPIFFE id`);
  if (text.length > ID_BYTES_MAX || !text.startsWith("spiffe://")) return bad;
  const [domain, ...segments] = text.slice("spiffe://".length).split("/");
  if (!isTrustDomain(domain!) || segments.length === 0 || segments.length > 16) return bad;
  const fine = segments.every((s) => SEGMENT.test(s) && s !== "." && s !== "..");
  return fine ? ok(text as SpiffeId) : bad;
}

/** The trust domain of a signing certificate's id, which has no path; undefined if it is not one. */
export function parseDomainId(text: string): string | undefined {
  if (!text.startsWith("spiffe://")) return undefined;
  const domain = text.slice("spiffe://".length);
  return domain.length <= 253 && domain.split(".").every(isLabel) ? domain : undefined;
}

/** Id of a signing certificate: the domain alone. */
export function domainId(domain: string): string {
  return `spiffe://${domain}`;
}

/** The cluster that vouches for the id. */
export function trustDomainOf(id: SpiffeId): ClusterName {
  return id.slice("spiffe://".length, id.indexOf("/", "spiffe://".length)) as ClusterName;
}

/** With its leading slash: `/mesh/gateway`. */
export function pathOf(id: SpiffeId): string {
  return id.slice(id.indexOf("/", "spiffe://".length));
}

/** Id of a cluster's gateways. */
export function gatewayId(cluster: ClusterName): SpiffeId {
  return `spiffe://${cluster}/mesh/gateway` as SpiffeId;
}

/** Id of a cluster's control service. */
export function controlId(cluster: ClusterName): SpiffeId {
  return `spiffe://${cluster}/mesh/control` as SpiffeId;
}

/** Id of a workload: its namespace and service account. */
export function workloadId(cluster: ClusterName, namespace: string, account: string): SpiffeId {
  return `spiffe://${cluster}/ns/${namespace}/sa/${account}` as SpiffeId;
}

/** Undefined for a reserved path that means nothing (yet). */
export function roleOf(id: SpiffeId): PeerRole | undefined {
  const path = pathOf(id);
  if (path === "/mesh/gateway") return "gateway";
  if (path === "/mesh/control") return "control";
  return path.startsWith("/mesh/") || path === "/mesh" ? undefined : "workload";
}

function isTrustDomain(text: string): boolean {
  const labels = text.split(".");
  return text.length <= 253 && labels.length >= 2 && labels.every(isLabel);
}

function printable(text: string): string {
  return text.slice(0, 100).replace(/[^ -~]/g, "?");
}
