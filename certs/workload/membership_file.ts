import { readFile } from "node:fs/promises";
import { z } from "zod";
import type { Identity } from "#certs/identity/identity.ts";
import { parseSpiffeId } from "#certs/identity/spiffe_id.ts";
import { writeAtomically } from "#kernel/files.ts";
import { err, ok, type Result } from "#kernel/result.ts";
import { parseClusterName } from "#model/names.ts";
import { problemsOf } from "#model/problems.ts";

/** What a proxy keeps of its joining: who it is, and where its control service is. */
export interface Membership {
  readonly identity: Identity;
  /** `host:port` of the control service's API. */
  readonly api: string;
}

const schema = z.object({
  version: z.literal(1),
  api: z.string(),
  identity: z.object({
    id: z.string(),
    cluster: z.string(),
    chainPem: z.string(),
    keyPem: z.string(),
    rootsPem: z.string(),
    notBefore: z.number(),
    notAfter: z.number(),
  }),
});

/** Holds a private key: mode 0600. */
export function saveMembership(path: string, membership: Membership): Promise<void> {
  return writeAtomically(path, `${JSON.stringify({ version: 1, ...membership })}\n`, 0o600);
}

/** Reads it back. The error says what to do. */
export async function loadMembership(path: string): Promise<Result<Membership, string>> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch {
    return err(`${path} is not there: run "espalier join" first`);
  }
  const parsed = schema.safeParse(parseJson(text));
  if (!parsed.success) return err(`${path}: ${problemsOf(parsed.error, path)[0]?.message}`);
  const { identity, api } = parsed.data;
  const id = parseSpiffeId(identity.id);
  const cluster = parseClusterName(identity.cluster);
  if (!id.ok) return id;
  if (!cluster.ok) return cluster;
  return ok({ api, identity: { ...identity, id: id.value, cluster: cluster.value } });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
