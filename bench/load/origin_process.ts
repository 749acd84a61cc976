import { createServer } from "node:net";
import { Messages, message } from "#bench/load/grpc_messages.ts";
import type { Fields } from "#bench/load/h2_fields.ts";
import { Wire } from "#bench/load/h2_wire.ts";

/*
 * The origin of HTTP/2 and gRPC, a process of its own. It does not read what it is asked for: a port answers
 * everything alike, when the request is over. Arguments: port of a small body, of a large one, of gRPC.
 */

const SMALL = Buffer.from("hello world\n");
const LARGE = Buffer.alloc(1_000_000, "x");
const OK = ["", "", 8] as const;
const GRPC: Fields = [OK, ["content-type", "application/grpc"]];
const STATUS: Fields = [["grpc-status", "0"]];

/** Answers each request with this body. */
function serve(port: number, unit: Buffer): void {
  const fields: Fields = [
    OK,
    ["server", "origin"],
    ["content-type", "text/plain"],
    ["content-length", String(unit.length)],
  ];
  const server = createServer((socket) => {
    const answer = (stream: number): void => {
      wire.head(stream, fields, false);
      wire.body({ stream, unit, owed: 1, complete: true, trailers: undefined });
    };
    const wire = new Wire(socket, "server", {
      onHead: (stream, ends) => void (ends && answer(stream)),
      onData: (stream, _, ends) => void (ends && answer(stream)),
      onLost: (stream) => void (stream === 0 && socket.destroy()),
    });
  });
  server.listen(port, "127.0.0.1");
}

/** Answers messages with as many as they want. */
function serveGrpc(port: number): void {
  const unit = message(0);
  const server = createServer((socket) => {
    const calls = new Map<number, Messages>();
    const wire = new Wire(socket, "server", {
      onHead: (stream) => {
        calls.set(stream, new Messages());
        wire.head(stream, GRPC, false);
        wire.body({ stream, unit, owed: 0, complete: false, trailers: STATUS });
      },
      onData: (stream, bytes, ends) => {
        const call = calls.get(stream);
        if (call === undefined) return;
        if (ends) calls.delete(stream);
        wire.more(stream, call.take(bytes).wants, ends);
      },
      onLost: (stream) => void (stream === 0 ? socket.destroy() : calls.delete(stream)),
    });
  });
  server.listen(port, "127.0.0.1");
}

const [small, large, grpc] = process.argv.slice(2).map(Number) as [number, number, number];
serve(small, SMALL);
serve(large, LARGE);
serveGrpc(grpc);
