import { BODY_UNKNOWN, type Fields, type RequestHead } from "#proxy/exchange/exchange.ts";
import { fieldValue } from "#proxy/exchange/fields.ts";
import { GrpcStatus, grpcTypeOf } from "#proxy/exchange/grpc.ts";

/*
 * gRPC-Web (grpc/grpc, doc/PROTOCOL-WEB.md): gRPC for clients that see neither trailers nor frames. Messages are those
 * of gRPC, as bytes or in base64; what gRPC has in trailers is a last frame of the answer's body.
 */

/** How one call is spoken of. */
export interface GrpcWebCall {
  /** What gRPC calls the same: `application/grpc`, with the codec of the messages if the client has named it. */
  readonly grpcType: string;
  /** The request's body is base64. */
  readonly sendsText: boolean;
  /** The answer's body shall be. */
  readonly wantsText: boolean;
  /** What the answer has to be called. */
  readonly answerType: string;
}

const ACCEPTED =
  /(?:^|[, \t])application\/grpc-web(-text(?:-base64)?)?(\+[a-z0-9.-]+)?[ \t]*(?:[;,]|$)/i;

/**
 * What `Accept` says of the answer counts, else it is of the request's kind. What browsers, fetch and XHR say by
 * themselves says nothing of it.
 * Returns undefined if it is no call of gRPC-Web. Who asks for another protocol besides is not understood.
 */
export function readGrpcWeb({ method, upgrade, fields }: RequestHead): GrpcWebCall | undefined {
  if (method !== "POST" || upgrade !== undefined) return undefined;
  const type = grpcTypeOf(fields);
  if (type?.web !== true) return undefined;
  const accepted = ACCEPTED.exec(fieldValue(fields, "accept") ?? "");
  const { text: sendsText, codec } = type;
  const wantsText = accepted === null ? sendsText : accepted[1] !== undefined;
  const answerCodec = accepted?.[2]?.toLowerCase() ?? codec;
  return {
    grpcType: `application/grpc${codec}`,
    sendsText,
    wantsText,
    answerType: `application/grpc-web${wantsText ? "-text" : ""}${answerCodec}`,
  };
}

/**
 * Says how the client wants to be answered, which is our matter. What packs whole bodies would close over the last
 * frame as well, which the endpoint does not write.
 */
const OF_CLIENTS: ReadonlySet<string> = new Set(["accept", "accept-encoding", "x-grpc-web"]);

/** The same call in gRPC; another head as it is. */
export function asGrpc(head: RequestHead): RequestHead {
  const call = readGrpcWeb(head);
  if (call === undefined) return head;
  const fields: Fields = [];
  let saysEncodings = false;
  for (let i = 0; i < head.fields.length; i += 2) {
    const name = head.fields[i]!;
    if (OF_CLIENTS.has(name)) continue;
    if (name === "grpc-accept-encoding") saysEncodings = true;
    fields.push(name, name === "content-type" ? call.grpcType : head.fields[i + 1]!);
  }
  // Clients in browsers cannot unpack messages; some endpoints pack them for who says nothing.
  if (!saysEncodings) fields.push("grpc-accept-encoding", "identity");
  const body = head.body === 0 ? 0 : BODY_UNKNOWN;
  return { ...head, fields, body, takesTrailers: true };
}

const TRAILERS_FLAG = 0x80;

/**
 * The last frame of an answer. A line has no space after its colon: all clients read that, some take a space for a
 * part of the value.
 * @param trailers as gRPC has them. Without a status the client would take an answer that was broken off for a whole
 * one, so there it is UNKNOWN, as clients of gRPC have it.
 */
export function trailersFrame(trailers: Fields): Buffer {
  let lines = "";
  for (let i = 0; i < trailers.length; i += 2) lines += `${trailers[i]}:${trailers[i + 1]}\r\n`;
  if (fieldValue(trailers, "grpc-status") === undefined) {
    lines += `grpc-status:${GrpcStatus.UNKNOWN}\r\ngrpc-message:the endpoint gave no status\r\n`;
  }
  const frame = Buffer.allocUnsafe(5 + lines.length);
  frame[0] = TRAILERS_FLAG;
  frame.writeUInt32BE(lines.length, 1);
  frame.write(lines, 5, "latin1");
  return frame;
}
