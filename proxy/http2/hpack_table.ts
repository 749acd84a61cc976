/** One field of a header block, decoded. What rules say of it is found once, however often a table brings it. */
export declare class HeaderField {
  readonly name: string;
  readonly value: string;
  /** Never to be put into a table by anybody on its way (RFC 7541 §6.2.3). */
  readonly neverIndexed: boolean;
  /** One of `FieldRole`: what RFC 9113 §8 makes of it. */
  readonly role: number;
}
