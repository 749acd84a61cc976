import { writeDer } from "#certs/x509/der.ts";
import type { Millis } from "#kernel/brand.ts";
import { type ClusterName, type MeshName, parentOf } from "#model/names.ts";

/* Lifetimes and constraints of what we issue (reference: identity, §5). */

const HOUR: Millis = 3_600_000;
const DAY: Millis = 24 * HOUR;

/** Everything is valid from a little before it was made: clocks differ. */
export const BACKDATE: Millis = 5 * 60_000;
export const ROOT_TTL: Millis = 3_650 * DAY;

/** A cluster CA lives 90 days at the first level, 14 below: a stolen edge is outlived soon. */
export function clusterCaTtl(cluster: ClusterName, mesh: MeshName): Millis {
  return isFirstLevel(cluster, mesh) ? 90 * DAY : 14 * DAY;
}

/** Leaves live 1 h at the first level; 12 h below, where the parent may be out of reach. */
export function leafTtl(cluster: ClusterName, mesh: MeshName): Millis {
  return isFirstLevel(cluster, mesh) ? HOUR : 12 * HOUR;
}

function isFirstLevel(cluster: ClusterName, mesh: MeshName): boolean {
  const parent = parentOf(cluster, mesh);
  return parent === undefined || parentOf(parent, mesh) === undefined;
}

/** When to renew: at half of a leaf's life ± 10 %. @param chance 0 to 1. */
export function renewLeafAt(notBefore: Millis, notAfter: Millis, chance: number): Millis {
  return notBefore + (notAfter - notBefore) * (0.45 + 0.1 * chance);
}

/** A CA's at a third, so that two more tries remain before it ends. */
export function renewCaAt(notBefore: Millis, notAfter: Millis, chance: number): Millis {
  return notBefore + (notAfter - notBefore) * (0.3 + 0.0667 * chance);
}

const CONTEXT = { permitted: 0xa0, excluded: 0xa1, dns: 0x82, uri: 0x86, ip: 0x87 } as const;

/**
 * The value of a NameConstraints extension: this domain, the ones below it only if `below`, no IP
 * addresses. Without the leading-dot form for a cluster without children: OpenSSL has been led past it.
 */
export function nameConstraints(domain: string, below: boolean): Uint8Array {
  const ascii = (tag: number, text: string) =>
    writeDer(0x30, writeDer(tag, Buffer.from(text, "latin1")));
  const permitted = [ascii(CONTEXT.uri, domain), ascii(CONTEXT.dns, domain)];
  if (below) permitted.push(ascii(CONTEXT.uri, `.${domain}`));
  const excluded = [8, 32].map((bytes) =>
    writeDer(0x30, writeDer(CONTEXT.ip, new Uint8Array(bytes))),
  );
  return writeDer(
    0x30,
    writeDer(CONTEXT.permitted, ...permitted),
    writeDer(CONTEXT.excluded, ...excluded),
  );
}
