/** Undo and redo of whatever changed the page's address: it holds everything that can be edited. */

import { computed, effect, signal } from "@preact/signals";
import { goTo, hash, place, type Place } from "./address";
import type { Hash } from "./hash";

interface At {
  place: Place;
  hash: Hash;
}

const STEPS_MAX = 100;
const ONE_EDIT_MS = 1_000; // keystrokes with shorter pauses in the same field are one edit

const past = signal<At[]>([]);
const future = signal<At[]>([]);
export const canUndo = computed(() => past.value.length > 0);
export const canRedo = computed(() => future.value.length > 0);

let current: At = { place: place.peek(), hash: hash.peek() };
let lastNames = "";
let lastTime = 0;
let isMoving = false;

/** Call once. */
export function watchEdits(): () => void {
  return effect(() => {
    const now = { hash: hash.value, place: place.peek() };
    const names = changed(current.hash, now.hash);
    if (names && !isMoving) {
      const time = Date.now();
      const goesOn = names === lastNames && time - lastTime < ONE_EDIT_MS;
      if (!goesOn) past.value = [...past.peek(), current].slice(-STEPS_MAX);
      future.value = [];
      [lastNames, lastTime] = [names, time];
    }
    current = now;
  });
}

export function undo(): void {
  move(past, future);
}

export function redo(): void {
  move(future, past);
}

function move(from: typeof past, to: typeof past): void {
  const target = from.value.at(-1);
  if (!target) return;
  from.value = from.value.slice(0, -1);
  to.value = [...to.value, current];
  isMoving = true;
  goTo(target.place, target.hash);
  isMoving = false;
  lastNames = "";
}

/** Names of the parameters that differ. */
function changed(a: Hash, b: Hash): string {
  const names = new Set([...a.params.keys(), ...b.params.keys()]);
  return [...names].filter((name) => a.params.get(name) !== b.params.get(name)).join(" ");
}
