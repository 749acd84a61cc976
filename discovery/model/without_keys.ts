import type { Snapshot } from "#model/snapshot.ts";

const NOT_SHOWN = "(not shown)";

/** A snapshot as it may be shown: private keys that came with it stay where they are, and so does that of sessions. */
export function withoutKeys(snapshot: Snapshot): Snapshot {
  const listeners = snapshot.listeners.map((listener) => ({
    ...listener,
    certificates: listener.certificates.map((one) =>
      one.from === "pem" ? { ...one, key: NOT_SHOWN } : one,
    ),
  }));
  const sealed = snapshot.sessionKey === undefined ? {} : { sessionKey: NOT_SHOWN };
  return { ...snapshot, ...sealed, listeners };
}
