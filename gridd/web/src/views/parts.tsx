/** Small parts that several views use. */

import type { ComponentChildren } from "preact";
import { useSignal } from "@preact/signals";
import type { Check } from "../checks";
import { useLayoutEffect, useRef } from "preact/hooks";
import { about } from "../words";

/** Works on plain http too, where a page has no clipboard of its own. */
export async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "offscreen";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

export function CopyButton({ text, label = "Copy" }: { text: () => string; label?: string }) {
  const said = useSignal("");
  const click = async () => {
    said.value = (await copy(text())) ? "Copied" : "Not allowed here";
    setTimeout(() => void (said.value = ""), 1500);
  };
  return <button type="button" class="small" onClick={click} aria-live="polite">{said.value || label}</button>;
}

/** A command to be typed elsewhere. */
export function Command({ text }: { text: string }) {
  return (
    <div class="command">
      <code tabIndex={0}>{text}</code>
      <CopyButton text={() => text} />
    </div>
  );
}

export function Field({ label, children, hint, mark }: { label: string; children: ComponentChildren; hint?: string; mark?: ComponentChildren }) {
  return (
    <label class="field">
      <span>{label}{mark}</span>
      {children}
      {hint && <small>{hint}</small>}
    </label>
  );
}

interface TextProps {
  value: string | undefined;
  onText: (text: string) => void;
  placeholder?: string;
  label?: string;
  mode?: "numeric" | "decimal";
  /** What is wrong with a text, in a sentence. */
  check?: Check;
  /** So many lines, instead of one. */
  rows?: number;
}

/** While one types, it says what was typed, not what was made of it: `1.` is on its way to 1.5. */
export function Text({ value, onText, placeholder, label, mode, check, rows }: TextProps) {
  const typed = useSignal<string | undefined>(undefined);
  const text = typed.value ?? value ?? "";
  const wrong = check?.(text);
  const type = (event: { currentTarget: { value: string } }) => {
    typed.value = event.currentTarget.value;
    onText(event.currentTarget.value);
  };
  const common = {
    value: text, placeholder, "aria-label": label, "aria-invalid": Boolean(wrong), spellcheck: false,
    onInput: type, onBlur: () => void (typed.value = undefined),
  };
  return (
    <>
      {rows ? <textarea {...common} class="code" rows={rows} /> : <input {...common} inputMode={mode} autocomplete="off" />}
      {wrong && <small class="wrong" role="status">{wrong}</small>}
    </>
  );
}

/** A button that opens a panel below it; Escape and a click elsewhere close it. */
interface MenuProps {
  label: string;
  /** Or what makes them, given what closes the panel. */
  children: ComponentChildren | ((close: () => void) => ComponentChildren);
}

export function Menu({ label, children }: MenuProps) {
  const isOpen = useSignal(false);
  const root = useRef<HTMLDivElement>(null);
  const close = () => {
    isOpen.value = false;
    root.current?.querySelector("button")?.focus();
  };
  useLayoutEffect(() => {
    if (!isOpen.value) return undefined;
    const away = (event: Event) => {
      if (event instanceof KeyboardEvent ? event.key === "Escape" : !root.current?.contains(event.target as Node)) {
        if (event instanceof KeyboardEvent) close();
        else isOpen.value = false;
      }
    };
    addEventListener("pointerdown", away);
    addEventListener("keydown", away);
    return () => {
      removeEventListener("pointerdown", away);
      removeEventListener("keydown", away);
    };
  }, [isOpen.value]);
  return (
    <div class="menu" ref={root}>
      <button type="button" aria-expanded={isOpen.value} onClick={() => void (isOpen.value = !isOpen.value)}>{label}</button>
      {isOpen.value && <div class="panel">{typeof children === "function" ? children(close) : children}</div>}
    </div>
  );
}

/** `plain`: how long, without saying that it is past. */
export function Ago({ time, plain }: { time: number; plain?: boolean }) {
  return <time dateTime={new Date(time).toISOString()} title={new Date(time).toLocaleString()}>{about(Date.now() - time)}{plain ? "" : " ago"}</time>;
}
