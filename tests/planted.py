"""A secret for tests, and the search for it."""

SECRET = "qz-s3cr3t-7714"  # pragma: allowlist secret


def files_with(text, folder):
    """The files of a folder that hold a text."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path.name for path in files if text.encode() in path.read_bytes()]
