import { z } from "zod";

/*
 * What owners and followers of a state say to each other (reference: NATS, §3). JSON; the version is
 * in the subject. Fields that are not known are ignored, so that a newer peer may add some.
 */

/** `<term>-<boot>`: grows with every start of the owner. */
const epoch = z
  .string()
  .max(64)
  .regex(/^\d+-[a-z0-9]+$/);
const seq = z.int().min(0);
const hash = z.string().length(16);
const key = z.string().min(1).max(512);

const delta = z.object({
  e: epoch,
  s: seq,
  /** Null: withdrawn. */
  u: z.array(z.tuple([key, z.unknown()])).max(100_000),
});
/** One step: applied only right after step `s - 1` of the same epoch. */
export type Delta = z.infer<typeof delta>;

const heartbeat = z.object({ e: epoch, s: seq, h: hash, n: z.int().min(0) });
/** Sent now and then: where the owner stands, and the hash of its state there. */
export type Heartbeat = z.infer<typeof heartbeat>;

const snapshotPart = z.object({
  e: epoch,
  s: seq,
  h: hash,
  /** Part `i` of `of`. */
  i: z.int().min(0).max(10_000),
  of: z.int().min(1).max(10_000),
  u: z.array(z.tuple([key, z.unknown()])).max(100_000),
});
export type SnapshotPart = z.infer<typeof snapshotPart>;

const need = z.object({
  why: z.enum(["epoch", "gap", "hash", "retry"]),
  e: z.string().max(64).nullable(),
  s: seq,
});
/** A follower asks for the whole state. */
export type Need = z.infer<typeof need>;

const SCHEMAS = { delta, hb: heartbeat, snap: snapshotPart, need, bye: z.object({ e: epoch }) };

export type MessageKind = keyof typeof SCHEMAS;
export type MessageBody<K extends MessageKind> = z.infer<(typeof SCHEMAS)[K]>;

export function encode<K extends MessageKind>(_kind: K, body: MessageBody<K>): Uint8Array {
  return Buffer.from(JSON.stringify(body));
}

/** Undefined for what is not such a message: the sender may be hostile, so nothing is thrown. */
export function decode<K extends MessageKind>(
  kind: K,
  data: Uint8Array,
): MessageBody<K> | undefined {
  try {
    const parsed = SCHEMAS[kind].safeParse(JSON.parse(Buffer.from(data).toString()));
    return parsed.success ? (parsed.data as MessageBody<K>) : undefined;
  } catch {
    return undefined;
  }
}

/** The number in front of an epoch: owners with a higher one replace those with a lower one. */
export function termOf(text: string): number {
  return Number(text.slice(0, text.indexOf("-")));
}
