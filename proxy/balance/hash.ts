/*
 * 32-bit hashes that every proxy of the mesh computes alike. They spread; they are no secret: who can choose what is
 * hashed can choose where it goes.
 */

/** Spreads the bits of a number over all 32 (the finisher of MurmurHash3, A. Appleby). */
export function mix32(value: number): number {
  let mixed = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

/** FNV-1a, not mixed: texts that differ at their ends are close together. @param offset 0x811c9dc5, or another one. */
export function fnv1a(text: string, offset: number): number {
  let hash = offset;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash;
}

/** Of a text, spread over all 32 bits. */
export function hashText(text: string): number {
  return mix32(fnv1a(text, 0x811c9dc5));
}

/** As a share of all: uniform in [0, 1). */
export function asShare(hash: number): number {
  return hash / 0x1_0000_0000;
}

/** Where a hash lies between 0 and 1; by other bits than those that choose the endpoint. */
export function pointOf(hash: number): number {
  const mixed = Math.imul(hash ^ (hash >>> 16), 0x45d9f3b);
  return asShare((mixed ^ (mixed >>> 15)) >>> 0);
}
