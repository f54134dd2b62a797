/** Columns of numbers, drawn. The table beside it says the same to whoever can't see it. */

import { useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { CURVES_MAX, drawn, firstChoice, POINTS_MAX, type Drawn } from "../plotting";
import type { Table } from "../table";
import { counted, number } from "../words";

const HEIGHT = 320;

/** By file and its columns: the next run's plot shows the same. */
const choices = new Map<string, { x: number; ys: number[] }>();

export function Plot({ name, table, numeric }: { name: string; table: Table; numeric: boolean[] }) {
  const key = [name, ...table.head].join("\n");
  const choice = useSignal(useMemo(() => choices.get(key) ?? firstChoice(table, numeric), []));
  choices.set(key, choice.value);
  const isLog = useSignal(false);
  const root = useRef<HTMLDivElement>(null);
  const { x, ys } = choice.value;
  const data = useMemo(() => drawn(table, x, ys), [x, ys]);
  const canLog = data.ys.every((curve) => curve.every((it) => it === null || it > 0));
  const usesLog = isLog.value && canLog;

  useEffect(() => {
    const box = root.current;
    if (!box || !data.x.length || !ys.length) return undefined;
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    let plot: uPlot | undefined;
    const draw = () => {
      plot?.destroy();
      plot = new uPlot(options(box.clientWidth, x < 0 ? "row" : table.head[x]!, ys.map((it) => table.head[it]!), data, usesLog), [data.x, ...data.ys], box);
    };
    draw();
    const observer = new ResizeObserver(() => plot?.setSize({ width: box.clientWidth, height: HEIGHT }));
    observer.observe(box);
    scheme.addEventListener("change", draw);
    return () => {
      observer.disconnect();
      scheme.removeEventListener("change", draw);
      plot?.destroy();
    };
  }, [data, usesLog]);

  const columns = numeric.flatMap((is, at) => (is ? [at] : []));
  const toggle = (column: number) => {
    const next = ys.includes(column) ? ys.filter((it) => it !== column) : [...ys, column].slice(-CURVES_MAX);
    choice.value = { x, ys: next.sort((a, b) => a - b) };
  };
  return (
    <div class="plot">
      <div class="axes">
        <label>Across <select value={x} onChange={(event) => void (choice.value = { x: Number(event.currentTarget.value), ys })}>
          <option value={-1}>number of the row</option>
          {columns.map((at) => <option key={at} value={at}>{table.head[at]}</option>)}
        </select></label>
        <fieldset>
          <legend>Up</legend>
          {columns.slice(0, 40).map((at) => <label key={at} class="check"><input type="checkbox" checked={ys.includes(at)} onChange={() => toggle(at)} /> {table.head[at]}</label>)}
        </fieldset>
        {canLog && data.x.length > 0 && <label class="check"><input type="checkbox" checked={isLog.value} onChange={() => void (isLog.value = !isLog.value)} /> logarithmic</label>}
      </div>
      <div ref={root} class="canvas" role="img" aria-label={`Plot of ${ys.map((it) => table.head[it]).join(", ")} over ${x < 0 ? "the row" : table.head[x]}; the table has the numbers`} />
      <p class="quiet">{said(data, ys.length)}</p>
    </div>
  );
}

function said(data: Drawn, curves: number): string {
  if (!curves) return "Choose a column to be drawn.";
  if (!data.x.length) return "No row has a number in that column.";
  const order = data.isOrdered ? "" : " Points only: the numbers across go to and fro.";
  if (!data.isThinned) return `${counted(data.rows, "row")}. Drag across to look closer, double click to go back.${order}`;
  return `${counted(data.x.length, "point")} of ${counted(data.rows, "row")}: the lowest and the highest of each stretch (at most ${number(POINTS_MAX)}). Drag across to look closer.${order}`;
}

/** Told apart by more than colour where there are few points; readable on both grounds. */
const LIGHT = ["#17627d", "#b3261e", "#1d6f42", "#80590a", "#6d3fa8", "#a0386f", "#3d5a80", "#555b61"];
const DARK = ["#6cbad3", "#f2938c", "#7cc99a", "#e3b95c", "#b79df0", "#ec9bc5", "#9db9dd", "#b9c1c8"];

function options(width: number, x: string, names: string[], data: Drawn, isLog: boolean): uPlot.Options {
  const style = getComputedStyle(document.documentElement);
  const colour = (name: string) => style.getPropertyValue(name).trim();
  const colours = matchMedia("(prefers-color-scheme: dark)").matches ? DARK : LIGHT;
  const axis: uPlot.Axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 } };
  return {
    width, height: HEIGHT,
    scales: { x: { time: false }, y: { distr: isLog ? 3 : 1 } },
    axes: [{ ...axis, label: x, labelSize: 22 }, { ...axis, size: 64 }],
    series: [
      { label: x },
      ...names.map((label, at): uPlot.Series => ({
        label, stroke: colours[at % colours.length]!, width: 1.5,
        ...(data.isOrdered ? {} : { paths: () => null }),
        points: { show: !data.isOrdered || data.x.length <= 60, size: data.isOrdered ? 5 : 4 },
      })),
    ],
  };
}
