import { type GatewaySaid, SESSION_FIELD } from "#proxy/authorize/hop.ts";
import type { AnswerHead, Exchange } from "#proxy/exchange/exchange.ts";
import { joinSeat } from "#proxy/filter/session.ts";
import { markWritten } from "#proxy/filter/written.ts";
import type { Attempt } from "#proxy/relay/attempt.ts";
import { pushTrace } from "#proxy/relay/failure_answer.ts";
import type { RelayPlan, RelayPorts } from "#proxy/relay/plan.ts";
import type { RouteTrace } from "#proxy/relay/route_trace.ts";

/** Writes into an answer's head what the client, or the gateway before us, has to know of who has answered. */
export function markAnswer(
  { status, fields }: AnswerHead,
  about: {
    readonly ports: RelayPorts;
    readonly exchange: Exchange;
    readonly plan: RelayPlan;
    readonly of: Attempt;
    /** What the next gateway has said with it. */
    readonly said: GatewaySaid | undefined;
    readonly trace: RouteTrace | undefined;
  },
): void {
  const { ports, exchange, plan, of, said, trace } = about;
  const { editAnswer, sessionRest, hop, data, service } = plan;
  const { peer, secure } = exchange;
  if (trace !== undefined) pushTrace(exchange, trace.text(said?.trace), fields);
  if (data?.write === true && peer.kind !== "gateway" && status < 400) {
    const { maxStalenessMs } = service.balancer.service.replication!;
    markWritten(fields, { wall: ports.clock.wall(), maxStalenessMs, secure });
  }
  const { sessionKey } = of.endpoint;
  const seat = sessionRest === undefined ? undefined : joinSeat(sessionKey, said?.session);
  if (seat !== undefined && hop.session !== undefined) fields.push(SESSION_FIELD, seat);
  editAnswer?.(fields, seat);
}
