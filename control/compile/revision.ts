import { createHash } from "node:crypto";
import type { Snapshot } from "#model/snapshot.ts";

/** Stamps a snapshot with the hash of its content: equal content, equal revision. */
export function withRevision(content: Omit<Snapshot, "revision">): Snapshot {
  const revision = createHash("sha256").update(JSON.stringify(content)).digest("hex").slice(0, 16);
  return { revision, ...content };
}
