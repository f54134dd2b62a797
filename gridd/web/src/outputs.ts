/** What a finished run gives to the page around this frame (BROWSER 2.11). */

import { signal } from "@preact/signals";
import { fromBase64, toBase64, type Reference } from "./dataref";
import type { Frame } from "./frame";
import type { Run } from "./run";

// Of a larger blob the metapage library makes no text, and then passes on none of the outputs (BROWSER 1.5).
const BLOB_BYTES_MAX = 100_000;
const CONTENT_BYTES_MAX = 50_000_000; // beyond, a reference is what a browser can still pass on

export interface Sent {
  /** Of the job. */
  id: string;
  names: string[];
  byValue: boolean;
}

/** What the page around this one was last given. */
export const sent = signal<Sent | undefined>(undefined);

let sendings = 0;

/** `resolve`: bytes instead of references. Pipes of the last run that this one has not are taken
 * back, so that no neighbour keeps a stale file. */
export async function sendOutputs(frame: Frame, run: Run, resolve: boolean, withResult: boolean): Promise<void> {
  const own = ++sendings;
  const result = run.job.value?.finished?.result ?? {};
  const values: Record<string, unknown> = {};
  for (const [name, reference] of Object.entries(result.outputs ?? {})) {
    values[name] = resolve ? await resolved(run, name, reference) : plain(run, reference);
  }
  if (withResult) {
    const lines = result.logs ?? [];
    values["job/result.json"] = {
      stdout: lines.filter((line) => !line[2]),
      stderr: lines.filter((line) => line[2]),
      statusCode: result.StatusCode,
      error: result.error,
      duration: result.duration,
      isTimedOut: result.isTimedOut,
      url: run.api.jobUrl(run.id),
    };
  }
  if (own !== sendings) return; // while its bytes were fetched, a newer run's began to be
  const stale = (sent.value?.names ?? []).filter((name) => !(name in values));
  sent.value = { id: run.id, names: Object.keys(values), byValue: resolve };
  frame.setOutputs({ ...Object.fromEntries(stale.map((name) => [name, undefined])), ...values });
}

function plain(run: Run, { type = "utf8", value }: Reference): Reference {
  return type === "key" ? { type: "url", value: `${run.api.base}/f/${encodeURIComponent(String(value))}` } : { type, value };
}

async function resolved(run: Run, name: string, { type = "utf8", value }: Reference): Promise<unknown> {
  if (type === "utf8" || type === "json") return value;
  if (type === "base64" && typeof value === "string") return passable(new Blob([fromBase64(value)]));
  const reference = plain(run, { type, value }); // where it lies is better than nothing
  if ((run.job.value?.finished?.result?.outputs?.[name]?.size ?? 0) > CONTENT_BYTES_MAX) return reference;
  try {
    const response = await fetch(run.api.outputUrl(run.id, name));
    if (!response.ok) return reference;
    const blob = await response.blob();
    return blob.size > CONTENT_BYTES_MAX ? reference : await passable(blob);
  } catch {
    return reference; // the grid is away
  }
}

/** The same bytes, as what survives the way through a parent: a large blob as a data URL. */
async function passable(blob: Blob): Promise<Blob | string> {
  if (blob.size <= BLOB_BYTES_MAX) return blob;
  const type = blob.type || "application/octet-stream";
  return `data:${type};blob=true;base64,${toBase64(new Uint8Array(await blob.arrayBuffer()))}`;
}
