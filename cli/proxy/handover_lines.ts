import type { Socket } from "node:net";
import { z } from "zod";

/** A line is a small message; more than this is not from us. */
const LINE_MAX = 65_536;

/** What the process that runs holds, and the new one has to know. */
const offerSchema = z.object({
  pid: z.number().int(),
  /** Ports of its listeners. */
  ports: z.array(z.number().int()),
  /** Port of its admin; absent: it has none open. */
  admin: z.number().int().optional(),
});
export type Offer = z.infer<typeof offerSchema>;

/*
 * The lines of the handover socket, in this order. The new process: `hello`; the old one: `offer`; the new one,
 * when it could serve alone: `go`; the old one, when it has let go of its admin port and of the socket: `gone`.
 * They may be of different versions of Espalier: fields that one does not know are passed over.
 */
const lineSchema = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("hello"), pid: z.number().int() }),
  z.object({ kind: z.literal("offer"), offer: offerSchema }),
  z.object({ kind: z.literal("go") }),
  z.object({ kind: z.literal("gone") }),
]);
export type HandoverLine = z.infer<typeof lineSchema>;

/** Calls `onLine` for each line; ends the connection at the first that is none. */
export function readLines(socket: Socket, onLine: (line: HandoverLine) => void): void {
  let unread = "";
  socket.setEncoding("utf8");
  socket.on("data", (chunk: string) => {
    unread += chunk;
    for (let end = unread.indexOf("\n"); end >= 0; end = unread.indexOf("\n")) {
      const line = parse(unread.slice(0, end));
      unread = unread.slice(end + 1);
      if (line === undefined) {
        socket.destroy();
        return;
      }
      onLine(line);
    }
    if (unread.length > LINE_MAX) socket.destroy();
  });
}

export function writeLine(socket: Socket, line: HandoverLine): void {
  socket.write(`${JSON.stringify(line)}\n`);
}

function parse(text: string): HandoverLine | undefined {
  try {
    return lineSchema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}
