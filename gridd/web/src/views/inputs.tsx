/** Files that the job is given: from this page, from a link, from the page around this one. */

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { addFiles, dismiss, going, replaced, takeDrops } from "../adding";
import { heldBytes, type Reference } from "../dataref";
import { change, draft, inputsFolder, renameInput } from "../edit";
import { sizes, sizeOf } from "../filesizes";
import { endOf, kindOf } from "../kinds";
import { api, given, isReadOnly, prepared } from "../store";
import { size } from "../words";
import { Mark } from "./changes";
import { Renamed } from "./renamed";

export function Inputs() {
  const isOver = useSignal(false);
  useEffect(() => takeDrops(() => !isReadOnly.value), []);
  const all = Object.entries(prepared.value?.definition.inputs ?? draft.value.inputs ?? {});
  const drop = (event: DragEvent) => {
    event.preventDefault();
    isOver.value = false;
    if (event.dataTransfer && !isReadOnly.value) void addFiles([...event.dataTransfer.files]);
  };
  return (
    <div
      class={isOver.value ? "inputs over" : "inputs"} onDrop={drop}
      onDragOver={(event) => { event.preventDefault(); isOver.value = !isReadOnly.value; }} onDragLeave={() => void (isOver.value = false)}
    >
      <h2>Inputs <span class="count">{all.length || ""}</span><Mark of={["inputs"]} /></h2>
      {all.length > 0 && <ul class="rows">{all.map(([name, reference]) => <Row key={name} name={name} reference={reference} />)}</ul>}
      {going.value.map((it) => (
        <div class="going" key={it.name}>
          <span class="name">{it.name}</span>
          {it.error ? <span class="bad" role="alert">{it.error}</span> : <progress aria-label={`${it.what} ${it.name}`} value={it.part} max={1} />}
          {it.error && <button type="button" class="small" onClick={() => dismiss(it.name)}>Dismiss</button>}
        </div>
      ))}
      {replaced.value.length > 0 && <p class="quiet" role="status">{replaced.value.join(", ")}: replaced by the file of that name that you added. Undo brings the earlier one back.</p>}
      {!isReadOnly.value && (
        <>
          <label class="drop">
            <input type="file" multiple aria-label="Upload files as inputs" onChange={(event) => { void addFiles([...(event.currentTarget.files ?? [])]); event.currentTarget.value = ""; }} />
            <span>Drop files here, or choose them. The job finds them in <code>{inputsFolder.value}</code>.</span>
          </label>
          <FromAddress />
        </>
      )}
    </div>
  );
}

function Row({ name, reference }: { name: string; reference: Reference }) {
  const isNaming = useSignal(false);
  const own = draft.value.inputs ?? {};
  const isOwn = name in own && !isReadOnly.value;
  const hash = ourHash(reference);
  useEffect(() => void (hash && sizeOf(api.value.base, hash)), [hash]);
  const bytes = hash ? sizes.value.get(hash) : heldBytes(reference)?.length;
  const facts = [bytes === undefined ? "" : size(bytes), kindIn(name, reference), originOf(name, reference)];
  const remove = () => {
    const { [name]: _, ...rest } = own;
    change({ inputs: rest });
  };
  if (isNaming.value) {
    return (
      <li key="naming" onFocusOut={() => void (isNaming.value = false)} onKeyDown={(event) => { if (event.key === "Enter" || event.key === "Escape") isNaming.value = false; }}>
        <Renamed label={`New name of ${name}`} name={name} isTaken={(next) => next in own} onName={(next) => void renameInput(name, next)} hasFocus />
      </li>
    );
  }
  return (
    <li key="row">
      <span class="name" title={name}>{name}<Mark of={["inputs"]} name={name} /></span>
      <small title={reference.type === "url" ? String(reference.value) : undefined}>{facts.filter(Boolean).join(" · ")}</small>
      {isOwn && <button type="button" class="small" aria-label={`Rename ${name}`} onClick={() => void (isNaming.value = true)}>Rename</button>}
      {isOwn && <button type="button" class="small" aria-label={`Remove ${name}`} onClick={remove}>×</button>}
    </li>
  );
}

/** A file that the worker fetches itself. */
function FromAddress() {
  const address = useSignal("");
  const last = nameIn(address.value.trim());
  const take = (event: Event) => {
    event.preventDefault();
    if (last === undefined) return;
    const url = address.value.trim();
    let name = last;
    for (let n = 2; name in (draft.value.inputs ?? {}); n++) name = `${n}-${last}`;
    change({ inputs: { ...draft.value.inputs, [name]: { type: "url", value: url } } });
    address.value = "";
  };
  return (
    <form class="fileline" onSubmit={take}>
      <input value={address.value} onInput={(event) => void (address.value = event.currentTarget.value)} aria-label="Address of an input" placeholder="or https://… of a file that the worker fetches" spellcheck={false} autocomplete="off" />
      <button type="submit" class="small" disabled={last === undefined}>Add</button>
    </form>
  );
}

/** What a file at that address is called; `undefined`: that is no address. */
function nameIn(address: string): string | undefined {
  if (!/^https?:\/\/\S+$/.test(address)) return undefined;
  let last = "file";
  try {
    last = new URL(address).pathname.split("/").filter(Boolean).pop() ?? last;
  } catch {
    return undefined;
  }
  try {
    return decodeURIComponent(last);
  } catch {
    return last; // its percent signs mean something else
  }
}

/** What its name promises; of one that promises nothing, what the link says. */
function kindIn(name: string, { type }: Reference): string {
  if (endOf(name)) return kindOf(name).label;
  return type === "json" ? "JSON" : type === "utf8" ? "text" : "";
}

function ourHash({ type, value }: Reference): string | undefined {
  const start = `${api.value.base}/f/`;
  return type === "url" && String(value).startsWith(start) ? String(value).slice(start.length) : undefined;
}

function originOf(name: string, reference: Reference): string {
  if (name in given.value || `/${name}` in given.value) return "from the page around";
  if (ourHash(reference)) return "uploaded";
  if (reference.type === "url") return `from ${String(reference.value)}`;
  return reference.type === "key" ? "lies on the grid" : "in the link";
}
