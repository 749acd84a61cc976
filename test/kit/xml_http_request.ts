import { type ClientRequest, type IncomingMessage, request } from "node:http";

const LOADING = 3;
const DONE = 4;

/** As much of a browser's XMLHttpRequest (https://xhr.spec.whatwg.org) as clients of gRPC-Web use, over HTTP/1.1. */
class NodeXmlHttpRequest {
  readyState = 0;
  status = 0;
  statusText = "";
  responseType = "";
  responseText = "";
  response: unknown = "";
  withCredentials = false;
  timeout = 0;
  onreadystatechange: (() => void) | undefined = undefined;
  #sent: ClientRequest | undefined = undefined;
  #heard: IncomingMessage | undefined = undefined;
  readonly #chunks: Buffer[] = [];

  open(method: string, url: string): void {
    this.#sent = request(url, { method, agent: false });
    this.#sent.setHeader("accept", "*/*");
    // As a page of another origin that may not say who it is.
    this.#sent.setHeader("origin", "https://shop.example");
    this.#sent.on("error", () => this.#end(0));
    this.#turn(1);
  }

  setRequestHeader(name: string, value: string): void {
    this.#sent!.setHeader(name, value);
  }

  send(body?: string | Uint8Array): void {
    this.#sent!.on("response", (heard) => {
      this.#heard = heard;
      this.status = heard.statusCode!;
      this.statusText = heard.statusMessage!;
      this.#turn(2);
      heard.on("data", (chunk: Buffer) => {
        this.#chunks.push(chunk);
        if (this.responseType === "") this.responseText += chunk.toString("latin1");
        this.#turn(LOADING);
      });
      heard.on("error", () => this.#end(0));
      heard.on("end", () => heard.complete && this.#end(this.status));
    });
    this.#sent!.end(body);
  }

  abort(): void {
    this.#sent?.destroy();
  }

  getAllResponseHeaders(): string {
    const fields = Object.entries(this.#heard?.headers ?? {});
    return fields.map(([name, value]) => `${name}: ${value}\r\n`).join("");
  }

  getResponseHeader(name: string): string | null {
    const value = this.#heard?.headers[name.toLowerCase()];
    return value === undefined ? null : String(value);
  }

  #end(status: number): void {
    if (this.readyState === DONE) return;
    this.status = status;
    const bytes = new Uint8Array(Buffer.concat(this.#chunks));
    this.response = this.responseType === "arraybuffer" ? bytes.buffer : this.responseText;
    this.#turn(DONE);
  }

  #turn(state: number): void {
    this.readyState = state;
    this.onreadystatechange?.();
  }
}

/** Code written for browsers finds an XMLHttpRequest from now on. */
export function actAsBrowser(): void {
  Object.assign(globalThis, { XMLHttpRequest: NodeXmlHttpRequest });
}
