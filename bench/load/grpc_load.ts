import { connect } from "node:net";
import { Messages, message } from "#bench/load/grpc_messages.ts";
import type { Fields } from "#bench/load/h2_fields.ts";
import { Wire } from "#bench/load/h2_wire.ts";

/*
 * gRPC load over HTTP/2 in the clear, a process of its own. Arguments: port, seconds, connections, streams, kind.
 * Says one line of JSON: what `GrpcResult` holds. Each call must bring all its messages and end by trailers; one that does not is
 * a failure.
 */

/** What one call is: one message each way; many in answer to one; one after the other in turns. */
export type CallKind = "unary" | "streaming" | "ping-pong";

/** Messages in answer to one call that is no unary one. */
export const MESSAGES_OF_A_CALL = 100;

/** What the process says. */
export interface GrpcResult {
  /** Calls that are over, and messages that have come in answer. */
  readonly calls: number;
  readonly messages: number;
  /** Of calls; of ping-pong the way there and back of one message. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** The first failure. */
  readonly failure: string | undefined;
}

interface Call {
  readonly messages: Messages;
  begun: number;
  got: number;
}

const [port, seconds, connections, streams] = process.argv.slice(2, 6).map(Number) as [
  number,
  number,
  number,
  number,
];
const kind = process.argv[6] as CallKind;
const FIELDS: Fields = [
  ["", "", 3],
  ["", "", 6],
  [":path", "/bench.Echo/Say"],
  [":authority", "bench.example"],
  ["content-type", "application/grpc"],
  ["user-agent", "grpc-bench/1.0"],
  ["te", "trailers"],
];
const EXPECTED = kind === "unary" ? 1 : MESSAGES_OF_A_CALL;
const FIRST = message(kind === "streaming" ? MESSAGES_OF_A_CALL : 1);

let calls = 0;
let messages = 0;
let failure: string | undefined;
const times: number[] = [];
let ending = false;

function run(): void {
  const socket = connect(port, "127.0.0.1");
  const open = new Map<number, Call>();
  let next = 1;
  const fail = (why: string): void => {
    if (!ending) failure ??= why;
  };
  const begin = (): void => {
    const stream = next;
    next += 2;
    open.set(stream, { messages: new Messages(), begun: performance.now(), got: 0 });
    wire.head(stream, FIELDS, false);
    const complete = kind !== "ping-pong";
    wire.body({ stream, unit: FIRST, owed: 1, complete, trailers: undefined });
  };
  const onEnd = (stream: number, call: Call): void => {
    open.delete(stream);
    if (call.got !== EXPECTED || !call.messages.isWhole) fail(`${call.got} messages in a call`);
    if (kind !== "ping-pong") times.push(performance.now() - call.begun);
    calls++;
    if (!ending) begin();
  };
  const onMessages = (stream: number, call: Call, count: number): void => {
    call.got += count;
    messages += count;
    if (kind !== "ping-pong" || count === 0) return;
    const now = performance.now();
    times.push(now - call.begun);
    call.begun = now;
    if (call.got < EXPECTED) wire.more(stream, 1, call.got === EXPECTED - 1);
  };
  const wire = new Wire(socket, "client", {
    onHead: (stream, ends) => {
      const call = open.get(stream);
      if (ends && call !== undefined) onEnd(stream, call);
    },
    onData: (stream, bytes, ends) => {
      const call = open.get(stream);
      if (call === undefined) return;
      if (ends) fail("no trailers");
      onMessages(stream, call, call.messages.take(bytes).count);
    },
    onLost: (stream, why) => {
      if (stream === 0 || open.has(stream)) fail(why);
    },
  });
  for (let i = 0; i < streams; i++) begin();
  wire.flush();
}

for (let i = 0; i < connections; i++) run();
await new Promise((resolve) => setTimeout(resolve, seconds * 1_000));
ending = true;
times.sort((a, b) => a - b);
const at = (share: number): number => times[Math.floor(times.length * share)] ?? 0;
const result: GrpcResult = { calls, messages, p50Ms: at(0.5), p99Ms: at(0.99), failure };
process.stdout.write(JSON.stringify(result), () => process.exit(0));
