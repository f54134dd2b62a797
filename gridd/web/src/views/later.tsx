/** A part of the page whose code comes when it is first seen, or when the page has nothing else to
 * do. Of what is here already, nobody notices that it came later. */

import { useSignal } from "@preact/signals";
import { h, type FunctionComponent } from "preact";
import { useLayoutEffect } from "preact/hooks";

const QUIET_MS = 300; // what comes sooner is not announced
const IDLE_MS_MAX = 3_000;

const parts: (() => Promise<unknown>)[] = [];

/** `isLikely`: somebody who stays will look at it, so it is loaded ahead. */
export function later<P extends object>(load: () => Promise<FunctionComponent<P>>, isLikely = false): FunctionComponent<P> {
  let found: FunctionComponent<P> | undefined;
  const get = () => load().then((it) => (found = it));
  if (isLikely) parts.push(get);
  return (props: P) => {
    const said = useSignal("");
    useLayoutEffect(() => {
      if (found) return undefined;
      const timer = setTimeout(() => void (said.value = "Loading…"), QUIET_MS);
      void get()
        .then(() => void (said.value = "here"), () => void (said.value = "This part of the page could not be loaded. Reload the page."))
        .finally(() => clearTimeout(timer));
      return () => clearTimeout(timer);
    }, []);
    void said.value;
    if (found) return h(found, props);
    return said.value ? <p class="quiet pad" role="status">{said.value}</p> : null;
  };
}

/** One after the other, when the page is at rest. What fails is asked for again when it is seen. */
export function loadAhead(): void {
  const next = parts.shift();
  if (!next) return;
  whenIdle(() => void next().catch(() => undefined).then(loadAhead));
}

function whenIdle(call: () => void): void {
  if ("requestIdleCallback" in window) requestIdleCallback(call, { timeout: IDLE_MS_MAX });
  else setTimeout(call, IDLE_MS_MAX / 2); // Safari has no such thing
}
