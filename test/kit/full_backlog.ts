import { type ChildProcess, spawn } from "node:child_process";
import { connect, type Socket } from "node:net";

const SERVER = `
const server = require("node:net").createServer();
server.listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () => console.log(server.address().port));
`;

/** A port on which connections neither come about nor fail: its owner stands still and its backlog is full. */
export class FullBacklog {
  readonly port: number;
  readonly #child: ChildProcess;
  readonly #fillers: Socket[];

  private constructor(port: number, child: ChildProcess, fillers: Socket[]) {
    this.port = port;
    this.#child = child;
    this.#fillers = fillers;
  }

  static async start(): Promise<FullBacklog> {
    const child = spawn(process.execPath, ["-e", SERVER], { stdio: ["ignore", "pipe", "inherit"] });
    const port = await new Promise<number>((resolve) => {
      child.stdout!.once("data", (line: Buffer) => resolve(Number(line.toString())));
    });
    child.kill("SIGSTOP");
    // The kernel takes one more than the backlog says.
    const fillers: Socket[] = [];
    for (let i = 0; i < 4; i++) fillers.push(connect(port, "127.0.0.1").on("error", () => {}));
    await Promise.all(
      fillers.slice(0, 2).map((one) => new Promise((resolve) => one.once("connect", resolve))),
    );
    return new FullBacklog(port, child, fillers);
  }

  async stop(): Promise<void> {
    for (const one of this.#fillers) one.destroy();
    const ended = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.kill("SIGKILL");
    await ended;
  }
}
