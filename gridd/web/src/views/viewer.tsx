/** "View with…": the file in a viewer metaframe of the reader's choice. No link chooses one, and
 * nothing is fetched from anywhere before somebody did. */

import { useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { endOf, kindOf } from "../kinds";
import { beginningOf } from "../partial";
import { isGuarded } from "../store";
import { handedOver, VALUE_BYTES_MAX, Viewer, viewerAddress } from "../viewer";
import { rememberViewer, viewersOf } from "../viewers";
import { size } from "../words";
import type { Shown } from "./preview";

const SILENCE_MS = 15_000; // without a word from it, something is said
const GUARDED_BYTES_MAX = 50_000_000; // by value, where no other page may fetch from this grid

interface Given extends Shown {
  kind: string;
  /** Undefined: not loaded whole. */
  bytes: Uint8Array<ArrayBuffer> | undefined;
}

const BARRED = isGuarded ? location.origin : undefined;

/** Viewers that were opened on this very page, by file: the next run's file goes to the same one. */
const opened = new Map<string, string>();

export function ViewWith(given: Given) {
  const end = endOf(given.name);
  const known = useMemo(() => viewersOf(end), [end]);
  const before = opened.get(given.name);
  const typed = useSignal(before ?? known[0] ?? "");
  const problem = useSignal("");
  const chosen = useSignal<URL | undefined>(before === undefined ? undefined : viewerAddress(before, BARRED));
  const keep = (href: string) => {
    opened.set(given.name, href);
    rememberViewer(end, href);
  };
  const open = (text: string) => {
    const url = viewerAddress(text, BARRED);
    problem.value = url ? "" : "That is not the address of a viewer.";
    if (!url) return;
    typed.value = url.href;
    chosen.value = url;
    keep(url.href);
  };
  return (
    <div class="viewwith">
      <form class="fileline" onSubmit={(event) => { event.preventDefault(); open(typed.value); }}>
        <input aria-label="Address of a viewer metaframe" placeholder="https://… the address of a viewer metaframe" list="viewers" value={typed.value} spellcheck={false} autocomplete="off" onInput={(event) => void (typed.value = event.currentTarget.value)} />
        <datalist id="viewers">{known.map((it) => <option key={it} value={it} />)}</datalist>
        <button type="submit" class="small">View</button>
      </form>
      {problem.value && <p class="quiet" role="alert">{problem.value}</p>}
      {!chosen.value && <p class="quiet">A viewer is a web page that draws what it is given (a <i>metaframe</i>). It is loaded when you choose it, and it gets this file and nothing else.</p>}
      {chosen.value && <Framed key={chosen.value.href} {...given} address={chosen.value} onSettings={(href) => { typed.value = href; keep(href); }} />}
    </div>
  );
}

let counter = 0;

function Framed({ address, onSettings, ...given }: Given & { address: URL; onSettings: (href: string) => void }) {
  const frame = useRef<HTMLIFrameElement>(null);
  const id = useMemo(() => `viewer${++counter}`, []);
  const said = useSignal("Loading the viewer…");
  const isReady = useSignal(false);
  useEffect(() => {
    let viewer: Viewer | undefined;
    let isOver = false;
    const listen = (event: MessageEvent) => viewer?.receive(event);
    const silence = setTimeout(() => {
      if (!viewer?.isConnected) said.value = `The page at ${address.host} has not asked for the file. It may be no metaframe, refuse to be shown inside another page, or have moved to another address.`;
    }, SILENCE_MS);
    value(given).then(
      ({ value, isReference }) => {
        if (isOver) return;
        const name = given.name;
        viewer = new Viewer(
          () => frame.current?.contentWindow, id, `gridd${Math.random().toString(36).slice(2, 10)}`, address.origin, { [name]: value },
          () => void (said.value = isReference ? "Given to the viewer by reference: it fetches the file itself." : "Given to the viewer."),
          (hash) => onSettings(address.href.split("#")[0] + hash),
        );
        addEventListener("message", listen);
        isReady.value = true; // not before: its first word would be lost
      },
      (error: Error) => void (said.value = `The file can't be handed over: ${error.message}.`),
    );
    return () => {
      isOver = true;
      clearTimeout(silence);
      removeEventListener("message", listen);
    };
  }, []);
  return (
    <>
      <p class="quiet" role="status">{said.value}</p>
      {isReady.value && <iframe ref={frame} name={id} src={address.href} title={`Viewer of ${given.name}`} sandbox="allow-scripts allow-same-origin allow-forms allow-popups allow-downloads" allow="fullscreen" />}
    </>
  );
}

/** A grid that other pages may not use gives by value what it would else let them fetch. */
async function value({ kind, name, bytes, url, publicUrl }: Given): Promise<{ value: unknown; isReference: boolean }> {
  const { mime, kind: named } = kindOf(name);
  const what = kind === "bytes" ? "bytes" : named === "json" ? "json" : kind;
  if (!isGuarded || (bytes && bytes.length <= VALUE_BYTES_MAX)) return handedOver(what, mime, name, bytes, publicUrl);
  const whole = await beginningOf(url, GUARDED_BYTES_MAX);
  if (whole.isCut) throw new Error(`it has more than ${size(GUARDED_BYTES_MAX)}, and other pages may not fetch from this grid`);
  return { value: new Blob([whole.bytes], { type: mime || "application/octet-stream" }), isReference: false };
}
