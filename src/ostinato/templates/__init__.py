"""The Jinja templates of reports, model cards and comparisons."""

import functools
from collections.abc import Callable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from ostinato.redaction import inline


@functools.cache
def environment(finalize: Callable[[Any], Any] | None = None) -> Environment:
    """Builds the environment that loads the templates of this folder, once.

    Values are escaped in `.html` templates and inserted unchanged in `.md` templates.
    In Markdown, the filter `inline` escapes a value inside a line or a table cell. An
    undefined variable raises an error.

    Args:
        finalize: function that is applied to every value before it is inserted.
    """
    templates = Environment(
        loader=PackageLoader("ostinato"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["inline"] = inline
    return templates
