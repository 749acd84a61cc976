/** A line has at most so many bytes: what a pipe takes whole or not at all, so that workers' lines never mix. */
export const LINE_BYTES_MAX = 4_096;

/** Where finished requests are written down. */
export interface AccessLog {
  /** @param line one line of ASCII with its end, at most `LINE_BYTES_MAX` long. */
  write(line: string): void;
}
