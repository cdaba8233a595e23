"""What is made, and looked at, when all pages are written: llms.txt, the first page, assets.

Theory.  The pages lie where their sources lie, so that a link from one to another is the same in
the source; the site's address is therefore docs/index.html, and the first page leads there.  For
programs that read instead of people llms.txt names every page, with its Markdown.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

FOREIGN = re.compile(
    r"<(?:script|img|iframe|source|video|audio)\b[^>]*?\bsrc=[\"'](?:https?:)?//[^\"']*"
    r"|<link\b[^>]*?rel=[\"'](?:stylesheet|preload|icon|preconnect)[^>]*?href=[\"'](?:https?:)?//"
    r"|url\([\"']?(?:https?:)?//[^)]*\)|@import\s+[\"'](?:https?:)?//"
)
REDIRECT = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<meta http-equiv="refresh" content="0; url={to}"><a href="{to}">{title}</a></html>
"""


def first_paragraph(text: str) -> str:
    """What a page begins with, below its title, as one line of plain text."""
    for paragraph in re.split(r"\n\s*\n", text):
        plain = " ".join(paragraph.split())
        if plain and not plain.startswith(("#", "```", "|", "![", "* ", "<", "=")):
            plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", plain)
            return re.split(r"(?<=[.!?:]) ", plain)[0].replace("**", "")
    return ""


def llms(app: Any) -> str:
    """The pages, each with what it begins with and where its source is."""
    lines = [f"# {app.config.project}", ""]
    lines += ["> A database connection pool for Python whose whole behaviour is one pure function."]
    lines += ["", "## Pages", ""]
    root = app.config.root_doc
    for name in [root, *sorted(app.env.found_docs - {root})]:
        source = Path(app.env.doc2path(name))
        title = app.env.titles[name].astext()
        about = first_paragraph(source.read_text("utf-8"))
        place = f"_sources/{name}{source.suffix}.txt"
        lines.append(f"- [{title}]({place}): {about}".rstrip(": "))
    return "\n".join(lines) + "\n"


def foreign_assets(place: Path) -> list[str]:
    """What built pages and styles would fetch from elsewhere."""
    return [
        f"{path.relative_to(place)}: {match[0]}"
        for path in sorted(place.rglob("*"))
        if path.suffix in (".html", ".css", ".svg")
        for match in FOREIGN.finditer(path.read_text("utf-8"))
    ]


def finish(app: Any, error: Exception | None) -> None:
    if error is not None or app.builder.format != "html":
        return
    place = Path(app.outdir)
    page = REDIRECT.format(title=app.config.html_title, to=f"{app.config.root_doc}.html")
    (place / "index.html").write_text(page, "utf-8")
    (place / "llms.txt").write_text(llms(app), "utf-8")
    (place / ".nojekyll").touch()
    found = foreign_assets(place)
    if found:
        raise RuntimeError("the site refers to assets from outside: " + "; ".join(found))


def setup(app: Any) -> None:
    app.connect("build-finished", finish)
