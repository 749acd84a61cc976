import type { AddressInfo } from "node:net";
import {
  Client,
  credentials,
  Metadata,
  type MethodDefinition,
  Server,
  ServerCredentials,
  type ServiceError,
  status,
} from "@grpc/grpc-js";

/* gRPC's own client and server for Node; messages are text. */

const encode = (text: string): Buffer => Buffer.from(text);
const decode = (bytes: Buffer): string => bytes.toString();

const METHOD = {
  requestStream: false,
  responseStream: false,
  requestSerialize: encode,
  requestDeserialize: decode,
  responseSerialize: encode,
  responseDeserialize: decode,
} as const;

/** A call as an endpoint has seen it. */
export interface SeenCall {
  readonly path: string;
  readonly text: string;
  readonly metadata: Metadata;
}

/** A server that answers each call with its own name, and remembers it. */
export class GrpcOrigin {
  readonly name: string;
  readonly seen: SeenCall[] = [];
  /** Answers nothing. */
  silent = false;
  port = 0;
  readonly #server = new Server();

  constructor(name: string, paths: readonly string[]) {
    this.name = name;
    for (const path of paths) {
      const definition: MethodDefinition<string, string> = { ...METHOD, path };
      this.#server.addService(
        { method: definition },
        {
          method: (
            call: { readonly request: string; readonly metadata: Metadata },
            answer: (error: null, text: string) => void,
          ) => {
            this.seen.push({ path, text: call.request, metadata: call.metadata });
            if (!this.silent) answer(null, this.name);
          },
        },
      );
    }
  }

  async start(): Promise<void> {
    this.port = await new Promise<AddressInfo["port"]>((resolve, reject) =>
      this.#server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) =>
        error === null ? resolve(port) : reject(error),
      ),
    );
  }

  stop(): void {
    this.#server.forceShutdown();
  }
}

/** What came of a call: the endpoint's name, or a status. */
export interface CallAnswer {
  readonly by: string;
  readonly code: number;
  readonly details: string;
  readonly metadata: Metadata;
}

/** A client of one port. */
export class GrpcCaller {
  readonly #client: Client;

  /** @param host that is asked for. */
  constructor(port: number, host = "calls.example") {
    const options = { "grpc.default_authority": host, "grpc.enable_retries": 0 };
    this.#client = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), options);
  }

  /** @param text not empty: the server takes that for no message. */
  ask(
    path: string,
    headers: Readonly<Record<string, string>> = {},
    text = "x",
  ): Promise<CallAnswer> {
    const asked = new Metadata();
    for (const [name, value] of Object.entries(headers)) asked.set(name, value);
    return new Promise((resolve) => {
      let metadata = new Metadata();
      const deadline = new Date(Date.now() + 10_000);
      const answered = (error: ServiceError | null, by?: string): void =>
        resolve({
          by: by ?? "",
          code: error?.code ?? status.OK,
          details: error?.details ?? "",
          metadata: error === null ? metadata : error.metadata,
        });
      const call = this.#client.makeUnaryRequest(
        path,
        encode,
        decode,
        text,
        asked,
        { deadline },
        answered,
      );
      call.on("metadata", (said: Metadata) => {
        metadata = said;
      });
    });
  }

  close(): void {
    this.#client.close();
  }
}
