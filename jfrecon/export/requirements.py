"""The packages that writing faces needs."""

from __future__ import annotations

import importlib.util

from jfrecon.errors import UserError

PACKAGES = {'pygltflib': 'pygltflib', 'OpenImageIO': 'OpenImageIO', 'av': 'PyAV'}


def check() -> None:
    """Raise `UserError` where a package is missing."""
    if missing := [name for module, name in PACKAGES.items() if importlib.util.find_spec(module) is None]:
        raise UserError(f"writing faces needs {' and '.join(missing)}: pip install 'jfrecon[export]'")
