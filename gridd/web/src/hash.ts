/**
 * The page's address: everything that a page is about stands behind the `#`.
 *
 * Grammar (BROWSER 2.2): text, `?`, then `key=value` joined by `&`. Neither keys nor values are
 * percent-decoded; each parameter has an encoding of its own (2.3). Text before the `?` is kept.
 */

export interface Hash {
  before: string;
  params: Map<string, string>;
}

/** Names that the page owns (BROWSER 2.4); all others are the user's. */
export const SYSTEM_NAMES = new Set([
  "job", "inputs", "queue", "queueOverride", "ignoreQueueOverride", "autostart", "control",
  "maxJobDuration", "allowsetjob", "resolverefs", "terminal", "debug", "definition", "config",
]);

/** What hosts put into a frame's address for their own use (BROWSER 2.5). */
const PLUMBING = /^(mp[-_].*|channel|CHANNEL|readonly|edit|parent-metapage-id|fs-path)$/;

export function isInjected(name: string): boolean {
  return PLUMBING.test(name);
}

export function parseHash(hash: string): Hash {
  const text = hash.replace(/^#+/, "");
  const at = text.indexOf("?");
  const params = new Map<string, string>();
  if (at < 0) return { before: text, params };
  for (const piece of text.slice(at + 1).split("&")) {
    if (!piece) continue;
    const equals = piece.indexOf("=");
    if (equals < 0) params.set(piece, "");
    else params.set(piece.slice(0, equals), piece.slice(equals + 1));
  }
  return { before: text.slice(0, at), params };
}

/** Keys sorted, values raw: two pages that mean the same have the same address. */
export function formatHash({ before, params }: Hash): string {
  const keys = [...params.keys()].sort();
  const query = keys.map((key) => `${key}=${params.get(key)}`).join("&");
  if (!query) return before ? `#${before}` : "";
  return `#${before}?${query}`;
}

/** Keys sorted at every level (by UTF-16 unit), no spaces, numbers as JavaScript writes them. */
export function stableJson(value: unknown): string {
  if (Array.isArray(value)) {
    return `[${value.map((item) => stableJson(item === undefined ? null : item)).join(",")}]`;
  }
  if (value !== null && typeof value === "object") {
    const members = value as Record<string, unknown>;
    const written = Object.keys(members)
      .filter((key) => members[key] !== undefined)
      .sort()
      .map((key) => `${JSON.stringify(key)}:${stableJson(members[key])}`);
    return `{${written.join(",")}}`;
  }
  return JSON.stringify(value) ?? "null";
}

export function encodeJson(value: unknown): string {
  return btoa(encodeURIComponent(stableJson(value)));
}

/** `undefined` for what can't be read: links are typed, cut and mangled by people. */
export function decodeJson(text: string | undefined): unknown {
  if (!text) return undefined;
  for (const read of [text, safely(() => decodeURIComponent(text))]) {
    if (read === undefined) continue;
    const value = safely(() => JSON.parse(decodeURIComponent(atob(read))) as unknown);
    if (value !== undefined) return value;
  }
  return undefined;
}

export function decodeObject(text: string | undefined): Record<string, unknown> | undefined {
  const value = decodeJson(text);
  return isObject(value) ? value : undefined;
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

function safely<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

/** The user's own parameters: they fill the job's environment and its `${name}`s. */
export function userParameters(hash: Hash): Record<string, string> {
  const own = [...hash.params].filter(([key]) => !SYSTEM_NAMES.has(key) && !isInjected(key));
  return Object.fromEntries(own);
}

export interface Queue {
  /** As it stands in the address. */
  name: string;
  /** `http(s)://host[:port]`, without a slash. */
  base: string;
  /** What the grid calls it. */
  key: string;
  overridden: boolean;
}

/** Which queue the page uses (BROWSER 2.9), or `undefined` when none is named. */
export function chosenQueue(hash: Hash, origin: string): Queue | undefined {
  const override = hash.params.get("queueOverride") ?? "";
  const overridden = override !== "" && hash.params.get("ignoreQueueOverride") !== "true";
  const name = overridden ? override : (hash.params.get("queue") ?? "");
  if (!name) return undefined;
  if (/^https?:\/\//.test(name)) {
    const url = safely(() => new URL(name));
    const key = url?.pathname.split("/").filter(Boolean).pop();
    if (!url || !key) return undefined;
    return { name, base: url.origin, key: safely(() => decodeURIComponent(key)) ?? key, overridden };
  }
  const key = safely(() => decodeURIComponent(name)) ?? name;
  return { name, base: localBase(key, origin), key, overridden };
}

/** `local` is the visitor's own grid, unless this page already comes from one. */
function localBase(key: string, origin: string): string {
  if (key !== "local" || /^https?:\/\/(localhost|127\.0\.0\.1|\[::1\])(:|$)/.test(origin)) return origin;
  return "http://localhost:8000";
}
