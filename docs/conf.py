"""The book's settings: ``sphinx-build -W docs docs/_build`` (pip install -c constraints.txt -e '.[docs]')."""

import os
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

project = "gan_ref"
author = "The gan_ref authors"
extensions = ["myst_parser", "sphinx.ext.mathjax", "book"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "exercises"]
html_theme = "furo"
html_theme_options = {"light_css_variables": {"code-font-size": "0.72rem"}}  # for lines of 110 characters
html_title = "gan_ref"
html_static_path: list[str] = []
html_show_copyright = False
html_show_sourcelink = False
html_copy_source = False

# Equations: MathJax from a CDN, or, for reading and testing without a network, from the folder in which
# `npm install mathjax@3.2.2` put it.
mathjax_path = "https://cdn.jsdelivr.net/npm/mathjax@3.2.2/es5/tex-svg.js"
local = Path(os.environ.get("GAN_REF_MATHJAX", "none"), "node_modules", "mathjax", "es5", "tex-svg.js")
if local.is_file():
    (HERE / "_build" / "static").mkdir(parents=True, exist_ok=True)
    shutil.copy(local, HERE / "_build" / "static")
    html_static_path.append("_build/static")
    mathjax_path = "tex-svg.js"
