/** Files that are written on the page, as tabs with an editor. They stand in the link. */

import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { changeFiles, files, inputsFolder, removeFile, renameFile, setFile } from "../edit";
import { Code } from "./code";
import { definition, isReadOnly } from "../store";

export function Files() {
  const open = useSignal("");
  const isNaming = useSignal(false);
  // Of a job that is shown by its link alone, the files are in its definition.
  const fixed = Object.entries(definition.value?.configFiles ?? {}).filter(([name]) => !(name in files.value));
  const names = Object.keys(files.value);
  const shown = [...names, ...fixed.map(([name]) => name)];
  const current = shown.includes(open.value) ? open.value : shown[0];
  const reference = fixed.find(([name]) => name === current)?.[1];
  const add = () => {
    const base = "run.py";
    let name = base;
    for (let n = 2; name in files.value; n++) name = `run${n}.py`;
    setFile(name, "");
    open.value = name;
    isNaming.value = true;
  };
  return (
    <div class="files">
      <div class="filetabs" role="group" aria-label="Files">
        {shown.map((name) => (
          <button key={name} type="button" class="file" aria-pressed={name === current} onClick={() => { open.value = name; isNaming.value = false; }}>{name}</button>
        ))}
        {!isReadOnly.value && <button type="button" class="small" onClick={add}>{shown.length ? "+ File" : "+ Add a file or script"}</button>}
      </div>
      {current !== undefined && reference === undefined && (
        <>
          {isNaming.value
            ? <Naming name={current} done={(name) => { isNaming.value = false; if (name && name !== current && !(name in files.value)) { renameFile(current, name); open.value = name; } }} />
            : (
              <p class="fileline">
                <span>{current.startsWith("/") ? current : `${inputsFolder.value}/${current}`}</span>
                <button type="button" class="small" onClick={() => void (isNaming.value = true)}>Rename</button>
                <button type="button" class="small" onClick={() => removeFile(current)}>Remove</button>
              </p>
            )}
          <Code key={current} name={current} label={`Contents of ${current}`} text={files.value[current] ?? ""} onText={(text) => setFile(current, text)} />
        </>
      )}
      {reference && <pre class="fixedfile" tabIndex={0}>{reference.type === "url" ? `lies at ${String(reference.value)}` : typeof reference.value === "string" ? reference.value : JSON.stringify(reference.value)}</pre>}
      {reference && !isReadOnly.value && reference.type === "utf8" && (
        <button type="button" class="small" onClick={() => changeFiles({ ...Object.fromEntries(fixed.filter(([, it]) => it.type === "utf8").map(([name, it]) => [name, String(it.value)])), ...files.value })}>Edit these files</button>
      )}
    </div>
  );
}

function Naming({ name, done }: { name: string; done: (name: string) => void }) {
  const text = useSignal(name);
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => input.current?.select(), []);
  return (
    <form class="fileline" onSubmit={(event) => { event.preventDefault(); done(text.value.trim()); }}>
      <input aria-label="Name of the file" value={text.value} ref={input} onInput={(event) => void (text.value = event.currentTarget.value)} onBlur={() => done(text.value.trim())} spellcheck={false} />
      <button type="submit" class="small">OK</button>
    </form>
  );
}
