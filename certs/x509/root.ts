import { parseCertificate } from "#certs/x509/certificate.ts";
import { certificatesOf } from "#certs/x509/pem.ts";
import { domainOf } from "#certs/x509/rules.ts";
import { err, type Result } from "#kernel/result.ts";
import { type MeshName, parseMeshName } from "#model/names.ts";

/** The mesh whose root these are: its name stands in the root's certificate. */
export function meshOf(rootsPem: string): Result<MeshName, string> {
  const der = certificatesOf(rootsPem)[0];
  const root = der === undefined ? err("no root certificate") : parseCertificate(der);
  return root.ok ? parseMeshName(domainOf(root.value) ?? "") : root;
}
