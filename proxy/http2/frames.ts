/*
 * HTTP/2 frames as they lie in a buffer (RFC 9113 §4, §6): nothing here makes an object per frame. A frame
 * is named by where its header begins; what may be wrong with it is a number.
 */

/** RFC 9113 §3.4: what a client says first. */
export const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");

/** Bytes before every payload. */
export const FRAME_HEADER_BYTES = 9;

/** RFC 9113 §6. Others are ignored (§5.5). */
export const FrameType = {
  DATA: 0x0,
  HEADERS: 0x1,
  PRIORITY: 0x2,
  RST_STREAM: 0x3,
  SETTINGS: 0x4,
  PUSH_PROMISE: 0x5,
  PING: 0x6,
  GOAWAY: 0x7,
  WINDOW_UPDATE: 0x8,
  CONTINUATION: 0x9,
} as const;

/** Bits of a frame's flags; which of them a type knows, its section says. */
export const Flag = {
  END_STREAM: 0x1,
  ACK: 0x1,
  END_HEADERS: 0x4,
  PADDED: 0x8,
  PRIORITY: 0x20,
} as const;

/** RFC 9113 §7. */
export const ErrorCode = {
  NO_ERROR: 0x0,
  PROTOCOL_ERROR: 0x1,
  INTERNAL_ERROR: 0x2,
  FLOW_CONTROL_ERROR: 0x3,
  SETTINGS_TIMEOUT: 0x4,
  STREAM_CLOSED: 0x5,
  FRAME_SIZE_ERROR: 0x6,
  REFUSED_STREAM: 0x7,
  CANCEL: 0x8,
  COMPRESSION_ERROR: 0x9,
  CONNECT_ERROR: 0xa,
  ENHANCE_YOUR_CALM: 0xb,
  INADEQUATE_SECURITY: 0xc,
  HTTP_1_1_REQUIRED: 0xd,
} as const;

const ERROR_NAMES = Object.keys(ErrorCode);

/** For logs: `PROTOCOL_ERROR`, or the number of one that is not registered. */
export function errorName(code: number): string {
  return ERROR_NAMES[code] ?? `0x${code.toString(16)}`;
}

/** RFC 9113 §6.5.2, and RFC 8441 §3 for the last. */
export const Setting = {
  HEADER_TABLE_SIZE: 0x1,
  ENABLE_PUSH: 0x2,
  MAX_CONCURRENT_STREAMS: 0x3,
  INITIAL_WINDOW_SIZE: 0x4,
  MAX_FRAME_SIZE: 0x5,
  MAX_HEADER_LIST_SIZE: 0x6,
  ENABLE_CONNECT_PROTOCOL: 0x8,
} as const;

/** The largest window, stream id and increment: 31 bits. */
export const WINDOW_MAX = 0x7fff_ffff;
/** Bytes of a payload that everybody takes, and without a word nobody more (RFC 9113 §4.2). */
export const FRAME_SIZE_DEFAULT = 16_384;
const FRAME_SIZE_LIMIT = 0xff_ffff;

/** Bytes of the payload of the frame whose header begins at `at`. */
export function frameLength(buffer: Uint8Array, at: number): number {
  return (buffer[at]! << 16) | (buffer[at + 1]! << 8) | buffer[at + 2]!;
}

/** One of `FrameType`, or a type to ignore. */
export function frameType(buffer: Uint8Array, at: number): number {
  return buffer[at + 3]!;
}

/** Bits of `Flag`. */
export function frameFlags(buffer: Uint8Array, at: number): number {
  return buffer[at + 4]!;
}

/** Stream id without its reserved bit; 0: the connection. */
export function frameStream(buffer: Uint8Array, at: number): number {
  return uint32(buffer, at + 5) & WINDOW_MAX;
}

/** 32 bits in network order, unsigned: an error code, a setting's value. */
export function uint32(buffer: Uint8Array, at: number): number {
  return (
    ((buffer[at]! << 24) | (buffer[at + 1]! << 16) | (buffer[at + 2]! << 8) | buffer[at + 3]!) >>> 0
  );
}

/** 31 bits in network order, the reserved one left out: a window's increment, a stream id in GOAWAY. */
export function uint31(buffer: Uint8Array, at: number): number {
  return uint32(buffer, at) & WINDOW_MAX;
}

/** 16 bits in network order: a setting's id. */
export function uint16(buffer: Uint8Array, at: number): number {
  return (buffer[at]! << 8) | buffer[at + 1]!;
}

/**
 * What is wrong with a frame: 0 nothing; above 0 an `ErrorCode` that ends the connection; below 0 one, negated,
 * that ends the stream alone (RFC 9113 §5.4).
 */
export type FrameVerdict = number;

const OK: FrameVerdict = 0;
const { PROTOCOL_ERROR, FRAME_SIZE_ERROR, FLOW_CONTROL_ERROR } = ErrorCode;

/**
 * Judges a frame by its header alone, so before its payload is here: sizes, stream ids, and that nothing
 * stands between the frames of a header block. The first four are what the header says.
 * @param frameSizeMax our SETTINGS_MAX_FRAME_SIZE.
 * @param openBlock the stream whose header block has not ended yet; 0: none.
 */
export function judgeHeader(
  length: number,
  type: number,
  flags: number,
  stream: number,
  frameSizeMax: number,
  openBlock: number,
): FrameVerdict {
  // RFC 9113 §4.2 lets a DATA frame end its stream only; but nobody can be made to skip that much.
  if (length > frameSizeMax) return FRAME_SIZE_ERROR;
  // §6.10, §4.3: a block is one piece, and ends where it began.
  const continues = type === FrameType.CONTINUATION;
  if (continues !== (openBlock !== 0) || (continues && stream !== openBlock)) return PROTOCOL_ERROR;
  switch (type) {
    case FrameType.DATA:
    case FrameType.HEADERS:
      if (stream === 0) return PROTOCOL_ERROR;
      return length < promisedBytes(type, flags) ? FRAME_SIZE_ERROR : OK;
    case FrameType.PRIORITY:
      if (stream === 0) return PROTOCOL_ERROR;
      return length === PRIORITY_BYTES ? OK : -FRAME_SIZE_ERROR;
    case FrameType.RST_STREAM:
      if (stream === 0) return PROTOCOL_ERROR;
      return length === 4 ? OK : FRAME_SIZE_ERROR;
    case FrameType.SETTINGS:
      if (stream !== 0) return PROTOCOL_ERROR;
      if ((flags & Flag.ACK) !== 0) return length === 0 ? OK : FRAME_SIZE_ERROR;
      return length % SETTING_BYTES === 0 ? OK : FRAME_SIZE_ERROR;
    case FrameType.PUSH_PROMISE:
      // Clients may not send it (§8.4), and we as one tell servers not to.
      return PROTOCOL_ERROR;
    case FrameType.PING:
      if (stream !== 0) return PROTOCOL_ERROR;
      return length === 8 ? OK : FRAME_SIZE_ERROR;
    case FrameType.GOAWAY:
      if (stream !== 0) return PROTOCOL_ERROR;
      return length >= 8 ? OK : FRAME_SIZE_ERROR;
    case FrameType.WINDOW_UPDATE:
      return length === 4 ? OK : FRAME_SIZE_ERROR;
    default:
      return OK;
  }
}

/** The opaque bytes of a PING. */
export const PING_BYTES = 8;
/** Bytes of a setting: its id and its value. */
export const SETTING_BYTES = 6;
const PRIORITY_BYTES = 5;

/**
 * Bytes before the content of a DATA or HEADERS frame that its flags promise: the length of padding, and of
 * HEADERS the priority. Other types have none.
 */
export function promisedBytes(type: number, flags: number): number {
  if (type > FrameType.HEADERS) return 0;
  const padded = (flags & Flag.PADDED) === 0 ? 0 : 1;
  return type === FrameType.HEADERS && (flags & Flag.PRIORITY) !== 0
    ? padded + PRIORITY_BYTES
    : padded;
}

/** Bytes of padding at the end of a DATA or HEADERS frame; the byte that says so is not one of them. */
export function paddingBytes(buffer: Uint8Array, at: number, flags: number): number {
  return (flags & Flag.PADDED) === 0 ? 0 : buffer[at + FRAME_HEADER_BYTES]!;
}

/**
 * Bytes of the payload that `judgePayload` looks at: once they are here it may be called. Of DATA and
 * HEADERS that is the begin, so that a body need not be collected.
 */
export function judgedBytes(length: number, type: number, flags: number): number {
  switch (type) {
    case FrameType.DATA:
    case FrameType.HEADERS:
      return promisedBytes(type, flags);
    case FrameType.PRIORITY:
    case FrameType.SETTINGS:
    case FrameType.WINDOW_UPDATE:
      return length;
    default:
      return 0;
  }
}

/**
 * Judges what a payload says of the frame itself: padding, priority, increments, settings. The header, which
 * begins at `at`, has passed `judgeHeader`, and `judgedBytes` of payload are behind it. A HEADERS frame that
 * ends its stream only still has a block to decode, or the tables of both sides differ from then on.
 * @param fromServer the peer is the server: it may not allow pushes (RFC 9113 §6.5.2).
 */
export function judgePayload(
  buffer: Uint8Array,
  at: number,
  length: number,
  type: number,
  flags: number,
  fromServer: boolean,
): FrameVerdict {
  const payload = at + FRAME_HEADER_BYTES;
  switch (type) {
    case FrameType.DATA:
    case FrameType.HEADERS: {
      const promised = promisedBytes(type, flags);
      if (promised === 0) return OK;
      if (length - promised < paddingBytes(buffer, at, flags)) return PROTOCOL_ERROR;
      if (promised < PRIORITY_BYTES) return OK;
      return dependsOnItself(buffer, at, payload + promised - PRIORITY_BYTES);
    }
    case FrameType.PRIORITY:
      return dependsOnItself(buffer, at, payload);
    case FrameType.WINDOW_UPDATE:
      if (uint31(buffer, payload) !== 0) return OK;
      return frameStream(buffer, at) === 0 ? PROTOCOL_ERROR : -PROTOCOL_ERROR;
    case FrameType.SETTINGS:
      return judgeSettings(buffer, payload, payload + length, fromServer);
    default:
      return OK;
  }
}

/** RFC 9113 has dropped priorities; RFC 7540 §5.3.1, which peers still go by, ends such a stream. */
function dependsOnItself(buffer: Uint8Array, at: number, priority: number): FrameVerdict {
  return uint31(buffer, priority) === frameStream(buffer, at) ? -PROTOCOL_ERROR : OK;
}

/** RFC 9113 §6.5.2, RFC 8441 §3. Settings that nobody knows are ignored. */
function judgeSettings(
  buffer: Uint8Array,
  from: number,
  to: number,
  fromServer: boolean,
): FrameVerdict {
  for (let at = from; at < to; at += SETTING_BYTES) {
    const value = uint32(buffer, at + 2);
    switch (uint16(buffer, at)) {
      case Setting.ENABLE_PUSH:
        if (value > (fromServer ? 0 : 1)) return PROTOCOL_ERROR;
        break;
      case Setting.INITIAL_WINDOW_SIZE:
        if (value > WINDOW_MAX) return FLOW_CONTROL_ERROR;
        break;
      case Setting.MAX_FRAME_SIZE:
        if (value < FRAME_SIZE_DEFAULT || value > FRAME_SIZE_LIMIT) return PROTOCOL_ERROR;
        break;
      case Setting.ENABLE_CONNECT_PROTOCOL:
        if (value > 1) return PROTOCOL_ERROR;
        break;
      default:
    }
  }
  return OK;
}

/*
 * Writers: each puts one frame at `at` and returns where the next one goes. The caller has seen to the room.
 */

/** A header; the payload of `length` bytes goes behind it. */
export function writeFrameHeader(
  buffer: Uint8Array,
  at: number,
  length: number,
  type: number,
  flags: number,
  stream: number,
): number {
  buffer[at] = length >>> 16;
  buffer[at + 1] = length >>> 8;
  buffer[at + 2] = length;
  buffer[at + 3] = type;
  buffer[at + 4] = flags;
  return writeUint32(buffer, at + 5, stream);
}

function writeUint32(buffer: Uint8Array, at: number, value: number): number {
  buffer[at] = value >>> 24;
  buffer[at + 1] = value >>> 16;
  buffer[at + 2] = value >>> 8;
  buffer[at + 3] = value;
  return at + 4;
}

/** The header of a DATA frame without padding; `length` bytes follow. */
export function writeDataHeader(
  buffer: Uint8Array,
  at: number,
  length: number,
  stream: number,
  endStream: boolean,
): number {
  const flags = endStream ? Flag.END_STREAM : 0;
  return writeFrameHeader(buffer, at, length, FrameType.DATA, flags, stream);
}

/**
 * Makes frames of a header block that lies `FRAME_HEADER_BYTES` behind `at` and ends at `blockEnd`: a HEADERS
 * frame and as many CONTINUATION as it takes, for whose headers the rest is moved on.
 * @param frameSizeMax the peer's SETTINGS_MAX_FRAME_SIZE.
 * @returns the end; negative: the room that it would take from `at` on, negated, and nothing has changed.
 */
export function writeHeaders(
  buffer: Uint8Array,
  at: number,
  blockEnd: number,
  stream: number,
  endStream: boolean,
  frameSizeMax: number,
): number {
  const flags = endStream ? Flag.END_STREAM : 0;
  const block = blockEnd - at - FRAME_HEADER_BYTES;
  if (block <= frameSizeMax) {
    writeFrameHeader(buffer, at, block, FrameType.HEADERS, flags | Flag.END_HEADERS, stream);
    return blockEnd;
  }
  const more = Math.ceil(block / frameSizeMax) - 1;
  const end = blockEnd + more * FRAME_HEADER_BYTES;
  if (end > buffer.length) return at - end;
  // From the last piece on, for each moves onto where the one behind it was.
  for (let piece = more; piece > 0; piece--) {
    const from = at + FRAME_HEADER_BYTES + piece * frameSizeMax;
    const length = Math.min(frameSizeMax, blockEnd - from);
    const header = from + (piece - 1) * FRAME_HEADER_BYTES;
    buffer.copyWithin(header + FRAME_HEADER_BYTES, from, from + length);
    const last = piece === more ? Flag.END_HEADERS : 0;
    writeFrameHeader(buffer, header, length, FrameType.CONTINUATION, last, stream);
  }
  writeFrameHeader(buffer, at, frameSizeMax, FrameType.HEADERS, flags, stream);
  return end;
}

/** @param settings id, value, id, value. */
export function writeSettings(buffer: Uint8Array, at: number, settings: readonly number[]): number {
  const length = (settings.length >> 1) * SETTING_BYTES;
  at = writeFrameHeader(buffer, at, length, FrameType.SETTINGS, 0, 0);
  for (let i = 0; i + 1 < settings.length; i += 2) {
    buffer[at] = settings[i]! >>> 8;
    buffer[at + 1] = settings[i]!;
    at = writeUint32(buffer, at + 2, settings[i + 1]!);
  }
  return at;
}

/** The peer's settings are in force. */
export function writeSettingsAck(buffer: Uint8Array, at: number): number {
  return writeFrameHeader(buffer, at, 0, FrameType.SETTINGS, Flag.ACK, 0);
}

/** @param from where the eight opaque bytes are in `opaque`: those of the ping that is answered. */
export function writePing(
  buffer: Uint8Array,
  at: number,
  ack: boolean,
  opaque: Uint8Array,
  from: number,
): number {
  at = writeFrameHeader(buffer, at, 8, FrameType.PING, ack ? Flag.ACK : 0, 0);
  for (let i = 0; i < 8; i++) buffer[at + i] = opaque[from + i]!;
  return at + 8;
}

/** @param lastStream the last stream of the peer that was or may be acted upon. */
export function writeGoaway(
  buffer: Uint8Array,
  at: number,
  lastStream: number,
  code: number,
): number {
  at = writeFrameHeader(buffer, at, 8, FrameType.GOAWAY, 0, 0);
  return writeUint32(buffer, writeUint32(buffer, at, lastStream), code);
}

/** @param increment 1 to `WINDOW_MAX` bytes. */
export function writeWindowUpdate(
  buffer: Uint8Array,
  at: number,
  stream: number,
  increment: number,
): number {
  return writeWord(buffer, at, FrameType.WINDOW_UPDATE, stream, increment);
}

/** Ends a stream with an `ErrorCode`. */
export function writeRstStream(
  buffer: Uint8Array,
  at: number,
  stream: number,
  code: number,
): number {
  return writeWord(buffer, at, FrameType.RST_STREAM, stream, code);
}

function writeWord(
  buffer: Uint8Array,
  at: number,
  type: number,
  stream: number,
  word: number,
): number {
  return writeUint32(buffer, writeFrameHeader(buffer, at, 4, type, 0, stream), word);
}
