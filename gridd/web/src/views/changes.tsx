/** What stands on the page and did not run yet: marks, the list with both sides, undo and redo. */

import { computed, signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { changesBetween, type Change } from "../changes";
import { isReadOnly, isStale, prepared, run } from "../store";
import { canRedo, canUndo, redo, undo } from "../undo";
import { later } from "./later";

const ChangeList = later(() => import("./changelist").then((it) => it.ChangeList), true);

export const changes = computed<Change[]>(() => {
  const [now, before] = [prepared.value?.definition, run.value?.definition];
  return isStale.value && now && before ? changesBetween(before, now) : [];
});

const NAMES_MAX = 6;

const isOpen = signal(false);

/** Beside a field that differs from the last run. */
export function Mark({ of, name }: { of: string[]; name?: string }) {
  const found = changes.value.some((it) => of.includes(it.member) && (name === undefined || it.name === name));
  return found ? <em class="mark-changed" title="Changed since the last run">changed</em> : null;
}

export function Changes() {
  useEffect(() => {
    const keys = (event: KeyboardEvent) => {
      if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z") return;
      // A field that is typed in has an undo of its own.
      if ((event.target as HTMLElement).closest("input, textarea, [contenteditable]")) return;
      event.preventDefault();
      (event.shiftKey ? redo : undo)();
    };
    addEventListener("keydown", keys);
    return () => removeEventListener("keydown", keys);
  }, []);
  const found = changes.value;
  if (isReadOnly.value || (!canUndo.value && !canRedo.value && !found.length)) return null;
  return (
    <div class={found.length ? "changes" : "undobar"} role="group" aria-label="Changes">
      <p>
        {found.length > 0 && <span class="names"><b>Changed since the last run:</b> {namesOf(found)}</span>}
        <span class="gap" />
        {found.length > 0 && <button type="button" class="small" aria-expanded={isOpen.value} onClick={() => void (isOpen.value = !isOpen.value)}>{isOpen.value ? "Hide" : "Show both"}</button>}
        <button type="button" class="small" disabled={!canUndo.value} onClick={undo}>Undo</button>
        <button type="button" class="small" disabled={!canRedo.value} onClick={redo}>Redo</button>
      </p>
      {isOpen.value && found.length > 0 && <ChangeList found={found} />}
    </div>
  );
}

function namesOf(found: Change[]): string {
  const names = found.slice(0, NAMES_MAX).map(({ title }) => title);
  return found.length > NAMES_MAX ? `${names.join(", ")} and ${found.length - NAMES_MAX} more` : names.join(", ");
}
