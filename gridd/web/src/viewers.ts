/** The viewers that were used last for files of a kind, kept in this browser. */

const KEY = "gridd-viewers";
const KEPT_MAX = 5; // of one ending
const ENDINGS_MAX = 50;
const ADDRESS_MAX = 4_000;

export interface Store {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
}

export function viewersOf(end: string, store: Store | undefined = own()): string[] {
  const found = all(store)[end];
  return Array.isArray(found) ? found.filter((it) => typeof it === "string").slice(0, KEPT_MAX) : [];
}

/** Puts `address` first. One that differs behind the `#` alone takes the older one's place: the
 * viewer keeps its settings there. */
export function rememberViewer(end: string, address: string, store: Store | undefined = own()): void {
  if (!store || address.length > ADDRESS_MAX) return;
  const page = (text: string) => text.split("#")[0];
  const others = viewersOf(end, store).filter((it) => page(it) !== page(address));
  const { [end]: _, ...rest } = all(store);
  const kept = Object.entries({ [end]: [address, ...others].slice(0, KEPT_MAX), ...rest }).slice(0, ENDINGS_MAX);
  try {
    store.setItem(KEY, JSON.stringify(Object.fromEntries(kept)));
  } catch {
    // then it is typed again
  }
}

function all(store: Store | undefined): Record<string, string[]> {
  try {
    const kept = JSON.parse(store?.getItem(KEY) ?? "{}") as unknown;
    return kept && typeof kept === "object" ? (kept as Record<string, string[]>) : {};
  } catch {
    return {};
  }
}

/** Some frames and private windows refuse even to be asked. */
function own(): Store | undefined {
  try {
    return localStorage;
  } catch {
    return undefined;
  }
}
