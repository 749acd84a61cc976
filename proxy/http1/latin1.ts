declare global {
  interface Buffer {
    /** Bytes as characters U+0000 to U+00FF. Node's own, quicker than `toString("latin1")`. */
    latin1Slice(start?: number, end?: number): string;
  }
}

/** Bytes `from` to `to` as text, one character each: heads are read so (RFC 9110 §5.5). */
export function latin1(buffer: Buffer, from: number, to: number): string {
  return buffer.latin1Slice(from, to);
}
