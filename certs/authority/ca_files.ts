import { mkdir, readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import type { AuthorityMaterial } from "#certs/authority/cluster_authority.ts";
import { isKeyOf } from "#certs/authority/keys.ts";
import { type Certificate, parseCertificate } from "#certs/x509/certificate.ts";
import { certificatesOf } from "#certs/x509/pem.ts";
import { meshOf } from "#certs/x509/root.ts";
import { domainOf } from "#certs/x509/rules.ts";
import { writeAtomically } from "#kernel/files.ts";
import { err, ok, type Result } from "#kernel/result.ts";
import { coreOf, parseClusterName } from "#model/names.ts";

const FILES = {
  roots: "root.pem",
  rootKey: "root.key",
  chain: "cluster.pem",
  key: "cluster.key",
  /** The key of a chain that is being written. */
  nextKey: "cluster.key.next",
} as const;

/**
 * Writes a cluster's CA into `dir` (made if missing, mode 0700); keys have mode 0600. However far it
 * comes, `loadAuthority` finds the old CA or the new one.
 * @param write replaces one file.
 */
export async function saveAuthority(
  dir: string,
  material: AuthorityMaterial,
  write = writeAtomically,
): Promise<void> {
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const { rootsPem, rootKeyPem, chainPem, keyPem } = material;
  await write(join(dir, FILES.roots), rootsPem, 0o644);
  if (rootKeyPem !== undefined) await write(join(dir, FILES.rootKey), rootKeyPem, 0o600);
  await keepKeyInUse(dir);
  // Beside the old key, which belongs to the chain on disk until the new chain has replaced it.
  await write(join(dir, FILES.nextKey), keyPem, 0o600);
  await write(join(dir, FILES.chain), chainPem, 0o644);
  await rename(join(dir, FILES.nextKey), join(dir, FILES.key));
}

/** A save that ended right after its chain was written has left that chain's key under the name of the next. */
async function keepKeyInUse(dir: string): Promise<void> {
  const [chainPem, next] = await Promise.all(
    [FILES.chain, FILES.nextKey].map((name) => read(join(dir, name))),
  );
  const certificate = chainPem === undefined ? undefined : firstOf(chainPem);
  if (next !== undefined && certificate?.ok === true && isKeyOf(certificate.value.spki, next)) {
    await rename(join(dir, FILES.nextKey), join(dir, FILES.key));
  }
}

/** Reads it back. The error says which file is wrong and how to come to a right one. */
export async function loadAuthority(dir: string): Promise<Result<AuthorityMaterial, string>> {
  const [rootsPem, rootKeyPem, chainPem, ...keys] = await Promise.all(
    [FILES.roots, FILES.rootKey, FILES.chain, FILES.key, FILES.nextKey].map((name) =>
      read(join(dir, name)),
    ),
  );
  const keyPems = keys.filter((key) => key !== undefined);
  if (rootsPem === undefined || chainPem === undefined || keyPems.length === 0) {
    return err(`${dir}: no certificate authority here: run "espalier ca init" or "espalier join"`);
  }
  const certificate = firstOf(chainPem);
  if (!certificate.ok) return err(`${join(dir, FILES.chain)}: ${certificate.error}`);
  const { spki } = certificate.value;
  const keyPem = keyPems.find((key) => isKeyOf(spki, key));
  if (keyPem === undefined) return err(`${join(dir, FILES.key)}: not the key of ${FILES.chain}`);
  const cluster = parseClusterName(domainOf(certificate.value) ?? "");
  if (!cluster.ok) return err(`${join(dir, FILES.chain)}: not a cluster's CA`);
  const root = meshOf(rootsPem);
  if (!root.ok) return err(`${join(dir, FILES.roots)}: ${root.error}`);
  const mesh = root.value;
  const material = { mesh, cluster: cluster.value, chainPem, keyPem, rootsPem };
  const keepsRoot = rootKeyPem !== undefined && cluster.value === coreOf(mesh);
  return ok(keepsRoot ? { ...material, rootKeyPem } : material);
}

async function read(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch {
    return undefined;
  }
}

function firstOf(chainPem: string): Result<Certificate, string> {
  const first = certificatesOf(chainPem)[0];
  return first === undefined ? err("no certificate") : parseCertificate(first);
}
