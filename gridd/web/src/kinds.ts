/** What a file is, by its name: how it can be shown, and what people call it. Pure. */

export type Kind = "picture" | "table" | "json" | "html" | "audio" | "video" | "text" | "other";

export interface KindOf {
  kind: Kind;
  /** For people: "PNG picture". */
  label: string;
  mime: string;
}

const kind = (of: Kind, label: string, mime = ""): KindOf => ({ kind: of, label, mime });

const BY_END: Record<string, KindOf> = {
  png: kind("picture", "PNG picture", "image/png"),
  jpg: kind("picture", "JPEG picture", "image/jpeg"),
  jpeg: kind("picture", "JPEG picture", "image/jpeg"),
  gif: kind("picture", "GIF picture", "image/gif"),
  webp: kind("picture", "WebP picture", "image/webp"),
  avif: kind("picture", "AVIF picture", "image/avif"),
  bmp: kind("picture", "BMP picture", "image/bmp"),
  svg: kind("picture", "SVG drawing", "image/svg+xml"),
  csv: kind("table", "CSV table", "text/csv"),
  tsv: kind("table", "TSV table", "text/tab-separated-values"),
  json: kind("json", "JSON", "application/json"),
  geojson: kind("json", "GeoJSON", "application/geo+json"),
  ipynb: kind("json", "notebook", "application/json"),
  html: kind("html", "HTML page", "text/html"),
  htm: kind("html", "HTML page", "text/html"),
  wav: kind("audio", "WAV sound", "audio/wav"),
  mp3: kind("audio", "MP3 sound", "audio/mpeg"),
  ogg: kind("audio", "Ogg sound", "audio/ogg"),
  flac: kind("audio", "FLAC sound", "audio/flac"),
  m4a: kind("audio", "M4A sound", "audio/mp4"),
  mp4: kind("video", "MP4 film", "video/mp4"),
  webm: kind("video", "WebM film", "video/webm"),
  txt: kind("text", "text", "text/plain"),
  log: kind("text", "log", "text/plain"),
  md: kind("text", "Markdown", "text/markdown"),
  py: kind("text", "Python", "text/plain"),
  r: kind("text", "R", "text/plain"),
  sh: kind("text", "shell script", "text/plain"),
  xml: kind("text", "XML", "text/plain"),
  yaml: kind("text", "YAML", "text/plain"),
  yml: kind("text", "YAML", "text/plain"),
  pdb: kind("text", "protein structure", "text/plain"),
  xyz: kind("text", "atoms", "text/plain"),
  pdf: kind("other", "PDF document", "application/pdf"),
  zip: kind("other", "ZIP archive", "application/zip"),
  npy: kind("other", "NumPy array"),
  npz: kind("other", "NumPy arrays"),
  parquet: kind("other", "Parquet table"),
  h5: kind("other", "HDF5 file"),
};

export function endOf(name: string): string {
  const last = name.slice(name.lastIndexOf("/") + 1);
  const dot = last.lastIndexOf(".");
  return dot > 0 ? last.slice(dot + 1).toLowerCase() : "";
}

/** Of a name that says nothing, the contents decide (`isBinary`). */
export function kindOf(name: string): KindOf {
  const end = endOf(name);
  return BY_END[end] ?? kind("other", end && end.length <= 8 ? `${end.toUpperCase()} file` : "file");
}

/** No text has a zero byte in it, and every format that is none has one soon. */
export function isBinary(bytes: Uint8Array): boolean {
  return bytes.subarray(0, 4096).includes(0);
}

/** As `hexdump -C` writes it: offset, bytes, letters. */
export function hexLines(bytes: Uint8Array): string {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += 16) {
    const row = [...bytes.subarray(at, at + 16)];
    const hex = row.map((byte) => byte.toString(16).padStart(2, "0"));
    const halves = [hex.slice(0, 8).join(" "), hex.slice(8).join(" ")].join("  ");
    const letters = row.map((byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : ".")).join("");
    lines.push(`${at.toString(16).padStart(6, "0")}  ${halves.padEnd(48)}  ${letters}`);
  }
  return lines.join("\n");
}
