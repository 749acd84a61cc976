/** Writes the header blocks of one direction of one connection. */
export declare class HpackEncoder {
  /** The peer's SETTINGS_HEADER_TABLE_SIZE. At most 4,096 bytes are used, whatever it allows. */
  tableSizeChanged(bytes: number): void;
  /**
   * Begins a block of fields with so many characters in names and values together.
   * False: it might not fit between `at` and the buffer's end; nothing has changed.
   */
  begin(buffer: Buffer, at: number, fields: number, characters: number): boolean;
  /** One field. */
  put(name: string, value: string, neverIndexed: boolean): void;
  /** Where the block ends. */
  end(): number;
}
