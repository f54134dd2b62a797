/** Two texts, line by line. */

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { diff, hunks, type DiffLine } from "../linediff";
import { counted, number } from "../words";
import "../outputs.css";

/** `texts` is called once; what it throws is told. */
export function DiffOf({ texts }: { texts: () => Promise<[string, string]> }) {
  const both = useSignal<[string, string] | undefined>(undefined);
  const failed = useSignal("");
  useEffect(() => void texts().then((it) => void (both.value = it), (error: Error) => void (failed.value = error.message)), []);
  if (!both.value) return <p class="quiet" role="status">{failed.value ? `The lines can't be shown: ${failed.value}.` : "Reading…"}</p>;
  const lines = diff(...both.value);
  if (!lines) return <p class="quiet">They have too little in common to be shown line by line.</p>;
  const added = lines.filter((it) => it.sign === "+").length;
  const removed = lines.filter((it) => it.sign === "-").length;
  return (
    <>
      <p class="quiet">{added || removed ? `${counted(removed, "line")} gone, ${number(added)} new` : "The lines are the same; only their ends differ."}</p>
      {hunks(lines).map((hunk, at) => <div key={at}>{hunk.skipped > 0 && <p class="quiet">{counted(hunk.skipped, "equal line")}</p>}<DiffLines lines={hunk.lines} /></div>)}
    </>
  );
}

export function DiffLines({ lines }: { lines: DiffLine[] }) {
  return (
    <pre class="diff" tabIndex={0}>
      {lines.map(({ sign, text }, at) => {
        const line = `${sign} ${text}\n`;
        return sign === "-" ? <del key={at} class="gone">{line}</del> : sign === "+" ? <ins key={at} class="new">{line}</ins> : <span key={at}>{line}</span>;
      })}
    </pre>
  );
}
