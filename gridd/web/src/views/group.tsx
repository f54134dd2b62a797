/** Fields that fold away, and do not exist before they are looked at. */

import type { ComponentChildren } from "preact";
import { useSignal } from "@preact/signals";
import { useLayoutEffect } from "preact/hooks";

interface Props {
  summary: ComponentChildren;
  /** Something stands in them: then they open by themselves, and close for the reader alone, who
   * may just be clearing a field. */
  isUsed: boolean;
  children: ComponentChildren;
}

export function Group({ summary, isUsed, children }: Props) {
  const isOpen = useSignal(isUsed);
  useLayoutEffect(() => {
    if (isUsed) isOpen.value = true;
  }, [isUsed]);
  return (
    <details open={isOpen.value} onToggle={(event) => void (isOpen.value = event.currentTarget.open)}>
      <summary>{summary}</summary>
      {isOpen.value && children}
    </details>
  );
}
