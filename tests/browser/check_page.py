#!/usr/bin/env python3
"""Open pages of audits in a real browser, and look for what only a browser can see.

    python tests/browser/check_page.py                 # check; screenshots go to a new folder
    python tests/browser/check_page.py --shots FOLDER  # keep them there

Every kind of audit is opened from disk at the width of a desk and of a phone, light and dark, and
as it would be printed. Nothing may be fetched, the console must stay empty, the page must not be
wider than the screen, no text of a figure may be cut off or lie on another, and all text must
stand out from its ground. The README's pictures are made here too: --images docs/images.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

from browser.devtools import Tab, browser  # noqa: E402

WIDTHS = {"desktop": 1280, "phone": 390}

LOOK = """(() => {
  const wrong = [], visible = innerWidth;
  const box = e => e.getBoundingClientRect();
  if (document.documentElement.scrollWidth > visible)
    wrong.push(`the page is ${document.documentElement.scrollWidth} px wide`);
  for (const e of document.querySelectorAll("body *"))
    if (!e.closest(".scroll table, svg") && box(e).right > visible + 1)
      wrong.push(`${e.tagName} ends at ${Math.round(box(e).right)}: ${e.textContent.slice(0, 40)}`);
  for (const svg of document.querySelectorAll("svg")) {
    const frame = box(svg), texts = [...svg.querySelectorAll("text")];
    const name = document.getElementById(svg.getAttribute("aria-labelledby").split(" ")[0]);
    for (const t of texts) {
      const b = box(t);
      const turned = (t.getAttribute("transform") || "").includes("rotate(-90");
      if ((turned ? b.width : b.height) < SMALLEST)
        wrong.push(`${name.textContent}: "${t.textContent}" is ${b.height.toFixed(1)} px high`);
      if (b.left < frame.left - 1 || b.right > frame.right + 1
          || b.top < frame.top - 1 || b.bottom > frame.bottom + 1)
        wrong.push(`${name.textContent}: "${t.textContent}" is cut off`);
      for (const u of texts) {
        const c = box(u);
        if (t !== u && b.left < c.right - 1 && c.left < b.right - 1
            && b.top < c.bottom - 3 && c.top < b.bottom - 3)
          wrong.push(`${name.textContent}: "${t.textContent}" lies on "${u.textContent}"`);
      }
    }
  }
  const light = colour => {
    const parts = colour.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255);
    const [r, g, b] = parts.map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = e => {
    for (; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if (!colour.endsWith(", 0)")) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  for (const e of document.querySelectorAll("p, a, td, th, dt, dd, h1, h2, h3, code, caption, "
      + "figcaption, figcaption *, span, small, svg text")) {
    const style = getComputedStyle(e), ink = e.closest("svg") ? style.fill : style.color;
    const [a, b] = [light(ink), light(ground(e))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5)
      wrong.push(`${ink} on ${ground(e)} is hard to read: ${e.textContent.slice(0, 30)}`);
  }
  return [...new Set(wrong)].slice(0, 12);
})()"""

PRINT = """[...document.querySelectorAll("table, svg, p")].filter(
  e => e.getBoundingClientRect().right > innerWidth + 1
).map(e => `printed, ${e.tagName} ends at ${Math.round(e.getBoundingClientRect().right)} of `
  + `${innerWidth}: ${e.textContent.trim().slice(0, 40)}`)"""

PAPER = 718
"""CSS pixels between the margins of an A4 sheet."""


def check(tab: Tab, path: Path, shots: Path) -> list[str]:
    """Return what is wrong with a page; leave pictures of it in a folder."""
    wrong = []
    for screen, width in WIDTHS.items():
        for scheme in ("light", "dark"):
            tab.look(path.as_uri(), width, scheme)
            look = LOOK.replace("SMALLEST", "9" if screen == "phone" else "10")
            found = [*tab.requests(), *tab.complaints(), *tab.evaluate(look)]
            wrong += [f"{path.stem}, {screen}, {scheme}: {what}" for what in found]
            (shots / f"{path.stem}-{screen}-{scheme}.png").write_bytes(tab.screenshot())
    tab.look(path.as_uri(), PAPER, media="print")
    return wrong + [f"{path.stem}: {what}" for what in tab.evaluate(PRINT)]


def pages() -> dict[str, str]:
    """Return pages by name: those of the tests, and the capitals."""
    from llm.pages import every_audit
    from script_loader import load_script

    import prefeq as pq

    capitals = load_script(ROOT / "examples" / "capitals" / "pairs.py").pairs()
    found = {name: report.to_html(name) for name, report in every_audit().items()}
    report = pq.audit(capitals, beta=0.5)
    return {"capitals": report.to_html("Audit of capitals.csv"), **found}


def self_test(tab: Tab, folder: Path) -> None:
    """Check that a bad page is noticed: the checks above can fail."""
    bad = {
        "wide": '<p style="width: 3000px">wide</p>',
        "pale": '<p style="color: #ccc; background: #fff">pale</p>',
        "cut": '<svg viewBox="0 0 99 20" aria-labelledby="t"><text x="90" y="15">cut</text></svg>',
        "asks": '<img src="https://example.org/a.png" alt="">',
        "says": "<script>console.log('said')</script>",
    }
    for name, body in bad.items():
        path = folder / f"bad-{name}.html"
        path.write_text(f'<!DOCTYPE html><title>t</title><i id="t">t</i>{body}', encoding="utf-8")
        if not check(tab, path, folder):
            raise SystemExit(f"check_page.py does not notice a page that is bad: {name}")


def images(tab: Tab, folder: Path, where: Path) -> None:
    """Write the two pictures that the documentation shows."""
    import numpy as np
    from llm.test_faults import healthy

    import prefeq as pq

    where.mkdir(parents=True, exist_ok=True)
    report = pq.audit(healthy(np.random.default_rng(20834), 2000), beta=0.1)
    report.save_html(folder / "images.html", "Audit of pairs.parquet")
    for name, width, height, scheme in (
        ("audit-desktop", 1100, 1650, "light"),
        ("audit-phone", 390, 1500, "dark"),
    ):
        tab.look((folder / "images.html").as_uri(), width, scheme)
        (where / f"{name}.png").write_bytes(tab.screenshot(height))


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shots", type=Path, help="folder for screenshots (default: a new one)")
    parser.add_argument("--images", type=Path, help="write the documentation's pictures here")
    args: Any = parser.parse_args(argv)
    shots = args.shots or Path(tempfile.mkdtemp(prefix="audit-pages-"))
    shots.mkdir(parents=True, exist_ok=True)
    wrong: list[str] = []
    with browser() as tab:
        self_test(tab, shots)
        for name, page in pages().items():
            path = shots / f"{name}.html"
            path.write_text(page, encoding="utf-8")
            found = check(tab, path.resolve(), shots)
            print(f"{name}: {'fine' if not found else f'{len(found)} wrong'}", flush=True)
            wrong += found
        if args.images:
            images(tab, shots.resolve(), args.images)
    print("\n".join([*wrong, f"pages and screenshots: {shots}"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
