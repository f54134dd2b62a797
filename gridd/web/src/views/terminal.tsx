/** The run in a terminal, which is loaded when somebody asks for it. */

import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { Run } from "../run";
import { number } from "../words";

export function TerminalView({ run }: { run: Run }) {
  const root = useRef<HTMLDivElement>(null);
  const said = useSignal("");
  useEffect(() => {
    let close: (() => void) | undefined;
    let isGone = false;
    said.value = "Loading…";
    import("../terminal").then(
      ({ openTerminal, SCROLLBACK_LINES }) => {
        if (isGone) return;
        close = openTerminal(root.current!, run);
        said.value = `The run, as a terminal draws it. It keeps the last ${number(SCROLLBACK_LINES)} lines; the log has all.`;
      },
      () => void (said.value = "The terminal could not be loaded. The log shows the same as lines."),
    );
    return () => {
      isGone = true;
      close?.();
    };
  }, [run]);
  return (
    <div class="terminalview" role="region" aria-label="Terminal">
      <div class="screen" ref={root} />
      <small>{said.value}</small>
    </div>
  );
}
