"""A picture in 256 colours: half the bytes, and no eye that misses the others. The browser, which
is there anyway, reads the picture and chooses; the PNG is written here."""

import base64
import struct
import zlib
from typing import Final

from playwright.sync_api import Browser

_COLOURS: Final = 256

# The colours that most pixels have stay; each other becomes the nearest of those.
_CHOOSE: Final = """async ([png, most]) => {
  const bitmap = await createImageBitmap(await (await fetch(`data:image/png;base64,${png}`)).blob());
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d");
  context.drawImage(bitmap, 0, 0);
  const data = context.getImageData(0, 0, bitmap.width, bitmap.height).data;
  const pixels = Array.from({length: data.length / 4}, (_, at) =>
    (data[4 * at] << 16) | (data[4 * at + 1] << 8) | data[4 * at + 2]);
  const counts = new Map();
  for (const colour of pixels) counts.set(colour, (counts.get(colour) ?? 0) + 1);
  const palette = [...counts].sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, most).map(it => it[0]);
  const apart = (a, b) => [16, 8, 0].reduce((sum, by) => sum + (((a >> by) & 255) - ((b >> by) & 255)) ** 2, 0);
  const nearest = new Map();
  for (const colour of counts.keys()) {
    let best = 0;
    palette.forEach((other, at) => { if (apart(colour, other) < apart(colour, palette[best])) best = at; });
    nearest.set(colour, best);
  }
  const reader = new FileReader();
  reader.readAsDataURL(new Blob([Uint8Array.from(pixels, colour => nearest.get(colour))]));
  await new Promise(done => { reader.onload = done; });
  return {width: bitmap.width, palette, indices: reader.result.split(",")[1]};
}"""  # noqa: E501


def reduced(browser: Browser, png: bytes) -> bytes:
    page = browser.new_page()
    found = page.evaluate(_CHOOSE, [base64.b64encode(png).decode(), _COLOURS])
    page.close()
    width, indices = found["width"], base64.b64decode(found["indices"])
    rows = [indices[at : at + width] for at in range(0, len(indices), width)]
    head = struct.pack(">IIBBBBB", width, len(rows), 8, 3, 0, 0, 0)  # 8 bits, a palette
    colours = b"".join(colour.to_bytes(3, "big") for colour in found["palette"])
    body = zlib.compress(b"".join(b"\0" + row for row in rows), 9)  # 0: no filter
    parts = ((b"IHDR", head), (b"PLTE", colours), (b"IDAT", body), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
