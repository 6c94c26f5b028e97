"""How Sphinx builds the documentation: `make docs`. Nothing is loaded from outside, and every warning is an error."""

import sys
from importlib.metadata import version as installed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "LPM"
copyright = "the LPM authors, MIT licence"
version = release = installed("lungs-parametric-model")
language = "en"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "lpm_docs"]
exclude_patterns = ["_ext"]
myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3
suppress_warnings = ["ref.python"]  # `View` of two modules: either link will do

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_type_aliases = {name: name for name in ("ArrayLike", "Floats", "NDArray", "Tensor")}
python_use_unqualified_type_names = True
maximum_signature_line_length = 90
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = "LPM"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sphinx = False
