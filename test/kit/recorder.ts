import { type AddressInfo, createServer, type Server, type Socket } from "node:net";

/** An endpoint that keeps every byte it hears, and says what it is told to. */
export class Recorder {
  readonly server: Server;
  readonly sockets = new Set<Socket>();
  /** All that was heard since the last `forget`, over all connections. */
  seen = "";
  connections = 0;
  /** Called with what a connection has said so far, at each piece. */
  onData: (socket: Socket, said: string) => void = () => {};

  constructor() {
    this.server = createServer((socket) => {
      this.connections++;
      this.sockets.add(socket);
      let said = "";
      socket.on("data", (chunk) => {
        const text = chunk.toString("latin1");
        said += text;
        this.seen += text;
        this.onData(socket, said);
      });
      socket.on("error", () => {});
      socket.on("close", () => this.sockets.delete(socket));
    });
  }

  async start(): Promise<number> {
    await new Promise<void>((resolve) => this.server.listen(0, "127.0.0.1", resolve));
    return (this.server.address() as AddressInfo).port;
  }

  forget(): void {
    this.seen = "";
  }

  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.server.close(resolve));
    for (const socket of this.sockets) socket.destroy();
    await closed;
  }
}
