/** A job in the forms in which it can be passed on. Pure. */

import type { Definition } from "./definition";
import type { Reference } from "./dataref";
import { quoted } from "./shell";

/** `link` opens this job: a job with files that lie elsewhere is named by it. */
export function commandLine(definition: Definition, base: string, queue: string, link: string): string {
  const parts = ["gridd run", `--api ${quoted(base)}`, `--queue ${quoted(queue)}`];
  if (!holdsAll(definition)) return [...parts, `--definition ${quoted(link)}`].join(" \\\n  ");
  const flag = (name: string, value: unknown) => {
    if (value !== undefined && value !== null && value !== "") parts.push(`--${name} ${quoted(String(value))}`);
  };
  const { build = {}, requirements = {} } = definition;
  flag("image", definition.image);
  flag("dockerfile-inline", build.dockerfile);
  flag("context", build.context);
  flag("build-context", build.buildContext);
  flag("filename", build.filename);
  flag("target", build.target);
  flag("platform", build.platform);
  for (const argument of build.buildArgs ?? []) flag("build-arg", argument);
  flag("command", definition.command);
  flag("entrypoint", definition.entrypoint);
  flag("workdir", definition.workdir);
  for (const [name, value] of Object.entries(definition.env ?? {})) flag("env", `${name}=${value}`);
  flag("max-duration", definition.maxDuration ?? requirements.maxDuration);
  flag("cpus", requirements.cpus);
  flag("gpus", requirements.gpus);
  flag("memory", requirements.memory);
  flag("shm-size", definition.shmSize);
  for (const tag of definition.tags ?? []) flag("tag", tag);
  for (const [name, file] of Object.entries(definition.inputs ?? {})) flag("input", fileFlag(name, file));
  for (const [name, file] of Object.entries(definition.configFiles ?? {})) flag("config-file", fileFlag(name, file));
  return parts.join(" \\\n  ");
}

function holdsAll({ inputs = {}, configFiles = {} }: Definition): boolean {
  const files = [...Object.values(inputs), ...Object.values(configFiles)];
  return files.every(({ type = "utf8", value }) => type === "json" || (type === "utf8" && !String(value).startsWith("@")));
}

function fileFlag(name: string, { type = "utf8", value }: Reference): string {
  return `${name}=${type === "json" ? JSON.stringify(value) : String(value)}`;
}

export function python(definition: Definition, queueUrl: string): string {
  return [
    "import json",
    "from gridd.client import Queue",
    "",
    `definition = json.loads(r'''${JSON.stringify(definition, null, 2).replaceAll("'''", "\\u0027\\u0027\\u0027")}''')`,
    `with Queue(${JSON.stringify(queueUrl)}) as queue:`,
    "    job = queue.submit(definition)",
    "    for line in job.logs():",
    "        print(line.text, end=\"\")",
    "    print(job.wait().exit_code, dict(job.outputs))",
  ].join("\n");
}

function attribute(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll('"', "&quot;");
}

/** `grid` is where the script lies, without a slash at its end. */
export function scriptTag(grid: string, url: string): string {
  return `<script src="${attribute(grid)}/embed/gridd.js"></script>\n<gridd-job src="${attribute(url)}" height="400"></gridd-job>`;
}

export function frameSnippet(url: string): string {
  return `<iframe src="${attribute(url)}" width="100%" height="400" allow="clipboard-write; fullscreen"></iframe>`;
}
