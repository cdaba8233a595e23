"""The site: what is in the Markdown of this project, built by Sphinx into pages with a search.

Theory.  A page has to be readable where it lies, without being built, so it is plain Markdown and
knows nothing of this.  What a site needs beyond that is made here, while it is built: the table of
contents is read off the lists of links in docs/index.md, the reference off docstrings
(docs/reference/), the command line off its parsers (commands.py), diagrams off the code blocks that
describe them (diagrams.py), and llms.txt off the pages.  Nothing is fetched, and no page refers to
anything from outside but by a link: `refuse_foreign_assets` looks at what was built.

    make docs          or: python -m sphinx -W --keep-going -c docs/site . build/docs
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE)]

import after  # noqa: E402
import commands  # noqa: E402
import contents  # noqa: E402
import diagrams  # noqa: E402
import docstrings  # noqa: E402

project = "purepool"
html_title = "purepool"
copyright = ""
author = "the authors of purepool"
language = "en"
smartquotes = False  # what is quoted is code, more often than not

extensions = ["myst_parser", "sphinx.ext.autodoc"]
root_doc = "docs/index"
include_patterns = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"]
include_patterns += ["docs/**", "spec/*.md", "spec/vectors/*.md"]
exclude_patterns = [
    ".*",
    "build",
    "dist",
    "node_modules",
    "spec/ports",
    "spec/mutants",
    "docs/site",
]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}

myst_heading_anchors = 4
suppress_warnings = ["myst.header"]

# Docstrings are written as on every other page: what is between backticks is code, or a name.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
python_maximum_signature_line_length = 88
add_module_names = False
toc_object_entries = True
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_theme_options = {
    "navigation_with_keys": True,
    "light_css_variables": {"color-brand-primary": "#2b5f9e", "color-brand-content": "#2b5f9e"},
    "dark_css_variables": {"color-brand-primary": "#8db8ec", "color-brand-content": "#8db8ec"},
}
html_static_path = ["static"]
html_css_files = ["purepool.css"]
html_show_copyright = False
html_show_sphinx = False
html_copy_source = True
html_use_index = True
pygments_style = "friendly"
pygments_dark_style = "github-dark"


def setup(app: Any) -> None:
    contents.setup(app)
    commands.setup(app)
    diagrams.setup(app)
    docstrings.setup(app)
    after.setup(app)
