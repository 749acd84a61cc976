import { z } from "zod";
import { anyPort, cidr, duration, hostname, label } from "#control/config/scalars.ts";

/* Gateway of Gateway API v1, what it is parametrised with, and the certificates that it refers to. */

const certificateRef = z.strictObject({
  group: z.enum(["", "espalier.dev"]).optional(),
  kind: z.enum(["Secret", "Certificate"]).default("Secret"),
  name: label,
  namespace: label.optional(),
});

const tls = z.strictObject({
  mode: z.enum(["Terminate", "Passthrough"]).default("Terminate"),
  certificateRefs: z.array(certificateRef).max(64).default([]),
  options: z
    .strictObject({ "espalier.dev/min-version": z.enum(["1.2", "1.3"]).optional() })
    .default({}),
});

const listener = z
  .strictObject({
    name: label,
    port: anyPort,
    protocol: z.enum(["HTTP", "HTTPS", "TLS", "TCP"]),
    hostname: hostname.optional(),
    tls: tls.optional(),
    allowedRoutes: z
      .strictObject({
        namespaces: z
          .strictObject({ from: z.enum(["All", "Same", "None"]).default("Same") })
          .default({ from: "Same" }),
      })
      .default({ namespaces: { from: "Same" } }),
  })
  .superRefine((value, ctx) => {
    const problem = listenerProblem(value);
    if (problem !== undefined) ctx.addIssue({ code: "custom", ...problem });
  });

function listenerProblem(value: {
  readonly protocol: string;
  readonly hostname?: string | undefined;
  readonly tls?: z.infer<typeof tls> | undefined;
}): { path: PropertyKey[]; message: string } | undefined {
  const { protocol, tls: said, hostname: host } = value;
  const refs = said?.certificateRefs.length ?? 0;
  if (protocol === "HTTPS") {
    if (said?.mode === "Passthrough") {
      return { path: ["tls", "mode"], message: "an HTTPS listener terminates; use protocol TLS" };
    }
    if (refs === 0) return { path: ["tls"], message: "HTTPS needs tls.certificateRefs" };
    return undefined;
  }
  if (protocol === "TLS") {
    if (said?.mode !== "Passthrough") {
      return { path: ["tls"], message: "a TLS listener needs mode: Passthrough" };
    }
    return refs > 0
      ? { path: ["tls", "certificateRefs"], message: "nothing is terminated here" }
      : undefined;
  }
  if (said !== undefined) return { path: ["tls"], message: `not for protocol ${protocol}` };
  if (protocol === "TCP" && host !== undefined) {
    return { path: ["hostname"], message: "a TCP connection names no host" };
  }
  return undefined;
}

export const gatewaySpec = z.strictObject({
  gatewayClassName: z.literal("espalier"),
  listeners: z.array(listener).min(1).max(64),
  infrastructure: z
    .strictObject({
      parametersRef: z.strictObject({
        group: z.literal("espalier.dev"),
        kind: z.literal("GatewayParameters"),
        name: label,
      }),
    })
    .optional(),
});
export type GatewaySpec = z.infer<typeof gatewaySpec>;

const bytes = (min: number, max: number) => z.int().min(min).max(max).optional();
const wait = duration.refine((ms) => ms > 0, "must be more than nothing").optional();

/** How the listeners of a Gateway treat their clients. */
export const parametersSpec = z.strictObject({
  limits: z
    .strictObject({
      headBytes: bytes(1_024, 1_048_576).describe("of a request's head: 431 beyond; 65536"),
      headers: bytes(8, 4_096).describe("fields of a head: 431 beyond; 128"),
      targetBytes: bytes(256, 1_048_576).describe("of a request's target: 414 beyond; 16384"),
      connections: bytes(1, 1_000_000).describe("open at once on a port, per worker; 10000"),
    })
    .default({}),
  timeouts: z
    .strictObject({
      head: wait.describe("to the end of a request's head: 408; 10s"),
      idle: wait.describe("between requests; 60s"),
      body: wait.describe("without a byte of a request's body: 408; 30s"),
      streamIdle: wait.describe("without a byte of an answer or of a tunnel; 5m"),
    })
    .default({}),
  proxyProtocol: z
    .strictObject({ trusted: z.array(cidr).min(1).max(256) })
    .optional()
    .describe("connections from these blocks begin with a PROXY header, others must not"),
  forwarding: z
    .strictObject({
      trusted: z
        .array(cidr)
        .max(256)
        .default([])
        .describe("peers whose X-Forwarded-* and X-Request-Id are believed and added to"),
      forwarded: z.boolean().default(false).describe("writes RFC 7239 Forwarded as well"),
    })
    .default({ trusted: [], forwarded: false }),
  debug: z
    .strictObject({ trusted: z.array(cidr).min(1).max(256) })
    .optional()
    .describe(
      "clients in these blocks may ask by `espalier-debug: route` which way a request goes",
    ),
  accessLog: z
    .strictObject({
      share: z.number().min(0).max(1).default(1).describe("of requests; failures always"),
    })
    .optional(),
});
export type ParametersSpec = z.infer<typeof parametersSpec>;

const file = z.string().min(1).max(4_096);

/** A chain and its key as files, which are read again when they change. */
export const certificateSpec = z.strictObject({
  certificateFile: file.describe("PEM, the leaf first; relative to the configuration file"),
  keyFile: file.describe("PEM"),
  ocspFile: file.optional().describe("DER of an OCSP answer to be stapled"),
});
export type CertificateSpec = z.infer<typeof certificateSpec>;

const base64 = z
  .string()
  .regex(/^[A-Za-z0-9+/\s]*={0,2}\s*$/, "must be base64")
  .transform((text) => Buffer.from(text, "base64").toString("latin1"));

/** Kubernetes' `kubernetes.io/tls`; what it holds is either in base64 or plain. */
export const tlsSecretFields = {
  type: z.literal("kubernetes.io/tls"),
  data: z.strictObject({ "tls.crt": base64, "tls.key": base64 }).optional(),
  stringData: z.strictObject({ "tls.crt": z.string(), "tls.key": z.string() }).optional(),
};
