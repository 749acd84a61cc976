import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { CONNECTION_LIMITS } from "#proxy/exchange/limits.ts";
import { openUpstream, request, turn } from "#test/kit/http1_ends.ts";

const ASK = request({});

describe("a connection to an endpoint", () => {
  it("takes so many interim answers and not one more", async () => {
    for (const [count, status] of [
      [CONNECTION_LIMITS.interimMax, "204"],
      [CONNECTION_LIMITS.interimMax + 1, "bad_answer"],
    ] as const) {
      const end = openUpstream(ASK);
      end.socket.say(Buffer.from("HTTP/1.1 102 Processing\r\n\r\n".repeat(count)));
      end.socket.say(Buffer.from("HTTP/1.1 204 No Content\r\n\r\n"));
      await turn();
      const interims = end.events.filter((event) => event.startsWith("interim")).length;
      assert.equal(interims, CONNECTION_LIMITS.interimMax);
      assert.ok(
        end.events.some((event) => event.includes(status)),
        end.events.join("\n"),
      );
    }
  });

  for (const [what, bytes] of [
    ["another protocol", "SSH-2.0-x\r\n"],
    ["a status line in small letters", "http/1.1 200"],
    ["a bare line feed", "HTTP/1.1 200 OK\nx"],
    ["a control character", "HTTP/1.1 200 OK\r\nx: \0"],
  ] as const) {
    it(`gives an answer up as soon as it shows ${what}`, async () => {
      const end = openUpstream(ASK);
      end.socket.say(Buffer.from(bytes));
      await turn();
      assert.match(end.events.join("\n"), /^failure bad_answer/);
      assert.equal(end.socket.destroyed, true);
    });
  }

  it("switches only to what was asked for", async () => {
    for (const [asked, said, status] of [
      ["websocket", "WebSocket", "101"],
      ["a/1, b", "b", "101"],
      ["websocket", "h2c", "bad_answer"],
      ["websocket", "websocket, h2c", "bad_answer"],
    ] as const) {
      const end = openUpstream(request({ upgrade: asked }));
      const text = `HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: ${said}\r\n\r\n`;
      end.socket.say(Buffer.from(text));
      await turn();
      assert.ok(end.events[0]!.includes(status), `${asked} ${said}: ${end.events[0]}`);
    }
  });

  it("is not used again if it would not switch", async () => {
    for (const [upgrade, idle] of [
      [undefined, 1],
      ["websocket", 0],
    ] as const) {
      const end = openUpstream(request({ upgrade }));
      end.socket.say(Buffer.from("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n"));
      await turn();
      assert.equal(end.events.at(-1), "end");
      assert.equal(end.idle, idle);
    }
  });

  it("delivers what it had read when the endpoint ended, to a slow client too", async () => {
    for (const head of ["", "content-length: 9\r\n"]) {
      const end = openUpstream(ASK, { slow: true });
      end.socket.say(Buffer.from(`HTTP/1.1 200 OK\r\n${head}\r\nabc`));
      // As TLS does: what was deciphered already comes although nobody reads.
      end.socket.onread!.callback(...end.intoBuffer("defghi"));
      end.socket.emit("end");
      await turn();
      assert.equal(end.body, "abc");
      end.stream.resume();
      await turn();
      assert.equal(end.body, "abcdefghi");
      end.stream.resume();
      await turn();
      assert.equal(end.events.at(-1), "end", end.events.join("\n"));
    }
  });
});
