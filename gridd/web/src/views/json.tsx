/** JSON as a tree that folds. What is folded does not exist, and long lists come in parts. */

import { useSignal } from "@preact/signals";
import { counted, number } from "../words";

const ITEMS_AT_ONCE = 100;
const OPEN_ITEMS_MAX = 20; // a larger one is folded at first
const TEXT_MAX = 2_000; // letters of a value

export function JsonTree({ value }: { value: unknown }) {
  return <div class="jsontree" tabIndex={0} role="region" aria-label="JSON"><Node value={value} depth={0} /></div>;
}

function Node({ name, value, depth }: { name?: string; value: unknown; depth: number }) {
  if (value === null || typeof value !== "object") return <div class="leaf"><Name name={name} /><Leaf value={value} /></div>;
  return <Branch {...(name === undefined ? {} : { name })} value={value} depth={depth} />;
}

function Branch({ name, value, depth }: { name?: string; value: object; depth: number }) {
  const isList = Array.isArray(value);
  const names = Object.keys(value);
  const isOpen = useSignal(depth === 0 || (depth < 3 && names.length <= OPEN_ITEMS_MAX));
  const shown = useSignal(ITEMS_AT_ONCE);
  if (!names.length) return <div class="leaf"><Name name={name} /><span class="quiet">{isList ? "[ ]" : "{ }"}</span></div>;
  return (
    <details open={isOpen.value} onToggle={(event) => void (isOpen.value = event.currentTarget.open)}>
      <summary><Name name={name} /><span class="quiet">{isList ? `[ ${counted(names.length, "item")} ]` : `{ ${counted(names.length, "member")} }`}</span></summary>
      {isOpen.value && (
        <div class="inside">
          {names.slice(0, shown.value).map((key) => <Node key={key} name={key} value={(value as Record<string, unknown>)[key]} depth={depth + 1} />)}
          {names.length > shown.value && <button type="button" class="small" onClick={() => void (shown.value *= 5)}>{number(names.length - shown.value)} more</button>}
        </div>
      )}
    </details>
  );
}

function Name({ name }: { name: string | undefined }) {
  return name === undefined ? null : <><span class="key">{name}</span>: </>;
}

function Leaf({ value }: { value: unknown }) {
  const text = JSON.stringify(value);
  const kind = typeof value === "string" ? "string" : typeof value === "number" ? "num" : "word";
  return <span class={kind}>{text.length > TEXT_MAX ? `${text.slice(0, TEXT_MAX)}…` : text}</span>;
}
