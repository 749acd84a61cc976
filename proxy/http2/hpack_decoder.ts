import type { Http1Limits } from "#proxy/http1/limits.ts";
import type { HeaderField } from "#proxy/http2/hpack_table.ts";

/** How a block ended: `too_large` is in order but for its size, and the tables of both sides still agree. */
export type DecodeVerdict = "ok" | "too_large" | "compression_error";

/** `headBytesMax` counts as SETTINGS_MAX_HEADER_LIST_SIZE does: 32 more for each field. */
export type HeaderListLimits = Pick<Http1Limits, "headBytesMax" | "fieldsMax">;

/** The fields of the last block, used again for the next. */
export declare class HeaderBlock {
  /** The first `count` are this block's. */
  readonly fields: HeaderField[];
  count: number;
  /** Names of those that are never to be indexed; a new list for each block; undefined: none. */
  neverIndexed: string[] | undefined;
}

/** Reads the header blocks of one direction of one connection, in their order. */
export declare class HpackDecoder {
  /** @param tableSize our SETTINGS_HEADER_TABLE_SIZE as the peer knows it; 4,096 without a word. */
  constructor(tableSize?: number);
  /** The peer has acknowledged this SETTINGS_HEADER_TABLE_SIZE of ours. */
  tableSizeChanged(bytes: number): void;
  /** A whole block, CONTINUATION joined. */
  decode(
    buffer: Buffer,
    from: number,
    to: number,
    limits: HeaderListLimits,
    into: HeaderBlock,
  ): DecodeVerdict;
}
