/** From what is written on a `<gridd-job>` to the address of its frame. Pure. */

import { decodeObject, encodeJson, formatHash, isObject, parseHash } from "../hash";

export type Written = Record<(typeof NAMES)[number], string | null>;

/** `src`: a link that the page's Share menu gave. The others stand for themselves, and win over it. */
export const NAMES = ["src", "queue", "image", "command", "job", "autostart", "namespace"] as const;

/** Raises when `job` is no JSON object, or `src` no address of the web. A job that starts by itself
 * does so when it `hasInputs`: not once without them, and then once more. */
export function frameUrl(written: Written, grid: string, hasInputs: boolean): string {
  const url = new URL(written.src ?? "/", grid);
  if (!/^https?:$/.test(url.protocol)) throw new Error(`src="${written.src}" is no address of a grid`);
  const hash = parseHash(url.hash);
  const { params } = hash;
  const job = { ...decodeObject(params.get("job")), ...definition(written) };
  if (Object.keys(job).length) params.set("job", encodeJson(job));
  if (written.queue) params.set("queue", /^https?:/.test(written.queue) ? written.queue : encodeURIComponent(written.queue));
  if (written.autostart !== null) params.set("autostart", "true");
  if (!hasInputs) params.delete("autostart");
  if (written.namespace) params.set("control", encodeJson({ ...decodeObject(params.get("control")), namespace: written.namespace }));
  url.hash = "";
  return url.href.replace(/#$/, "") + formatHash(hash);
}

function definition({ job, image, command }: Written): Record<string, unknown> {
  const found: unknown = job ? parsed(job) : {};
  if (!isObject(found)) throw new Error(`job is to be a definition as JSON, such as {"image": "alpine:3.20"}`);
  return { ...found, ...(image && { image }), ...(command && { command }) };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
