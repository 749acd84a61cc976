import type { ChildProcess } from "node:child_process";
import { join } from "node:path";
import { type Chain, type Origins, refusal, startChain } from "#bench/load/chain.ts";
import { cpuSeconds } from "#bench/load/cpu.ts";
import { grpcLoad, h2load, type LoadResult, wrk } from "#bench/load/generators.ts";
import type { Ground, Peer } from "#bench/load/hop.ts";
import { probe } from "#bench/load/probe.ts";
import { isInstalled } from "#bench/load/programs.ts";
import { scriptFile, type Workload } from "#bench/load/workloads.ts";

/** What all measuring of one run shares. */
export interface Bench {
  readonly dir: string;
  readonly loadCpu: number;
  readonly ground: Ground;
  readonly origins: Origins;
  readonly rounds: number;
  readonly seconds: number;
  /** Processes that have to be ended. */
  readonly children: ChildProcess[];
}

/** One round of one peer. */
export interface Reading extends LoadResult {
  /** CPU time per request of each process of the chain, the client's first. */
  readonly cpuMicros: readonly number[];
}

/** A peer that was measured. */
export interface Measured {
  readonly peer: Peer;
  readonly chain: Chain;
  readonly readings: Reading[];
}

/** Starts peers when they are first needed, and puts them to the same load in turns. */
export class Measuring {
  readonly #bench: Bench;
  readonly #chains = new Map<string, Promise<Chain>>();

  constructor(bench: Bench) {
    this.#bench = bench;
  }

  /**
   * Of all peers that can be asked that way; the others are named, with the reason. One that answers wrongly is left
   * out, and the bench ends with code 1.
   */
  async inTurns(workload: Workload, peers: readonly Peer[]): Promise<Measured[]> {
    const { rounds, seconds } = this.#bench;
    const measured = new Map<Peer, Measured>();
    const without: string[] = [];
    for (const peer of peers) {
      const why = this.#refusal(peer, workload);
      if (why !== undefined) without.push(`${peer.name} (${why})`);
      else {
        await this.#unlessWrong(peer, measured, async () => {
          const chain = await this.#chain(peer, workload);
          // As long as a round: compilers are done then.
          await this.#load(workload, chain, seconds);
          measured.set(peer, { peer, chain, readings: [] });
        });
      }
    }
    if (without.length > 0) console.log(`  without ${without.join(", ")}`);
    for (let round = 0; round < rounds; round++) {
      for (const { peer, chain, readings } of [...measured.values()]) {
        await this.#unlessWrong(peer, measured, async () => {
          const before = chain.pids.map(cpuSeconds);
          const result = await this.#load(workload, chain, seconds);
          if (result.requests === 0) throw new Error(`no answer in ${seconds} s`);
          const cpuMicros = chain.pids.map(
            (pid, i) => ((cpuSeconds(pid) - before[i]!) * 1e6) / result.requests,
          );
          readings.push({ ...result, cpuMicros });
        });
      }
    }
    return [...measured.values()];
  }

  async #unlessWrong(
    peer: Peer,
    measured: Map<Peer, Measured>,
    act: () => Promise<void>,
  ): Promise<void> {
    try {
      await act();
    } catch (error) {
      console.log(`  ${peer.name} FAILED: ${(error as Error).message}`);
      measured.delete(peer);
      process.exitCode = 1;
    }
  }

  #refusal(peer: Peer, { way }: Workload): string | undefined {
    if (way.client === "http2" && !isInstalled("h2load")) return "no h2load: run make bench-peers";
    return refusal(peer, way);
  }

  async #chain(peer: Peer, workload: Workload): Promise<Chain> {
    const key = JSON.stringify([peer.name, workload.way]);
    let chain = this.#chains.get(key);
    if (chain === undefined) {
      chain = startChain(peer, workload.way, this.#bench, this.#bench.children);
      this.#chains.set(key, chain);
    }
    const started = await chain;
    await probe(workload, started.port);
    return started;
  }

  #load(workload: Workload, { port }: Chain, seconds: number): Promise<LoadResult> {
    const { dir, loadCpu: cpu } = this.#bench;
    const { connections, streams, path, answerBytes, way, calls, options = [] } = workload;
    if (calls !== undefined) return grpcLoad({ cpu, port, seconds, connections, streams, calls });
    const scheme = way.security === "tls" ? "https" : "http";
    const url = `${scheme}://127.0.0.1:${port}${path}`;
    const load = { cpu, url, seconds, connections, answerBytes };
    if (way.client === "http1") return wrk({ ...load, script: scriptFile(dir, workload) });
    return h2load({ ...load, streams, options, log: join(dir, "h2load.log") });
  }
}
