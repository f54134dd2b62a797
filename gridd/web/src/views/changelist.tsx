/** What changed since the last run, with both sides. */

import { hashIn, shownValue, type Change } from "../changes";
import { isReference } from "../dataref";
import { decoded, textOf } from "../partial";
import { prepared } from "../store";
import { DiffOf } from "./difflines";

const LONG = 60; // characters: what is longer is shown by lines

export function ChangeList({ found }: { found: Change[] }) {
  return <dl>{found.map((it) => <Item key={`${it.member} ${it.name}`} change={it} />)}</dl>;
}

function Item({ change: { title, before, after, isFile } }: { change: Change }) {
  const [a, b] = [shownValue(before), shownValue(after)];
  const isLong = isFile || [a, b].some((text) => text.length > LONG || text.includes("\n"));
  return (
    <>
      <dt>{title}</dt>
      <dd>
        {isLong
          ? <DiffOf key={`${a}\n${b}`} texts={() => (isFile ? Promise.all([textOf(before), textNow(after)]) : Promise.resolve([a, b]))} />
          : <><del>{a || "nothing"}</del> → <ins>{b || "nothing"}</ins></>}
      </dd>
    </>
  );
}

/** What was not submitted yet is not on the grid either: it is here. */
async function textNow(file: unknown): Promise<string> {
  const hash = isReference(file) ? hashIn(file) : undefined;
  const bytes = hash === undefined ? undefined : prepared.peek()?.uploads.get(hash);
  return bytes ? decoded(bytes) : textOf(file);
}
