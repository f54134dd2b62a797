/** Where the page is: its path, and its hash as a signal. The only place that writes addresses. */

import { computed, signal } from "@preact/signals";
import { chosenQueue, decodeObject, encodeJson, formatHash, parseHash, type Hash, type Queue } from "./hash";
import type { Definition } from "./definition";

export type Place = { kind: "home" } | { kind: "job"; id: string } | { kind: "queue"; queue: string };

export function placeOf(path: string): Place {
  const parts = path.split("/").filter(Boolean);
  const name = (text: string) => {
    try {
      return decodeURIComponent(text);
    } catch {
      return text;
    }
  };
  if (parts[0] === "j" && parts[1]) return { kind: "job", id: parts[1] };
  if (parts[0] === "q" && parts[1]) return { kind: "queue", queue: name(parts[1]) };
  return { kind: "home" };
}

export const place = signal<Place>(placeOf(location.pathname));
export const hash = signal<Hash>(parseHash(location.hash));
export const queue = computed<Queue | undefined>(() => {
  if (place.value.kind !== "queue") return unchanged(chosenQueue(hash.value, location.origin));
  const key = place.value.queue;
  return unchanged({ name: encodeURIComponent(key), base: location.origin, key, overridden: false });
});

let known: Queue | undefined;

/** The same object while it says the same: every letter that is typed changes the hash, and a new
 * queue would close the live line and let go of the run. */
function unchanged(next: Queue | undefined): Queue | undefined {
  if (JSON.stringify(next) !== JSON.stringify(known)) known = next;
  return known;
}

let told: ((hash: string) => void) | undefined;

/** `tell` is called with the new hash whenever the page itself changes it. */
export function watchAddress(tell: (hash: string) => void): void {
  told = tell;
  addEventListener("hashchange", () => void (hash.value = parseHash(location.hash)));
}

export function flag(name: string): boolean {
  return hash.value.params.get(name) === "true";
}

/** `undefined` removes a parameter. An edit leaves a short link, which names a job that is what it
 * is, and takes `base` (that job's definition) along. */
export function setParameters(changes: Record<string, string | undefined>, base?: Definition): void {
  const params = new Map(hash.value.params);
  const leaves = place.value.kind === "job" && ("job" in changes || "inputs" in changes);
  if (leaves && base && !("job" in changes)) params.set("job", encodeJson(base));
  for (const [name, value] of Object.entries(changes)) {
    if (value === undefined) params.delete(name);
    else params.set(name, value);
  }
  const next = { before: hash.value.before, params };
  const text = formatHash(next);
  if (leaves) place.value = { kind: "home" };
  const path = leaves ? "/" : location.pathname;
  history.replaceState(null, "", path + location.search + text);
  hash.value = next;
  told?.(text);
}

/** Back to (or forth to) where the page has been. */
export function goTo(at: Place, to: Hash): void {
  const text = formatHash(to);
  place.value = at;
  history.replaceState(null, "", (at.kind === "job" ? `/j/${at.id}` : at.kind === "home" ? "/" : location.pathname) + location.search + text);
  hash.value = to;
  told?.(text);
}

export function setFlag(name: string, isOn: boolean): void {
  setParameters({ [name]: isOn ? "true" : undefined });
}

/** The files that are edited on the page. */
export function filesOf(from: Hash): Record<string, string> {
  const files = decodeObject(from.params.get("inputs")) ?? {};
  return Object.fromEntries(Object.entries(files).map(([name, text]) => [name, String(text)]));
}
