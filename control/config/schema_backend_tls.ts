import { X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import { z } from "zod";
import { certificatesOf } from "#certs/x509/pem.ts";
import { label, preciseHostname } from "#control/config/scalars.ts";

/* BackendTLSPolicy of Gateway API v1, and the ConfigMaps with the CAs that it trusts. */

const targetRef = z.strictObject({
  group: z.enum(["", "espalier.dev"]).default(""),
  kind: z.literal("Service"),
  name: label,
  sectionName: label.optional().describe("name of the Service's port"),
});

const caRef = z.strictObject({
  group: z.literal("").default(""),
  kind: z.literal("ConfigMap"),
  name: label,
});

/** A name that a certificate can be for; a wildcard would leave open whose it is. */
const serverName = preciseHostname.refine(
  (name) => isIP(name) === 0,
  "must be a name, not an IP address",
);

const subjectAltName = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("Hostname"), hostname: serverName }),
  z.strictObject({
    type: z.literal("URI"),
    uri: z
      .string()
      .max(253)
      .regex(/^[A-Za-z][A-Za-z0-9+.-]*:[!-~]+$/, "must be a URI with its scheme"),
  }),
]);

const validation = z
  .strictObject({
    caCertificateRefs: z.array(caRef).max(8).default([]),
    wellKnownCACertificates: z.literal("System").optional(),
    hostname: serverName,
    subjectAltNames: z.array(subjectAltName).max(5).default([]),
  })
  .superRefine(({ caCertificateRefs: refs, wellKnownCACertificates: known }, ctx) => {
    if (refs.length > 0 !== (known !== undefined)) return;
    const message = "needs one of caCertificateRefs and wellKnownCACertificates";
    ctx.addIssue({ code: "custom", path: [], message });
  });

/** How Services whose endpoints speak TLS are verified. */
export const backendTlsSpec = z.strictObject({
  targetRefs: z.array(targetRef).min(1).max(16),
  validation,
});
export type BackendTlsSpec = z.infer<typeof backendTlsSpec>;

/** Kubernetes' ConfigMap, of which only a bundle of CAs is of use here. */
export const configMapFields = {
  data: z.strictObject({
    "ca.crt": z.string().superRefine((pem, ctx) => {
      const problem = bundleProblem(pem);
      if (problem !== undefined) ctx.addIssue({ code: "custom", message: problem });
    }),
  }),
};

function bundleProblem(pem: string): string | undefined {
  const certificates = certificatesOf(pem);
  if (certificates.length === 0) return "must hold certificates, PEM";
  // One that is left out by its form would be missed only in a handshake.
  if (certificates.length !== pem.split("-----BEGIN ").length - 1) {
    return "must hold nothing but certificates, PEM";
  }
  for (const [i, der] of certificates.entries()) {
    try {
      new X509Certificate(der);
    } catch {
      return `certificate ${i + 1} cannot be read`;
    }
  }
  return undefined;
}
