/** Files that the job is given: from this page, from a link, from the page around this one. */

import { signal, useSignal } from "@preact/signals";
import { heldBytes, type Reference } from "../dataref";
import { change, draft, inputsFolder } from "../edit";
import { api, given, isReadOnly, prepared } from "../store";
import { hashOfFile, upload } from "../upload";
import { size } from "../words";

interface Going {
  name: string;
  part: number;
  what: "reading" | "sending";
  error?: string;
}

const going = signal<Going[]>([]);

async function add(file: File): Promise<void> {
  const name = file.webkitRelativePath || file.name;
  const report = (news: Partial<Going>) => {
    const others = going.value.filter((it) => it.name !== name);
    const before = going.value.find((it) => it.name === name) ?? { name, part: 0, what: "reading" as const };
    going.value = [...others, { ...before, ...news }];
  };
  const base = api.value.base;
  try {
    report({ what: "reading", part: 0, error: undefined });
    const hash = await hashOfFile(file, (bytes) => report({ part: bytes / (file.size || 1) }));
    report({ what: "sending", part: 0 });
    await upload(base, hash, file, (bytes) => report({ part: bytes / (file.size || 1) }));
    const reference: Reference = { type: "url", value: `${base}/f/${hash}`, hash };
    change({ inputs: { ...draft.value.inputs, [name]: reference } });
    going.value = going.value.filter((it) => it.name !== name);
  } catch (error) {
    report({ error: (error as Error).message });
  }
}

export async function addFiles(list: Iterable<File>): Promise<void> {
  for (const file of list) await add(file);
}

export function Inputs() {
  const isOver = useSignal(false);
  const own = draft.value.inputs ?? {};
  const all = Object.entries(prepared.value?.definition.inputs ?? own);
  const remove = (name: string) => {
    const { [name]: _, ...rest } = own;
    change({ inputs: rest });
  };
  const drop = (event: DragEvent) => {
    event.preventDefault();
    isOver.value = false;
    if (event.dataTransfer) void addFiles(event.dataTransfer.files);
  };
  return (
    <div
      class={isOver.value ? "inputs over" : "inputs"} onDrop={drop}
      onDragOver={(event) => { event.preventDefault(); isOver.value = !isReadOnly.value; }} onDragLeave={() => void (isOver.value = false)}
    >
      <h2>Inputs <span class="count">{all.length || ""}</span></h2>
      {all.length > 0 && (
        <ul class="rows">
          {all.map(([name, reference]) => (
            <li key={name}>
              <span class="name">{name}</span>
              <small>{about(reference)}{name in own ? "" : name in given.value || `/${name}` in given.value ? " · from the page around" : ""}</small>
              {name in own && !isReadOnly.value && <button type="button" class="small" aria-label={`Remove ${name}`} onClick={() => remove(name)}>×</button>}
            </li>
          ))}
        </ul>
      )}
      {going.value.map((it) => (
        <div class="going" key={it.name}>
          <span class="name">{it.name}</span>
          {it.error ? <span class="bad" role="alert">{it.error}</span> : <progress aria-label={`${it.what} ${it.name}`} value={it.part} max={1} />}
          {it.error && <button type="button" class="small" onClick={() => void (going.value = going.value.filter((other) => other !== it))}>Dismiss</button>}
        </div>
      ))}
      {!isReadOnly.value && (
        <label class="drop">
          <input type="file" multiple aria-label="Upload files as inputs" onChange={(event) => { void addFiles([...(event.currentTarget.files ?? [])]); event.currentTarget.value = ""; }} />
          <span>Drop files here, or choose them. The job finds them in <code>{inputsFolder.value}</code>.</span>
        </label>
      )}
    </div>
  );
}

function about(reference: Reference): string {
  const bytes = heldBytes(reference);
  if (bytes) return size(bytes.length);
  if (reference.type === "url") {
    const isOurs = String(reference.value).startsWith(`${api.value.base}/f/`);
    return isOurs ? "uploaded" : `from ${String(reference.value)}`;
  }
  return String(reference.type ?? "");
}
