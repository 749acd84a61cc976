import type { Snapshot } from "#model/snapshot.ts";

/** A snapshot as it may be shown: private keys that came with it stay where they are. */
export function withoutKeys(snapshot: Snapshot): Snapshot {
  const listeners = snapshot.listeners.map((listener) => ({
    ...listener,
    certificates: listener.certificates.map((one) =>
      one.from === "pem" ? { ...one, key: "(not shown)" } : one,
    ),
  }));
  return { ...snapshot, listeners };
}
