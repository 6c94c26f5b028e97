"""What the page gets on top of viser's: a name, readable contrast, names for screen readers, keys that do one thing.

viser's page is one HTML file. It is sent with a few lines of style and script more; they fetch nothing.
"""

from __future__ import annotations

TITLE = "LPM viewer"
_STYLE = """
:root, :root[data-mantine-color-scheme] { --mantine-color-dimmed: #545b62 !important;
  --mantine-color-blue-6: #1c5fa8 !important; --mantine-color-blue-filled: #1c5fa8 !important;
  --mantine-color-blue-filled-hover: #174f8c !important; --mantine-color-blue-outline: #1c5fa8 !important;
  --mantine-color-blue-text: #1c5fa8 !important; --mantine-primary-color-6: #1c5fa8 !important;
  --mantine-primary-color-filled: #1c5fa8 !important; --mantine-primary-color-filled-hover: #174f8c !important; }
.mantine-Slider-markLabel, .mantine-Notification-description { color: #545b62 !important; }
.mantine-Button-root:focus-visible, [role=slider]:focus-visible, .mantine-Tabs-tab:focus-visible,
.mantine-Input-input:focus-visible { outline: 3px solid #1c4e80 !important; outline-offset: 1px; }
.lpm { font-size: 0.82rem; line-height: 1.35; padding: 0.15rem 0.65rem 0.5rem; color: #212529; }
.lpm table { border-collapse: collapse; width: 100%; }
.lpm th, .lpm td { text-align: right; padding: 0.15rem 0.3rem; border-bottom: 1px solid #dee2e6; }
.lpm th:first-child, .lpm td:first-child { text-align: left; }
.lpm td:nth-child(n+2) { white-space: nowrap; }
.lpm pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #f1f3f5; padding: 0.5rem; margin: 0.3rem 0;
  max-height: 13rem; overflow-y: auto; }
.lpm button { font: inherit; padding: 0.2rem 0.7rem; border: 1px solid #1c4e80; border-radius: 4px; color: #1c4e80;
  background: #fff; cursor: pointer; }
.lpm .bar { height: 0.9rem; border: 1px solid #868e96; }
.lpm .ends { display: flex; justify-content: space-between; }
.lpm .bad { color: #a3180d; font-weight: 600; }
@media (max-width: 48em) {
  .mantine-Paper-root[style*="bottom: 0px"] { width: 100% !important; max-height: 55% !important; }
  .mantine-Paper-root[style*="bottom: 0px"] div[style*="width: 20em"] { width: 100% !important; }
  div:has(> .mantine-Paper-root[style*="bottom: 0px"] div[style*="border-box; opacity: 1"] div[style*="rows: 1fr"])
    > div:has(canvas) { height: 45% !important; }
}
"""
# On a phone viser lays its panel over the lower right of the lungs: there the lungs take what is above the panel, until
# it is folded. Its parts have no names, but their styles.
# Arrow and letter keys that a slider or a field uses must not move the camera as well: viser listens on the document,
# its page hangs below the body. Sliders and number fields are named after the label beside them.
# Where no graphics card draws, viser is asked for three pixels where there are four, and edges are not smoothed, which
# takes half of a frame: lungs follow the hand.
_SCRIPT = """
(() => {
  const graphics = document.createElement("canvas").getContext("webgl2");
  const known = graphics?.getExtension("WEBGL_debug_renderer_info");
  const card = known ? graphics.getParameter(known.UNMASKED_RENDERER_WEBGL) : "";
  graphics?.getExtension("WEBGL_lose_context")?.loseContext();
  const here = new URL(location.href);
  if (!/swiftshader|llvmpipe|software/i.test(card) || here.searchParams.has("fixedDpr")) return;
  const given = HTMLCanvasElement.prototype.getContext;
  HTMLCanvasElement.prototype.getContext = function (kind, options, ...more) {
    return given.call(this, kind, /^webgl/.test(kind) ? { ...options, antialias: false } : options, ...more);
  };
  here.searchParams.set("fixedDpr", 0.75 * window.devicePixelRatio);
  history.replaceState(null, "", here);
})();
document.addEventListener("DOMContentLoaded", () => {
  const own = "input, textarea, select, [role=slider], [role=tab], [role=option], [contenteditable]";
  for (const kind of ["keydown", "keyup"])
    document.body.addEventListener(kind, e => { if (e.target.closest?.(own)) e.stopPropagation(); });
  document.body.addEventListener("click", async e => {
    const button = e.target.closest?.("[data-copy]");
    if (!button) return;
    const text = button.parentElement.querySelector("pre").innerText;
    try { await navigator.clipboard.writeText(text); }
    catch { const area = Object.assign(document.createElement("textarea"), { value: text });
      document.body.append(area); area.select(); document.execCommand("copy"); area.remove(); }
    button.textContent = "copied";
    setTimeout(() => { button.textContent = "copy"; }, 1500);
  });
  const name = () => {
    for (const label of document.querySelectorAll("label[for]")) {
      const part = document.getElementById(label.htmlFor);
      if (!part) continue;
      const row = part.parentElement ?? part;
      for (const field of [part, ...row.querySelectorAll("[role=slider], input")])
        if (field.matches("[role=slider], input") && !field.ariaLabel) field.ariaLabel = label.textContent;
    }
    for (const image of document.querySelectorAll("img:not([alt])")) image.alt = "picture of the evidence";
  };
  document.addEventListener("click", e => {
    if (e.target.matches?.("input[type=file][accept$='.tar']")) e.target.multiple = true;
  }, true);
  // Files that are chosen at once come as one: a tar (POSIX ustar), which is what viser's button can send.
  const packed = files => {
    const parts = [], text = new TextEncoder();
    for (const file of files) {
      const head = new Uint8Array(512), put = (at, words) => head.set(text.encode(words), at);
      head.set(text.encode(file.name).slice(-99));
      for (const at of [100, 108, 116]) put(at, "0000000");
      put(124, file.size.toString(8).padStart(11, "0"));
      put(136, "00000000000");
      put(148, "        0");
      put(257, "ustar");
      put(263, "00");
      put(148, head.reduce((a, b) => a + b, 0).toString(8).padStart(6, "0") + "\\0");
      parts.push(head, file, new Uint8Array((512 - file.size % 512) % 512));
    }
    return new File([...parts, new Uint8Array(1024)], `${files.length} files.tar`);
  };
  document.addEventListener("change", e => {
    const input = e.target;
    if (input.type !== "file" || !(input.files.length > 1)) return;
    e.stopImmediatePropagation();
    const one = new DataTransfer();
    one.items.add(packed([...input.files]));
    input.files = one.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  }, true);
  let waits = false;
  new MutationObserver(() => {
    if (waits) return;
    waits = true;
    setTimeout(() => { waits = false; name(); }, 200);
  }).observe(document.body, { childList: true, subtree: true });
});
"""
# Scripts and styles are in the page itself, workers in blobs, pictures in data URLs. Nothing may come from elsewhere.
POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob: data:; "
    "style-src 'self' 'unsafe-inline'; worker-src 'self' blob: data:; connect-src 'self' data: blob:; "
    "frame-ancestors 'none'; form-action 'none'; base-uri 'none'"
)


def furnished(page: str) -> str:
    """Viser's page with our lines."""
    named = page.replace("<title>Viser</title>", f"<title>{TITLE}</title>")
    named = named.replace('content="Viser client"', 'content="Lungs that sliders move"')
    head, body = named.split("</head>", maxsplit=1)
    return f"{head}<style>{_STYLE}</style><script>{_SCRIPT}</script></head>{body}"
