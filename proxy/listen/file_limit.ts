import { readFileSync } from "node:fs";
import type { Socket } from "node:net";

/** Of all file descriptors this part, and at least so many, are kept for endpoints, logs and the admin port. */
const RESERVED_SHARE = 8;
const RESERVED_MIN = 16;

/**
 * Highest file descriptor that a client's connection may have. Beyond the system's limit libuv would close
 * whoever comes without a word to us, and no endpoint could be reached for those who are here.
 */
export function clientFilesMax(): number {
  try {
    const limits = readFileSync("/proc/self/limits", "latin1");
    const max = Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1]);
    if (max > 0) return max - 1 - Math.max(RESERVED_MIN, Math.floor(max / RESERVED_SHARE));
  } catch {
    // Another system: libuv's way it is.
  }
  return Number.POSITIVE_INFINITY;
}

/** The system gives the lowest that is free: how high it is says how many are taken. */
export function fileOf(socket: Socket): number {
  const { _handle: handle } = socket as { readonly _handle?: { readonly fd?: number } | null };
  return handle?.fd ?? -1;
}
