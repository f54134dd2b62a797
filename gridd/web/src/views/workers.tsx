/** Who works on a queue, and what is left of them. */

import type { Job, Worker } from "../api";
import { ofHad, useOf } from "../queuerows";
import { number, size, workerName } from "../words";
import { Ago } from "./parts";

const WORKERS_MAX = 200;

export function Workers({ workers, jobs }: { workers: Worker[]; jobs: Map<string, Job> }) {
  const used = useOf(jobs.values());
  const hasGpus = workers.some((it) => it.gpus);
  const heads = ["Worker", "Jobs", "Cpus used", ...(hasGpus ? ["Gpus used"] : []), "Memory asked for", "Longest job", "Here", "Version"];
  return (
    <>
      <h2>Workers</h2>
      <div class="scroll" tabIndex={0} role="region" aria-label="Workers">
        <table class="workers">
          <thead><tr>{heads.map((it) => <th scope="col" key={it}>{it}</th>)}</tr></thead>
          <tbody>
            {workers.slice(0, WORKERS_MAX).map((it) => {
              const use = used.get(it.id) ?? { jobs: 0, cpus: 0, gpus: 0, memory: 0 };
              return (
                <tr key={it.id}>
                  <td><b title={it.id}>{workerName(it.id)}</b>{it.draining ? " (leaving)" : ""}{(it.tags ?? []).length > 0 && <small> {it.tags!.join(", ")}</small>}</td>
                  <td>{it.running ?? use.jobs}</td>
                  <td>{ofHad(use.cpus, it.cpus)}</td>
                  {hasGpus && <td>{ofHad(use.gpus, it.gpus)}</td>}
                  <td>{it.memory ? `${use.memory ? size(use.memory) : "0"} of ${size(it.memory)}` : ""}</td>
                  <td>{it.maxJobDuration}</td>
                  <td><Ago time={it.time} plain /></td>
                  <td>{it.version}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
      {workers.length > WORKERS_MAX && <p class="quiet">{number(workers.length - WORKERS_MAX)} more are not shown.</p>}
    </>
  );
}
