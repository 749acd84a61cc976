import type { ClusterAuthority } from "#certs/authority/cluster_authority.ts";
import type { IdentitySource } from "#certs/identity/identity.ts";
import type { ControlService } from "#control/app/control_service.ts";

import { registerOrders } from "#control/app/order_metrics.ts";
import { orderRoutes } from "#control/app/order_routes.ts";

import { registerPolicies } from "#control/app/policy_metrics.ts";

import type { Bus } from "#discovery/bus/bus.ts";
import { type AdminRoute, jsonAnswer, textAnswer } from "#kernel/admin_http.ts";
import { Metrics } from "#kernel/metrics.ts";
import { registerProcess, registerProgram } from "#kernel/process_metrics.ts";
import { ok, type Result } from "#kernel/result.ts";
import { withoutKeys } from "#model/without_keys.ts";

/** What a control service shows its operator. */
export function adminRoutes(parts: {
  readonly control: ControlService;
  readonly bus: Bus;
  readonly identity: IdentitySource;
  readonly authority: ClusterAuthority;
  readonly api: Result<{ readonly refused: number }, string>;
  readonly version: string;
}): ReadonlyMap<string, AdminRoute> {
  const { control, bus, api, identity, authority } = parts;
  const metrics = new Metrics();
  control.register(metrics);
  registerOrders(metrics, () => [control]);
  registerPolicies(metrics, () => [control]);
  registerProgram(metrics, parts.version);
  registerProcess(metrics, "main");
  const labels = ["cluster"];
  metrics.gauge(
    { name: "espalier_bus_up", help: "1 if the cluster's bus is reached.", labels },
    () => [{ labels: [control.cluster], value: bus.status() === "up" ? 1 : 0 }],
  );
  metrics.counter(
    { name: "espalier_api_refused_total", help: "Peers that the API did not let in.", labels },
    () => [{ labels: [control.cluster], value: api.ok ? api.value.refused : 0 }],
  );
  metrics.gauge(
    {
      name: "espalier_certificate_not_after_seconds",
      help: "End of the control service's own certificate and of the cluster's CA, Unix time.",
      labels: ["cluster", "certificate"],
    },
    () => [
      { labels: [control.cluster, "leaf"], value: identity.current().notAfter / 1000 },
      { labels: [control.cluster, "ca"], value: authority.validity.notAfter / 1000 },
    ],
  );
  return new Map<string, AdminRoute>([
    ["/live", () => textAnswer(200, "live")],
    ["/ready", () => textAnswer(200, "ready")],
    [
      "/metrics",
      async () => ({
        status: 200,
        contentType: "text/plain; version=0.0.4; charset=utf-8",
        body: await metrics.text(),
      }),
    ],
    ["/config", () => jsonAnswer(200, configOf(control))],
    ...orderRoutes(() => ok(control)),
  ]);
}

function configOf(control: ControlService) {
  const { catalog } = control;
  const snapshot = control.hub.newest("gateway");
  return {
    cluster: control.cluster,
    parentLink: control.parentLease ?? null,
    registeredChildren: control.children(),
    proxies: control.hub.statuses(),
    children: catalog.children.map(({ cluster, freshness, facts }) => ({
      cluster,
      freshness,
      facts: Object.fromEntries(facts),
    })),
    view: catalog.view,
    orders: catalog.orders,
    snapshot: snapshot === undefined ? null : withoutKeys(snapshot),
  };
}
