/** What the job left: a list with sizes, and a preview of the one that is chosen. */

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { heldBytes, type Reference } from "../dataref";
import type { Run } from "../run";
import { size } from "../words";
import { save } from "./log";
import { CopyButton } from "./parts";
import { Preview } from "./preview";

const ZIP_BYTES_MAX = 500e6; // made in memory

export function Outputs({ run }: { run: Run | undefined }) {
  const chosen = useSignal<string | undefined>(undefined);
  const doing = useSignal("");
  const outputs = run?.job.value?.finished?.result?.outputs ?? {};
  const names = Object.keys(outputs).sort(byFolder);
  useEffect(() => void (chosen.value = undefined), [run]);
  if (!run || !names.length) {
    const text = run?.isOver ? "The job left no files." : "Files that the job writes to /outputs appear here when it has ended.";
    return <p class="quiet pad">{text}</p>;
  }
  const current = chosen.value ?? (names.length === 1 ? names[0] : names.find((name) => /\.(png|svg|jpe?g|html?|csv|json|md|txt)$/i.test(name)));
  const all = async () => {
    try {
      doing.value = "Fetching";
      const { zipSync } = await import("fflate");
      const files: Record<string, Uint8Array> = {};
      let total = 0;
      for (const name of names) {
        const response = await fetch(run.api.outputUrl(run.id, name));
        if (!response.ok) throw new Error(`${name}: status ${response.status}`);
        files[name] = new Uint8Array(await response.arrayBuffer());
        total += files[name].length;
        if (total > ZIP_BYTES_MAX) throw new Error("more than 500 MB: download the files one by one, or use gridd outputs");
      }
      save(new Blob([zipSync(files, { level: 0 }) as Uint8Array<ArrayBuffer>]), `${run.id.slice(0, 8)}.zip`);
      doing.value = "";
    } catch (error) {
      doing.value = (error as Error).message;
    }
  };
  return (
    <div class="outputs">
      <div class="tools">
        <small>{names.length} {names.length === 1 ? "file" : "files"}</small>
        <span class="gap" />
        <small role="status">{doing.value}</small>
        {names.length > 1 && <button type="button" class="small" onClick={() => void all()}>Download all</button>}
      </div>
      <ul class="rows tree" aria-label="Output files">
        {names.map((name, at) => {
          const folder = name.slice(0, name.lastIndexOf("/") + 1);
          const before = names[at - 1];
          const isNew = folder && !(before ?? "").startsWith(folder);
          return (
            <li key={name} class={folder ? "deep" : ""}>
              {isNew && <span class="folder">{folder}</span>}
              <div class={name === current ? "row chosen" : "row"}>
                <button type="button" class="name" aria-pressed={name === current} onClick={() => void (chosen.value = name)}>{name.slice(folder.length)}</button>
                <small>{sizeOf(outputs[name]!)}</small>
                <CopyButton label="Copy address" text={() => run.api.outputUrl(run.id, name)} />
                <a class="button small" href={run.api.outputUrl(run.id, name)} download={name.split("/").pop()} aria-label={`Download ${name}`}>Download</a>
              </div>
            </li>
          );
        })}
      </ul>
      {current && <Preview key={`${run.id}/${current}`} name={current} url={run.api.outputUrl(run.id, current)} />}
    </div>
  );
}

/** Files before folders, as in most file lists. */
function byFolder(a: string, b: string): number {
  const depth = Number(a.includes("/")) - Number(b.includes("/"));
  return depth || (a < b ? -1 : 1);
}

function sizeOf(reference: Reference & { size?: number }): string {
  const bytes = reference.size ?? heldBytes(reference)?.length;
  return bytes === undefined ? "" : size(bytes);
}
