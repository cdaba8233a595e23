"""The table of contents of the site: the links of docs/index.md, in their order.

Theory.  docs/index.md is read by people on its own, so it says where things are by ordinary lists
of links.  A table of contents that is kept beside them would soon say something else: so it is
made of them.  A page that is linked nowhere there is put at the end, under its own title: who adds
a page sees it on the site at once.
"""

from __future__ import annotations

import posixpath
import re
from typing import Any

LINK = re.compile(r"^\* \[(?P<text>[^\]]*)\]\((?P<page>[^)#:]+)(?:#[^)]*)?\)", re.M)
PART = re.compile(r"^## (?P<title>.*)$", re.M)


def parts(text: str) -> dict[str, dict[str, str]]:
    """Below each heading of an index: the pages that are linked there, and by which words."""
    _, *pieces = PART.split(text)
    return {
        title: {match["page"]: match["text"].replace("`", "") for match in LINK.finditer(body)}
        for title, body in zip(pieces[::2], pieces[1::2], strict=True)
    }


def toctree(title: str, pages: dict[str, str]) -> str:
    """The directive for one part; `pages` are absolute, each with what it is called."""
    lines = "\n".join(f"{text} <{page}>" if text else page for page, text in pages.items())
    return f"\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n{lines}\n```\n"


def contents(text: str, name: str, existing: set[str]) -> str:
    """All of them, for the index with this name; what it does not link comes last."""
    known, trees = {name}, []
    for title, links in parts(text).items():
        pages = {}
        for link, words in links.items():
            page, suffix = posixpath.splitext(posixpath.join(posixpath.dirname(name), link))
            page = posixpath.normpath(page)
            if suffix in (".md", ".rst") and page not in known:
                known.add(page)
                pages[f"/{page}"] = words
        if pages:
            trees.append(toctree(title, pages))
    others = sorted(existing - known)
    if others:
        trees.append(toctree("More", dict.fromkeys([f"/{page}" for page in others], "")))
    return "".join(trees)


def add_contents(app: Any, name: str, source: list[str]) -> None:
    """Give the first page its table of contents."""
    if name == app.config.root_doc:
        source[0] += contents(source[0], name, app.env.found_docs)


def setup(app: Any) -> None:
    app.connect("source-read", add_contents)
