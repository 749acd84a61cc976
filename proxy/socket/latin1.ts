declare global {
  interface Buffer {
    /** Bytes as characters U+0000 to U+00FF. Node's own, quicker than `toString("latin1")`. */
    latin1Slice(start?: number, end?: number): string;
    /** The way back, of each character its low byte. Returns how many were written. */
    latin1Write(text: string, at?: number, length?: number): number;
  }
}

/** Bytes `from` to `to` as text, one character each: heads are read so (RFC 9110 §5.5). */
export function latin1(buffer: Buffer, from: number, to: number): string {
  return buffer.latin1Slice(from, to);
}

const END_OF_HEAD = Buffer.from("\r\n\r\n", "latin1");
/** Up to here turning all of it into text costs less than looking for the end first. */
const SMALL_BYTES = 4_096;

/** Text from `from` on that holds a whole head if there is one; of a long body behind it, little. */
export function headText(buffer: Buffer, from: number, bytesMax: number): string {
  const to = Math.min(buffer.length, from + bytesMax);
  if (to - from <= SMALL_BYTES) return latin1(buffer, from, to);
  const end = buffer.indexOf(END_OF_HEAD, from);
  return latin1(buffer, from, end < 0 ? to : Math.min(to, end + END_OF_HEAD.length));
}
