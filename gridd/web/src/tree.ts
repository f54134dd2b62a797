/** File names with folders as rows of a tree, and what the arrow keys do there. Pure. */

export interface Row {
  /** The file's whole name; a folder's, with a slash at its end. */
  path: string;
  /** Its last part. */
  name: string;
  /** Folders above it. */
  depth: number;
  isFolder: boolean;
  /** Files below a folder, at any depth; 1 for a file. */
  files: number;
}

/** Files before folders, each in the order of their names. Rows below a closed folder are left out. */
export function rowsOf(names: string[], closed: ReadonlySet<string>): Row[] {
  const found: Row[] = [];
  add(found, [...names].sort(inOrder), "", 0, closed);
  return found;
}

function add(found: Row[], names: string[], above: string, depth: number, closed: ReadonlySet<string>): void {
  const folders = new Map<string, string[]>();
  for (const path of names) {
    const slash = path.indexOf("/", above.length);
    if (slash < 0) {
      found.push({ path, name: path.slice(above.length), depth, isFolder: false, files: 1 });
      continue;
    }
    const folder = path.slice(0, slash + 1);
    const inside = folders.get(folder);
    if (inside) inside.push(path);
    else folders.set(folder, [path]);
  }
  for (const [path, inside] of folders) {
    found.push({ path, name: path.slice(above.length), depth, isFolder: true, files: inside.length });
    if (!closed.has(path)) add(found, inside, path, depth + 1, closed);
  }
}

/** `plot10` stands behind `plot9`. */
const collator = new Intl.Collator("en", { numeric: true });

function inOrder(a: string, b: string): number {
  return collator.compare(a, b) || (a < b ? -1 : 1);
}

/** The whole of what a key does; `undefined`: it is none of the tree's. */
export interface Step {
  to?: string;
  open?: string;
  close?: string;
}

export function step(rows: Row[], at: string | undefined, key: string): Step | undefined {
  const index = rows.findIndex((row) => row.path === at);
  const row = rows[index];
  const to = (next: number): Step => ({ to: rows[Math.max(0, Math.min(rows.length - 1, next))]?.path });
  switch (key) {
    case "ArrowDown": return to(index + 1);
    case "ArrowUp": return to(index - 1);
    case "Home": return to(0);
    case "End": return to(rows.length - 1);
    case "ArrowRight": {
      if (!row?.isFolder) return {};
      const isOpen = (rows[index + 1]?.depth ?? -1) > row.depth;
      return isOpen ? to(index + 1) : { open: row.path };
    }
    case "ArrowLeft": {
      if (!row) return {};
      if (row.isFolder && (rows[index + 1]?.depth ?? -1) > row.depth) return { close: row.path };
      for (let above = index - 1; above >= 0; above--) if (rows[above]!.depth < row.depth) return to(above);
      return {};
    }
    default: return undefined;
  }
}
