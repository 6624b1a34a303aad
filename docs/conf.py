"""The documentation site: ``make docs`` builds it into docs/_build/html, and runs its tutorials."""

import os
import sys
from pathlib import Path

from sphinx.application import Sphinx

import sccr_node

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # tools/ is not installed

from tools.site_links import BORROWED, REPOSITORY, for_the_site  # noqa: E402

# The tutorials call sccr as a shell would; it lies beside the Python that runs Sphinx.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

project = "sccr-node"
author = "The sccr-node developers"
version = release = sccr_node.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]
highlight_language = "none"

# A link that leads nowhere is an error (make docs turns warnings into errors).
nitpicky = True
# Types of other projects are not linked: their inventories would have to be fetched, and the site is built without a
# network.
nitpick_ignore_regex = [
    (r"py:.*", r"(anndata|collections|numpy|os|pathlib|pydantic|scipy|types|typing)\b.*"),
    # Classes that no user makes or keeps: functions return or accept them on the way.
    (r"py:.*", r"(sccr_node\.)?(contract|evaluation|numerics)\..*"),
    (r"py:class", r"AnnData|Page"),
]

autosummary_generate = True
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_member_order = "bysource"
# The docstrings say in prose what is returned, and name several attributes at once; napoleon would look for types.
napoleon_custom_sections = ["Returns", "Attributes"]
napoleon_google_docstring = False
napoleon_use_rtype = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4

nb_execution_mode = "force"
nb_execution_timeout = 240
nb_execution_raise_on_error = True
nb_execution_show_tb = True
# Messages and results of a cell in the order in which they came.
nb_merge_streams = True

copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True

html_theme = "sphinx_book_theme"
html_title = f"sccr-node {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "repository_url": REPOSITORY,
    "repository_branch": "main",
    "path_to_docs": "docs",
    "use_repository_button": True,
    "use_issues_button": True,
    "use_edit_page_button": True,
    "show_toc_level": 2,
    "home_page_in_toc": True,
}


def read(app: Sphinx, docname: str, source: list[str]) -> None:
    """Give Sphinx a page as the site shows it."""
    path = app.env.doc2path(docname, base=False)
    if not str(path).endswith(".md"):
        return
    page = os.path.dirname(docname)
    origin = BORROWED.get(docname)
    if origin is None:
        source[0] = for_the_site(source[0], os.path.join("docs", page), page, ROOT)
    else:
        app.env.note_dependency(str(ROOT / origin))
        source[0] = for_the_site((ROOT / origin).read_text(encoding="utf-8"), "", page, ROOT)


def setup(app: Sphinx) -> None:
    """Have every page read by `read`."""
    app.connect("source-read", read)
