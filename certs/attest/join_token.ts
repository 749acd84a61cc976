import { createHash, randomBytes } from "node:crypto";
import { z } from "zod";
import { certificatesOf, pemOf } from "#certs/x509/pem.ts";
import type { Millis } from "#kernel/brand.ts";
import { err, ok, type Result } from "#kernel/result.ts";

/** What a token lets its bearer become, once. */
export type JoinSubject =
  | { readonly kind: "cluster"; readonly cluster: string; readonly tiers: number }
  | { readonly kind: "proxy"; readonly id: string };

/** What the issuer keeps: the secret itself is nowhere but in the token. */
export interface TokenRecord {
  /** SHA-256 of the secret, hex. */
  readonly hash: string;
  readonly subject: JoinSubject;
  /** Epoch ms. */
  readonly expiresAt: Millis;
}

/** Where records wait for their tokens. */
export interface TokenStore {
  put(record: TokenRecord): void;
  /** Returns the record and removes it, in one step: a token is good once. */
  take(hash: string): TokenRecord | undefined;
}

const tokenSchema = z.strictObject({
  v: z.literal(1),
  /** Where to redeem it: `host:port` of the enrolment port. */
  enrol: z.string(),
  /** The cluster that answers there. */
  by: z.string(),
  /** What the bearer will be. */
  subject: z.discriminatedUnion("kind", [
    z.strictObject({ kind: z.literal("cluster"), cluster: z.string(), tiers: z.int().min(0) }),
    z.strictObject({ kind: z.literal("proxy"), id: z.string() }),
  ]),
  secret: z.string(),
  /** DER of the mesh's root certificate, base64: no trust on first use. */
  root: z.base64().max(8_192),
});
export type JoinToken = z.infer<typeof tokenSchema>;

/** How long a token can be redeemed. */
export const TOKEN_TTL: Millis = 3_600_000;

/** A new token and the record by which it will be known. @param ttl ms. */
export function mintToken(
  about: { enrol: string; by: string; subject: JoinSubject; rootsPem: string },
  wall: Millis,
  ttl: Millis = TOKEN_TTL,
): { readonly text: string; readonly record: TokenRecord } {
  const { enrol, by, subject, rootsPem } = about;
  const secret = randomBytes(32).toString("base64url");
  const root = Buffer.from(certificatesOf(rootsPem)[0]!).toString("base64");
  const token: JoinToken = { v: 1, enrol, by, subject, secret, root };
  const text = Buffer.from(JSON.stringify(token)).toString("base64url");
  return { text, record: { hash: hashOf(secret), subject, expiresAt: wall + ttl } };
}

/** Reads the text of a token; its secret is not judged here. */
export function readToken(text: string): Result<JoinToken, string> {
  try {
    const token = tokenSchema.safeParse(
      JSON.parse(Buffer.from(text.trim(), "base64url").toString()),
    );
    if (token.success) return ok(token.data);
  } catch {
    // Said below: a token that is not JSON is no worse than one that is something else.
  }
  return err("not a join token");
}

/** One answer for a wrong, a used and an expired secret: who guesses learns nothing. */
export function redeemToken(
  store: TokenStore,
  secret: string,
  wall: Millis,
): Result<JoinSubject, string> {
  const record = store.take(hashOf(secret));
  if (record === undefined || wall > record.expiresAt) return err("the join token is not valid");
  return ok(record.subject);
}

/** The root that the token's bearer may trust, PEM. */
export function rootOf(token: JoinToken): string {
  return pemOf("CERTIFICATE", Buffer.from(token.root, "base64"));
}

function hashOf(secret: string): string {
  return createHash("sha256").update(secret).digest("hex");
}
