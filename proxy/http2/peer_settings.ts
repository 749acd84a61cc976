import { SETTING_BYTES, Setting, uint16, uint32 } from "#proxy/http2/frames.ts";
import type { HpackEncoder } from "#proxy/http2/hpack_encoder.ts";
import { WINDOW_DEFAULT } from "#proxy/http2/receive_window.ts";

/** What a peer has said of itself (RFC 9113 §6.5.2), and what holds until it has. */
export class PeerSettings {
  /** Its first SETTINGS have come. */
  settled = false;
  /** Streams of ours that it takes at a time. */
  streamsMax = Number.POSITIVE_INFINITY;
  /** It takes extended CONNECT (RFC 8441). */
  takesConnect = false;
  /** What each new stream may send. */
  streamWindow = WINDOW_DEFAULT;

  /** Reads a payload that was judged. @param encoder follows the size of the peer's table. */
  read(buffer: Buffer, from: number, to: number, encoder: HpackEncoder): void {
    this.settled = true;
    for (let at = from; at < to; at += SETTING_BYTES) {
      const value = uint32(buffer, at + 2);
      switch (uint16(buffer, at)) {
        case Setting.HEADER_TABLE_SIZE:
          encoder.tableSizeChanged(value);
          break;
        case Setting.MAX_CONCURRENT_STREAMS:
          this.streamsMax = value;
          break;
        case Setting.INITIAL_WINDOW_SIZE:
          this.streamWindow = value;
          break;
        case Setting.ENABLE_CONNECT_PROTOCOL:
          this.takesConnect = value === 1;
          break;
        default:
      }
    }
  }
}
