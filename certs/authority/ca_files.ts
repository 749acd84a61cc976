import { createPrivateKey, createPublicKey } from "node:crypto";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { AuthorityMaterial } from "#certs/authority/cluster_authority.ts";
import { parseCertificate } from "#certs/x509/certificate.ts";
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
} as const;

/** Writes a cluster's CA into `dir` (made if missing, mode 0700); keys have mode 0600. */
export async function saveAuthority(dir: string, material: AuthorityMaterial): Promise<void> {
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const { rootsPem, rootKeyPem, chainPem, keyPem } = material;
  await writeAtomically(join(dir, FILES.roots), rootsPem, 0o644);
  if (rootKeyPem !== undefined) {
    await writeAtomically(join(dir, FILES.rootKey), rootKeyPem, 0o600);
  }
  // The key first: a chain on disk always has its key beside it.
  await writeAtomically(join(dir, FILES.key), keyPem, 0o600);
  await writeAtomically(join(dir, FILES.chain), chainPem, 0o644);
}

/** Reads it back. The error says which file is wrong and how to come to a right one. */
export async function loadAuthority(dir: string): Promise<Result<AuthorityMaterial, string>> {
  const [rootsPem, rootKeyPem, chainPem, keyPem] = await Promise.all(
    [FILES.roots, FILES.rootKey, FILES.chain, FILES.key].map((name) => read(join(dir, name))),
  );
  if (rootsPem === undefined || chainPem === undefined || keyPem === undefined) {
    return err(`${dir}: no certificate authority here: run "espalier ca init" or "espalier join"`);
  }
  const first = certificatesOf(chainPem)[0];
  const certificate = first === undefined ? err("no certificate") : parseCertificate(first);
  if (!certificate.ok) return err(`${join(dir, FILES.chain)}: ${certificate.error}`);
  if (!matches(certificate.value.spki, keyPem)) {
    return err(`${join(dir, FILES.key)}: not the key of ${FILES.chain}`);
  }
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

function matches(spki: Uint8Array, keyPem: string): boolean {
  try {
    const key = createPublicKey(createPrivateKey(keyPem));
    return key.export({ type: "spki", format: "der" }).equals(spki);
  } catch {
    return false;
  }
}
