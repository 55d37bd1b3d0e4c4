"""The digest of the program's own source, which identifies its version."""

import hashlib
from pathlib import Path


def code_digest() -> str:
    """Computes the SHA-256 of the package's Python files, with their names.

    Returns:
        The digest in hexadecimal.
    """
    digest = hashlib.sha256()
    package = Path(__file__).parents[1]
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        digest.update(f"{name}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
