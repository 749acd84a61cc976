import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FrameType, uint32 } from "#proxy/http2/frames.ts";
import { data, ServerEnd, Speech, turn } from "#test/kit/http2_ends.ts";
import { frame } from "#test/kit/http2_raw.ts";

const ROUND_TRIP_MS = 80;
const FRAME_BYTES = 16_384;
const DEFAULT = 65_535;
const ACK = 1;

/** A client at the end of a long way: all that it hears in one round trip it acts upon at once, in the next. */
class FarClient {
  readonly end = new ServerEnd({}, ({ exchange }) =>
    exchange.readBody({ onBody: () => true, onBodyEnd: () => {} }),
  );
  /** What it may send: on the stream, and on the connection. */
  readonly windows = { 1: DEFAULT, 0: DEFAULT };
  #heard = 0;

  constructor() {
    this.end.say(Speech.hello(), this.end.speech.ask(1, [], "POST"));
  }

  /** One round trip. @param most that it sends in it. Returns what it has sent. */
  async round(most: number): Promise<number> {
    await turn();
    this.end.clock.advance(ROUND_TRIP_MS);
    const heard = this.end.heard.slice(this.#heard);
    this.#heard += heard.length;
    for (const { type, flags, stream, payload } of heard) {
      if (type === FrameType.WINDOW_UPDATE) this.windows[stream as 0 | 1] += uint32(payload, 0);
      // Its acknowledgement leaves before the data that an update behind it lets go.
      else if (type === FrameType.PING && (flags & ACK) === 0) {
        this.end.say(frame(FrameType.PING, ACK, 0, payload));
      }
    }
    let sent = 0;
    for (;;) {
      const may = Math.min(FRAME_BYTES, most - sent, this.windows[0], this.windows[1]);
      if (may <= 0) return sent;
      this.windows[0] -= may;
      this.windows[1] -= may;
      this.end.say(data(1, Buffer.alloc(may)));
      sent += may;
    }
  }
}

describe("the window of a stream", () => {
  it("is no limit on a long way for more than a few round trips", async () => {
    const client = new FarClient();
    const due = 4_000_000;
    let [rounds, sent] = [0, 0];
    for (; sent < due && rounds < 16; rounds++) sent = await client.round(due);
    assert.equal(sent, due, `${sent} bytes in a round trip after ${rounds} of them`);
    client.end.socket.emit("close");
  });

  it("stays small where little is sent", async () => {
    const client = new FarClient();
    for (let i = 0; i < 20; i++) await client.round(20_000);
    assert.ok(client.windows[1] <= DEFAULT, `${client.windows[1]}`);
    client.end.socket.emit("close");
  });
});
