/** Runs that were started from this browser on this queue, and what happened to the one shown. */

import { signal } from "@preact/signals";
import { queue } from "../address";
import type { Happened } from "../api";
import { remembered } from "../remembered";
import { api, prepared, run } from "../store";
import { differences, duration, short } from "../words";
import { Ago } from "./parts";

const compared = signal<{ id: string; text: string } | undefined>(undefined);

/** With what stands on the left. */
async function compare(id: string): Promise<void> {
  try {
    const [now, then] = [prepared.value?.definition, await api.value.definition(id)];
    if (!now || !then) throw new Error("the grid has forgotten it");
    const found = differences(now, then);
    const text = found.length ? `differs from the job on this page in: ${found.join(", ")}` : "asks for the same as the job on this page";
    compared.value = { id, text };
  } catch (error) {
    compared.value = { id, text: `can't be compared: ${(error as Error).message}` };
  }
}

export function Runs() {
  const url = api.value.queue === undefined ? "" : api.value.queueUrl;
  const runs = remembered.value.filter((it) => it.queue === url);
  const story = run.value?.history.value ?? [];
  return (
    <div class="runs">
      {story.length > 0 && (
        <>
          <h2>What happened to {short(run.value!.id)}</h2>
          <ol class="story">{story.map((it, at) => <li key={at}><time>{new Date(it.time).toLocaleTimeString()}</time><span>{told(it)}</span></li>)}</ol>
        </>
      )}
      <h2>Earlier runs from this browser</h2>
      {runs.length === 0 && <p class="quiet">Jobs that you start here are listed here.</p>}
      {compared.value && (
        <div class="card" role="status">
          <p><b>{short(compared.value.id)}</b> {compared.value.text}</p>
          <button type="button" class="small" onClick={() => void (compared.value = undefined)}>Close</button>
        </div>
      )}
      <ul class="rows">
        {runs.map((it) => (
          <li key={it.id}>
            <a class="id" href={`/j/${it.id}#?queue=${queue.value?.name ?? ""}`}>{short(it.id)}</a>
            <span class="name">{it.title}</span>
            <small><Ago time={it.time} /></small>
            {prepared.value && it.id !== prepared.value.id && <button type="button" class="small" onClick={() => void compare(it.id)}>Compare</button>}
          </li>
        ))}
      </ul>
    </div>
  );
}

function told(it: Happened): string {
  const by = it.worker ? ` ${it.worker}` : "";
  switch (it.event) {
    case "submitted": return "submitted";
    case "held": return "submitted once more by somebody else";
    case "dropped": return `let go of by one of its submitters (${it.reason})`;
    case "leased": return `given to worker${by}${it.waited === undefined ? "" : ` after ${duration(it.waited)}`}`;
    case "lost": return `worker${by} was lost; it waits again`;
    case "released": return `worker${by} gave it back; it waits again`;
    case "finished": return `ended: ${it.reason}${it.message ? ` (${it.message})` : ""}${it.ran === undefined ? "" : ` after ${duration(it.ran)}`}`;
    case "omitted": return `${it.count ?? 0} entries are not kept`;
    default: return it.event;
  }
}
