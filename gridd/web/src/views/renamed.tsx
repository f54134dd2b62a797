/** A name that takes effect when it is whole: half of one may be that of a neighbour. */

import { useSignal } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";

interface Props {
  label: string;
  name: string;
  isTaken: (name: string) => boolean;
  onName: (name: string) => void;
  /** It is what the reader asked for: the name is selected, to be typed over. */
  hasFocus?: boolean;
}

export function Renamed({ label, name, isTaken, onName, hasFocus }: Props) {
  const text = useSignal<string | undefined>(undefined);
  const next = (text.value ?? name).trim();
  const isBad = next !== name && (!next || isTaken(next));
  const done = () => {
    if (!isBad && next !== name) onName(next);
    text.value = undefined;
  };
  const input = useRef<HTMLInputElement>(null);
  useLayoutEffect(() => {
    if (!hasFocus) return;
    input.current?.focus();
    input.current?.select();
  }, []);
  return (
    <input
      ref={input} value={text.value ?? name} aria-label={label} aria-invalid={isBad} title={isBad ? (next ? `There is another ${next}` : "It needs a name") : undefined}
      spellcheck={false} autocomplete="off" onInput={(event) => void (text.value = event.currentTarget.value)} onBlur={done}
      onKeyDown={(event) => {
        if (event.key === "Enter") done();
        if (event.key === "Escape") text.value = undefined;
      }}
    />
  );
}
