/** A part of the page whose code comes when it is first seen. */

import { useSignal } from "@preact/signals";
import { h, type FunctionComponent } from "preact";
import { useEffect } from "preact/hooks";

export function later<P extends object>(load: () => Promise<FunctionComponent<P>>): FunctionComponent<P> {
  let found: FunctionComponent<P> | undefined;
  return (props: P) => {
    const said = useSignal("Loading…");
    useEffect(() => {
      if (found) return;
      load().then(
        (it) => {
          found = it;
          said.value = "";
        },
        () => void (said.value = "This part of the page could not be loaded. Reload the page."),
      );
    }, []);
    void said.value;
    return found ? h(found, props) : <p class="quiet pad">{said.value}</p>;
  };
}
