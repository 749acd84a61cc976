/*
 * The message bus of one cluster, as one principal sees it (reference: NATS core semantics).
 * At most once; ordered per publisher and subscription; a publish while disconnected is lost.
 */

/** What a principal may do. Subjects may end in `>` and hold `*` tokens, as NATS has them. */
export interface BusPermissions {
  readonly publish: readonly string[];
  readonly subscribe: readonly string[];
}

export interface BusMessage {
  /** The subject it was published on: what the broker authorised, so it says who sent it. */
  readonly subject: string;
  readonly data: Uint8Array;
}

export interface BusSubscription {
  close(): void;
}

export type BusRefusal =
  | { readonly kind: "publish_denied"; readonly subject: string }
  | { readonly kind: "subscribe_denied"; readonly subject: string };

export type BusStatus = "up" | "down";

/** A connection to a bus. Reconnects by itself until closed. */
export interface Bus {
  /** Best effort: no error if nobody listens, if it is not allowed or if the bus is away. */
  publish(subject: string, data: Uint8Array): void;
  /** Survives reconnects. A refusal is reported to `onRefusal`. */
  subscribe(subject: string, receive: (message: BusMessage) => void): BusSubscription;
  /** Whether the broker can be reached, as far as is known. */
  status(): BusStatus;
  onStatus(listen: (status: BusStatus) => void): BusSubscription;
  onRefusal(listen: (refusal: BusRefusal) => void): BusSubscription;
  /** Resolves when all that was published before has reached the broker; false if it is away. */
  flush(): Promise<boolean>;
  close(): Promise<void>;
}

/** Largest message that either implementation accepts, bytes. */
export const BUS_PAYLOAD_MAX = 1_048_576;
