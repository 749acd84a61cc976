import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";

/** Closes so that the peer can tell it from an end: by RST, or without TLS's close_notify. */
export function reset(socket: Socket): void {
  if (socket instanceof TLSSocket) socket.destroy();
  else socket.resetAndDestroy();
}
