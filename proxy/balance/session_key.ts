import { fnv1a } from "#proxy/balance/hash.ts";

/*
 * An endpoint's name in a session token: tells nobody outside where it is. Two different ones could get
 * the same name (1 in 2^64 pairs), which costs a client its session and nobody anything else.
 */

/** FNV-1a over two 32-bit halves with different offsets. @param key the endpoint's. */
export function sessionKeyOf(cluster: string, key: string): string {
  const text = `${cluster} ${key}`;
  return half(text, 0x811c9dc5) + half(text, 0x050c5d1f);
}

function half(text: string, offset: number): string {
  let hash = fnv1a(text, offset);
  // FNV's low bits are better than its high ones; one round of mixing makes them equal.
  hash = Math.imul(hash ^ (hash >>> 15), 0x85ebca6b);
  return ((hash ^ (hash >>> 13)) >>> 0).toString(16).padStart(8, "0");
}
