/** A text to be edited: a plain field at first, a real editor from the first touch on. */

import { useSignal } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import type { Editor } from "../editor";

interface Props {
  /** A file's name, which tells its language. */
  name: string;
  label: string;
  text: string;
  onText: (text: string) => void;
}

export function Code({ name, label, text, onText }: Props) {
  const isRich = useSignal(false);
  const box = useRef<HTMLDivElement>(null);
  const area = useRef<HTMLTextAreaElement>(null);
  const selected = useRef({ anchor: 0, head: 0 });
  const editor = useRef<Editor | undefined>(undefined);
  const latest = useRef(onText);
  latest.current = onText;
  const module = useRef<typeof import("../editor") | undefined>(undefined);

  const enrich = () => {
    if (module.current) return;
    import("../editor").then(
      (loaded) => {
        module.current = loaded;
        // Whoever has gone on meanwhile is not called back.
        if (document.activeElement !== area.current) return void (module.current = undefined);
        selected.current = { anchor: area.current?.selectionStart ?? 0, head: area.current?.selectionEnd ?? 0 };
        isRich.value = true;
      },
      () => undefined, // then the plain field stays
    );
  };
  useLayoutEffect(() => {
    if (!isRich.value || !box.current || !module.current) return undefined;
    editor.current = module.current.openEditor(box.current, { name, label, text, selected: selected.current, changed: (next) => latest.current(next) });
    return () => {
      editor.current?.destroy();
      editor.current = undefined;
    };
  }, [isRich.value]);
  // At once after the render: later, the reader would have typed on, and would lose it.
  useLayoutEffect(() => editor.current?.show(text), [text]);

  if (isRich.value) return <div ref={box} />;
  const rows = Math.min(24, Math.max(6, text.split("\n").length + 1));
  return (
    <textarea
      ref={area} class="code" rows={rows} spellcheck={false} wrap="off" aria-label={label} value={text}
      onFocus={enrich} onInput={(event) => onText(event.currentTarget.value)}
    />
  );
}
