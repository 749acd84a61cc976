import { z } from "zod";
import { isLabel } from "#model/names.ts";
import { parsePattern } from "#model/pattern.ts";

/* The small values that resources are made of. */

export const label = z.string().refine(isLabel, "must be a DNS label: a-z, 0-9 and inner hyphens");
export const port = z.int().min(1).max(65_535);
export const anyPort = z.int().min(0).max(65_535).describe("0: chosen by the system");

const HOST = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*";

/** Of a listener or a route: may stand for all names below one. */
export const hostname = z
  .string()
  .max(253)
  .regex(
    new RegExp(`^(?:\\*\\.)?${HOST}$`),
    "must be a lower-case host name, possibly with *. in front",
  );

/** One host and no other. */
export const preciseHostname = z
  .string()
  .max(253)
  .regex(new RegExp(`^${HOST}$`), "must be a lower-case host name");

/** What an endpoint is reached by: an IP address without brackets, or a DNS name. */
export const placeName = z
  .string()
  .max(253)
  .refine((text) => isAddress(text) || isDnsName(text), "must be an IP address or a DNS name");

const address = z.union([z.ipv4(), z.ipv6()]);
const isAddress = (text: string): boolean => address.safeParse(text).success;

/** Underscores are no part of host names, and stand in DNS all the same. Digits alone are an address gone wrong. */
function isDnsName(text: string): boolean {
  if (/^[0-9.]*$/.test(text)) return false;
  const labels = (text.endsWith(".") ? text.slice(0, -1) : text).split(".");
  return labels.every((one) => /^[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/.test(one));
}

/** An address and a port; 0 where the system may choose. */
export interface HostPort {
  readonly address: string;
  readonly port: number;
}

/** `host:port`, the host an IP address or a name; IPv6 in brackets. */
export const hostPort = z
  .string()
  .regex(/^(?:\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):\d{1,5}$/, "must be host:port")
  .transform(splitHostPort)
  .refine(({ port: number }) => number <= 65_535, "port is above 65535");

export function splitHostPort(text: string): HostPort {
  const at = text.lastIndexOf(":");
  return { address: text.slice(0, at).replace(/^\[|\]$/g, ""), port: Number(text.slice(at + 1)) };
}

/** `10.0.0.0/8`, `::1/128`, or one address. */
export const cidr = z.union([z.cidrv4(), z.cidrv6(), z.ipv4(), z.ipv6()], {
  error: "must be an address block such as 10.0.0.0/8",
});

/** Gateway API GEP-2257: `1500ms`, `10s`, `1m30s`. In ms. */
export const duration = z
  .string()
  .regex(/^(?:\d{1,5}(?:h|ms|m|s)){1,4}$/, 'must be a duration such as "1500ms" or "1m30s"')
  .transform((text) => {
    const unit = { h: 3_600_000, m: 60_000, s: 1_000, ms: 1 } as const;
    let ms = 0;
    for (const [, count, name] of text.matchAll(/(\d+)(h|ms|m|s)/g)) {
      ms += Number(count) * unit[name as keyof typeof unit];
    }
    return ms;
  });

/** RE2 syntax; matches the whole of what it is compared with. */
export const pattern = z
  .string()
  .min(1)
  .superRefine((text, ctx) => {
    const parsed = parsePattern(text);
    if (!parsed.ok) ctx.addIssue({ code: "custom", message: parsed.error });
  });

/** Fields that only the codecs and the mesh itself may write. */
const RESERVED =
  /^(?:host|content-length|transfer-encoding|connection|keep-alive|proxy-connection|te|trailer|upgrade|x-mesh-.*)$/;

/** Of a header, RFC 9110 §5.6.2; in lower case after reading. */
export const headerName = z
  .string()
  .max(256)
  .regex(/^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/, "must be a header name")
  .transform((name) => name.toLowerCase());

/** One that a configuration may write. */
export const editableHeader = headerName.refine(
  (name) => !RESERVED.test(name),
  "belongs to the connection or to the mesh",
);

export const headerValue = z
  .string()
  .max(4_096)
  .regex(/^(?:[!-~](?:[\t -~]*[!-~])?)?$/, "must be printable ASCII, without blanks around it");

export const metadata = z.strictObject({
  name: label,
  namespace: label.default("default"),
  labels: z.record(z.string(), z.string()).optional(),
  annotations: z.record(z.string(), z.string()).default({}),
  creationTimestamp: z.iso
    .datetime({ offset: true })
    .optional()
    .describe("older routes win where two are equally specific"),
});
export type Metadata = z.infer<typeof metadata>;
