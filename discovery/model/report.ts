/** What a gateway tells its control service of a service, for the summaries. */
export interface ServiceReport {
  readonly service: string;
  /** Endpoints of the local cluster that are not ejected. */
  readonly healthy: number;
  /** Median response time, ms, over the last report period; absent without traffic. */
  readonly p50Ms?: number;
  /** Requests running now. */
  readonly inflight: number;
}
