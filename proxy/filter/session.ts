import type { Millis } from "#kernel/brand.ts";
import type { Persistence } from "#model/snapshot.ts";
import type { Fields } from "#proxy/exchange/exchange.ts";
import { fieldValue } from "#proxy/exchange/fields.ts";

/*
 * Sessions (Gateway API GEP-1619): a token in a cookie or a header names the endpoint that a client's
 * requests go to, when the session began and when it was last used: `<endpoint>.<began>.<used>`, the
 * times in seconds of Unix time, base 36. It is not signed: a forged one leads to an endpoint that the
 * client could have been sent to anyway. Where that endpoint is gone the session moves on.
 */

/** A session as its token tells it. */
export interface Session {
  /** Undefined: a new session, any endpoint. */
  readonly key: string | undefined;
  readonly beganS: number;
}

const TOKEN = /^([0-9a-f]{16})\.([0-9a-z]{1,8})\.([0-9a-z]{1,8})$/;

/** The session of a request; a new one if there is none, or if its time is over. */
export function readSession(rules: Persistence, fields: Fields, wall: Millis): Session {
  const nowS = Math.floor(wall / 1_000);
  const fresh: Session = { key: undefined, beganS: nowS };
  const text = fieldValue(fields, rules.type === "Cookie" ? "cookie" : rules.name);
  const token = rules.type === "Cookie" ? cookieOf(text, rules.name) : text;
  const parts = token === undefined ? null : TOKEN.exec(token);
  if (parts === null) return fresh;
  const beganS = Number.parseInt(parts[2]!, 36);
  const usedS = Number.parseInt(parts[3]!, 36);
  const { absoluteTimeoutMs, idleTimeoutMs } = rules;
  if (absoluteTimeoutMs !== undefined && nowS - beganS >= absoluteTimeoutMs / 1_000) return fresh;
  if (idleTimeoutMs !== undefined && nowS - usedS >= idleTimeoutMs / 1_000) return fresh;
  return { key: parts[1]!, beganS };
}

/** Tells the client the endpoint that served it, if it does not know or if its token ages. */
export function markSession(
  rules: Persistence,
  session: Session,
  about: { readonly key: string; readonly wall: Millis; readonly secure: boolean },
  answer: Fields,
): void {
  const { key, wall, secure } = about;
  if (session.key === key && rules.idleTimeoutMs === undefined) return;
  const nowS = Math.floor(wall / 1_000);
  const token = `${key}.${session.beganS.toString(36)}.${nowS.toString(36)}`;
  if (rules.type === "Header") {
    answer.push(rules.name, token);
    return;
  }
  const age = rules.permanent ? `; Max-Age=${maxAgeS(rules, session, nowS)}` : "";
  const safe = secure ? "; Secure" : "";
  answer.push("set-cookie", `${rules.name}=${token}; Path=/; HttpOnly; SameSite=Lax${age}${safe}`);
}

function maxAgeS(rules: Persistence, session: Session, nowS: number): number {
  return Math.max(0, Math.floor(session.beganS + (rules.absoluteTimeoutMs ?? 0) / 1_000 - nowS));
}

function cookieOf(text: string | undefined, name: string): string | undefined {
  if (text === undefined) return undefined;
  for (const part of text.split(/[;,]/)) {
    const at = part.indexOf("=");
    if (at > 0 && part.slice(0, at).trim() === name) return part.slice(at + 1).trim();
  }
  return undefined;
}
