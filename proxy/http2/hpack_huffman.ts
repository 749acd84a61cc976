/*
 * The Huffman code of RFC 7541 Appendix B. It is canonical: within a length, codes ascend with the symbols, and
 * each length goes on where the one before it ended. So the lengths say all of it.
 */

/** Bits of each symbol's code; the last is EOS. */
const BITS = Uint8Array.of(
  ...[13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28],
  ...[28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28],
  ...[6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6],
  ...[5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10],
  ...[13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7],
  ...[7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6],
  ...[15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5],
  ...[6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28],
  ...[20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23],
  ...[24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24],
  ...[22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23],
  ...[21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23],
  ...[26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25],
  ...[19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27],
  ...[20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23],
  ...[26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26],
  30,
);
const EOS = 256;
const BITS_MAX = 30;

/** Each symbol's code, in the low bits. */
const CODES = canonicalCodes();

function canonicalCodes(): Uint32Array {
  const codes = new Uint32Array(BITS.length);
  let next = 0;
  for (let bits = 1; bits <= BITS_MAX; bits++) {
    next <<= 1;
    for (let symbol = 0; symbol <= EOS; symbol++) if (BITS[symbol] === bits) codes[symbol] = next++;
  }
  return codes;
}

/*
 * The decoder is a machine whose states are the inner nodes of the code's tree, 0 its root. A byte of input leads
 * from each to another and completes up to two symbols, for no code has less than five bits. An entry of
 * STEPS holds: the next state (8 bits), first symbol (8), second symbol (8), how many (2). A byte that
 * completes EOS leads nowhere (RFC 7541 §5.2).
 */
const STEPS = new Uint32Array(256 << 8);
const NOWHERE = 0xffff_ffff;
/** 1: the input may end here, for the bits since the last symbol are less than eight ones, the padding. */
const MAY_END = new Uint8Array(256);

buildSteps();

function buildSteps(): void {
  // Children of each node, 0-bit and 1-bit: another node, or -1 minus a symbol.
  const children = new Int16Array(512);
  let nodes = 1;
  for (let symbol = 0; symbol <= EOS; symbol++) {
    let node = 0;
    for (let bit = BITS[symbol]! - 1; bit > 0; bit--) {
      const branch = node * 2 + ((CODES[symbol]! >>> bit) & 1);
      if (children[branch] === 0) children[branch] = nodes++;
      node = children[branch]!;
    }
    children[node * 2 + (CODES[symbol]! & 1)] = -1 - symbol;
  }
  for (let node = 0; node < nodes; node++) {
    for (let byte = 0; byte < 256; byte++) STEPS[(node << 8) | byte] = step(children, node, byte);
  }
  for (let node = 0, ones = 0; ones < 8; ones++) {
    MAY_END[node] = 1;
    node = children[node * 2 + 1]!;
  }
}

function step(children: Int16Array, from: number, byte: number): number {
  let node = from;
  let symbols = 0;
  let count = 0;
  for (let bit = 7; bit >= 0; bit--) {
    const child = children[node * 2 + ((byte >>> bit) & 1)]!;
    node = Math.max(child, 0);
    if (child >= 0) continue;
    const symbol = -1 - child;
    if (symbol === EOS) return NOWHERE;
    symbols |= symbol << (count * 8);
    count++;
  }
  return ((count << 24) | (symbols << 8) | node) >>> 0;
}

/** What `huffmanDecode` may make of `bytes`: five bits are the shortest code. */
export function huffmanDecodedMax(bytes: number): number {
  return Math.ceil((bytes * 8) / 5);
}

/**
 * Decodes `from` to `to` into `into` at 0, which has room for `huffmanDecodedMax`.
 * @returns how many bytes; -1: EOS is in it, or it ends with more than seven bits of padding or others than ones.
 */
export function huffmanDecode(
  buffer: Uint8Array,
  from: number,
  to: number,
  into: Uint8Array,
): number {
  let state = 0;
  let at = 0;
  for (let i = from; i < to; i++) {
    const entry = STEPS[(state << 8) | buffer[i]!]!;
    if (entry === NOWHERE) return -1;
    const count = entry >>> 24;
    if (count !== 0) {
      into[at] = entry >>> 8;
      // One byte further may be written in vain: cheaper than to ask.
      into[at + 1] = entry >>> 16;
      at += count;
    }
    state = entry & 0xff;
  }
  return MAY_END[state] === 1 ? at : -1;
}

/** Bytes that `text` takes as Huffman code. Of characters beyond U+00FF the low byte counts, as it would in latin1. */
export function huffmanBytes(text: string): number {
  let bits = 0;
  for (let i = 0; i < text.length; i++) bits += BITS[text.charCodeAt(i) & 0xff]!;
  return (bits + 7) >>> 3;
}

/** Writes `text` at `at`, which has room for `huffmanBytes`; returns the end. */
export function huffmanEncode(text: string, into: Uint8Array, at: number): number {
  let pending = 0;
  let held = 0;
  for (let i = 0; i < text.length; i++) {
    const symbol = text.charCodeAt(i) & 0xff;
    let bits = BITS[symbol]!;
    let code = CODES[symbol]!;
    if (bits > 24) {
      // With up to seven bits held a whole code would not fit into 32.
      bits -= 16;
      held = (held << bits) | (code >>> 16);
      pending += bits;
      while (pending >= 8) {
        pending -= 8;
        into[at++] = held >>> pending;
      }
      bits = 16;
      code &= 0xffff;
    }
    held = (held << bits) | code;
    pending += bits;
    while (pending >= 8) {
      pending -= 8;
      into[at++] = held >>> pending;
    }
  }
  if (pending === 0) return at;
  into[at] = (held << (8 - pending)) | (0xff >>> pending);
  return at + 1;
}
