/** CodeMirror, loaded when somebody begins to edit. Colours are the page's own. */

import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { json } from "@codemirror/lang-json";
import { python } from "@codemirror/lang-python";
import { bracketMatching, HighlightStyle, indentOnInput, indentUnit, StreamLanguage, syntaxHighlighting } from "@codemirror/language";
import { dockerFile } from "@codemirror/legacy-modes/mode/dockerfile";
import { shell } from "@codemirror/legacy-modes/mode/shell";
import { EditorState, type Extension } from "@codemirror/state";
import { EditorView, keymap, lineNumbers } from "@codemirror/view";
import { tags } from "@lezer/highlight";

const COLOURS = HighlightStyle.define([
  { tag: [tags.keyword, tags.operatorKeyword, tags.modifier], color: "var(--accent)" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--good)" },
  { tag: [tags.number, tags.bool, tags.null], color: "var(--wait)" },
  { tag: [tags.comment], color: "var(--quiet)", fontStyle: "italic" },
  { tag: [tags.definition(tags.variableName), tags.propertyName], fontWeight: "600" },
]);

const LOOK = EditorView.theme({
  "&": { backgroundColor: "var(--surface)", color: "var(--ink)", border: "1px solid var(--line)", borderRadius: "6px", fontSize: "12.5px" },
  "&.cm-focused": { outline: "2px solid var(--accent)", outlineOffset: "1px" },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.5", maxHeight: "60vh", minHeight: "110px" },
  ".cm-gutters": { backgroundColor: "transparent", color: "var(--quiet)", border: "0" },
  ".cm-content": { caretColor: "var(--ink)" },
  ".cm-cursor": { borderLeftColor: "var(--ink)" },
  "&.cm-focused .cm-selectionBackground, .cm-selectionBackground": { backgroundColor: "var(--busy-ground) !important" },
  ".cm-matchingBracket": { backgroundColor: "var(--hit)" },
});

function language(name: string): Extension {
  if (/\.py$/.test(name)) return python();
  if (/\.json$/.test(name)) return json();
  if (/\.(sh|bash)$/.test(name)) return StreamLanguage.define(shell);
  if (/dockerfile/i.test(name)) return StreamLanguage.define(dockerFile);
  return [];
}

export interface Editor {
  /** What another hand wrote. */
  show(text: string): void;
  destroy(): void;
}

/** Tab is left alone: with the keyboard one must get out again. */
export function openEditor(
  parent: HTMLElement, options: { name: string; label: string; text: string; selected: { anchor: number; head: number }; changed: (text: string) => void },
): Editor {
  let isShowing = false;
  const { length } = options.text;
  const view = new EditorView({
    parent,
    state: EditorState.create({
      doc: options.text,
      selection: { anchor: Math.min(options.selected.anchor, length), head: Math.min(options.selected.head, length) },
      extensions: [
        lineNumbers(), history(), indentOnInput(), bracketMatching(), keymap.of([...defaultKeymap, ...historyKeymap]),
        syntaxHighlighting(COLOURS), LOOK, language(options.name),
        EditorState.tabSize.of(4), indentUnit.of("    "),
        EditorView.contentAttributes.of({ "aria-label": options.label }),
        EditorView.updateListener.of((update) => update.docChanged && !isShowing && options.changed(update.state.doc.toString())),
      ],
    }),
  });
  view.focus();
  return {
    show(text) {
      const now = view.state.doc.toString();
      if (now === text) return;
      isShowing = true; // it is written down already
      view.dispatch({ changes: { from: 0, to: now.length, insert: text } });
      isShowing = false;
    },
    destroy: () => view.destroy(),
  };
}
