import type { Brand } from "#kernel/brand.ts";
import { err, ok, type Result } from "#kernel/result.ts";

/** Root of a mesh: `acme.mesh`. At least one label; no cluster has this name. */
export type MeshName = Brand<string, "MeshName">;
/** A cluster's place in the tree, leaf first: `store-7.eu-west.acme.mesh`. Also its trust domain. */
export type ClusterName = Brand<string, "ClusterName">;
/** `menu.shop`: name, then namespace. */
export type ServiceName = Brand<string, "ServiceName">;

const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const NAME_MAX = 253;

/** A DNS label of lower-case letters, digits and inner hyphens (RFC 1123 §2.1). */
export function isLabel(text: string): boolean {
  return LABEL.test(text);
}

function isDotted(text: string, labelsMin: number): boolean {
  if (text.length > NAME_MAX) return false;
  const labels = text.split(".");
  return labels.length >= labelsMin && labels.every(isLabel);
}

/** The root of a mesh: one label or more. */
export function parseMeshName(text: string): Result<MeshName, string> {
  return isDotted(text, 1)
    ? ok(text as MeshName)
    : err(`"${text}" is not a mesh name: dot-separated labels of a-z, 0-9 and inner "-"`);
}

/** Any dotted name of at least two labels: the mesh's own labels are not known here. */
export function parseClusterName(text: string): Result<ClusterName, string> {
  return isDotted(text, 2)
    ? ok(text as ClusterName)
    : err(`"${text}" is not a cluster name such as "store-7.eu-west.acme.mesh"`);
}

/** `menu.shop`, or `menu` alone for namespace `default`. */
export function parseServiceName(text: string): Result<ServiceName, string> {
  const full = text.includes(".") ? text : `${text}.default`;
  return full.split(".").length === 2 && isDotted(full, 2)
    ? ok(full as ServiceName)
    : err(`"${text}" is not a service name such as "menu.shop"`);
}

/** A service by its two labels, which the caller has checked. */
export function serviceName(name: string, namespace: string): ServiceName {
  return `${name}.${namespace}` as ServiceName;
}

/** True if `name` is `ancestor` or lies below it. By labels: `a.xb.c` is not within `b.c`. */
export function isWithin(name: string, ancestor: string): boolean {
  return name === ancestor || name.endsWith(`.${ancestor}`);
}

/** First label: `store-7` of `store-7.eu-west.acme.mesh`. The token on the parent's bus. */
export function firstLabel(cluster: ClusterName): string {
  return cluster.slice(0, cluster.indexOf("."));
}

/** A name with its first label taken off. */
export function restOf(name: string): string {
  return name.slice(name.indexOf(".") + 1);
}

/**
 * The cluster above `cluster` in `mesh`; undefined for the core, and for what is no cluster of the mesh: a name outside
 * of it, or the mesh's own.
 * Every first-level cluster's parent is `core.<mesh>`, although their names are siblings: so core's
 * certificate authority cannot mint regional names.
 */
export function parentOf(cluster: ClusterName, mesh: MeshName): ClusterName | undefined {
  const core = coreOf(mesh);
  const isCluster = isWithin(cluster, mesh) && cluster !== (mesh as string);
  if (cluster === core || !isCluster) return undefined;
  const rest = restOf(cluster);
  return rest === mesh ? core : (rest as ClusterName);
}

/** The cluster at the top of the tree. */
export function coreOf(mesh: MeshName): ClusterName {
  return `core.${mesh}` as ClusterName;
}

/** `cluster` and all above it, nearest first: store, region, core. */
export function lineage(cluster: ClusterName, mesh: MeshName): ClusterName[] {
  const line: ClusterName[] = [];
  for (let at: ClusterName | undefined = cluster; at !== undefined; at = parentOf(at, mesh)) {
    line.push(at);
  }
  return line;
}

/** Where a mesh address points: a service, and the subtree it must be served from. */
export interface ServiceAddress {
  readonly service: ServiceName;
  /** Undefined: the best place anywhere. */
  readonly within: ClusterName | undefined;
}

/**
 * Reads `menu.shop.svc.acme.mesh` or `menu.shop.svc.eu-west.acme.mesh`.
 * Undefined if `host` is not such an address of this mesh.
 */
export function parseServiceAddress(host: string, mesh: MeshName): ServiceAddress | undefined {
  const at = host.indexOf(".svc.");
  if (at < 0) return undefined;
  const service = parseServiceName(host.slice(0, at));
  const place = host.slice(at + ".svc.".length);
  if (!service.ok || !host.slice(0, at).includes(".")) return undefined;
  if (place === mesh) return { service: service.value, within: undefined };
  if (!isWithin(place, mesh) || !isDotted(place, 2)) return undefined;
  return { service: service.value, within: place as ClusterName };
}
