"""Finds the private names of libraries that a source file uses."""

import ast
import importlib
from collections.abc import Iterator
from typing import Any

PACKAGE = "ostinato"


def is_private(name: str) -> bool:
    """Whether a name starts with an underscore; `__name__` is public."""
    return name.startswith("_") and not name.endswith("__") and name.strip("_") != ""


def resolve(path: str) -> Any:
    """Imports the longest prefix of a dotted path and reads the other parts.

    Raises:
        AttributeError: a part does not exist.
    """
    parts = path.split(".")
    found: Any = importlib.import_module(parts[0])
    for end, part in enumerate(parts[1:], start=2):
        try:
            found = getattr(found, part)
        except AttributeError:
            try:
                found = importlib.import_module(".".join(parts[:end]))
            except ImportError:
                raise AttributeError(f"{path}: no {part}") from None
    return found


class Scanner:
    """Finds the private names of foreign libraries in one source file.

    Args:
        source: the text of the file.
        own_names: private names that are defined in any file of the package.
    """

    def __init__(self, source: str, own_names: set[str] | None = None) -> None:
        self._tree = ast.parse(source)
        self._defined = defined_names(self._tree)
        self._own_names = self._defined | (own_names or set())
        self._imported = imported_names(self._tree)

    def find(self) -> set[str]:
        """Returns the private parts of dotted names, each alone."""
        found = set(self._in_imports())
        found.update(self._in_attributes(self._tree, in_foreign_class=False))
        found.update(self._in_strings())
        found.update(self._overrides())
        return found

    def _in_imports(self) -> Iterator[str]:
        for path in self._imported.values():
            parts = path.split(".")
            if parts[0] != PACKAGE:
                yield from filter(is_private, parts)

    def _in_attributes(self, node: ast.AST, in_foreign_class: bool) -> Iterator[str]:
        if isinstance(node, ast.ClassDef):
            in_foreign_class = any(self._foreign_bases(node))
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            own = self._defined
            if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
                own = self._defined if in_foreign_class else self._own_names
            if node.attr not in own or self._is_foreign(node.value):
                yield node.attr
        for child in ast.iter_child_nodes(node):
            yield from self._in_attributes(child, in_foreign_class)

    def _in_strings(self) -> Iterator[str]:
        """Finds `getattr(object, "_name")` and its relatives."""
        for node in ast.walk(self._tree):
            if not isinstance(node, ast.Call) or len(node.args) < 2:
                continue
            function, name = node.func, node.args[1]
            is_access = isinstance(function, ast.Name) and function.id.endswith("attr")
            is_text = isinstance(name, ast.Constant) and isinstance(name.value, str)
            if is_access and is_text and is_private(name.value):
                yield name.value

    def _overrides(self) -> Iterator[str]:
        """Finds private members that replace those of a foreign base class."""
        for node in ast.walk(self._tree):
            if not isinstance(node, ast.ClassDef):
                continue
            private = [name for name in class_names(node) if is_private(name)]
            for path in self._foreign_bases(node) if private else ():
                base = resolve(path)
                for name in private:
                    if hasattr(base, name):
                        yield name

    def _foreign_bases(self, node: ast.ClassDef) -> Iterator[str]:
        for base in node.bases:
            path = self._path(base)
            if path is not None and path.split(".")[0] != PACKAGE:
                yield path

    def _is_foreign(self, node: ast.expr) -> bool:
        """Whether an expression is reached through an imported foreign module."""
        path = self._path(node)
        return path is not None and path.split(".")[0] != PACKAGE

    def _path(self, node: ast.expr) -> str | None:
        """Returns the dotted path of an expression that starts at an imported name."""
        if isinstance(node, ast.Name):
            return self._imported.get(node.id)
        if isinstance(node, ast.Attribute):
            parent = self._path(node.value)
            return None if parent is None else f"{parent}.{node.attr}"
        return None


def imported_names(tree: ast.Module) -> dict[str, str]:
    """Maps each imported name of a file to its dotted path."""
    paths = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name.partition(".")[0]
                paths[alias.asname or root] = alias.name if alias.asname else root
                # `import a._b` uses the private name `_b` but binds only `a`.
                paths[alias.name] = alias.name
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                paths[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return paths


def class_names(node: ast.ClassDef) -> Iterator[str]:
    """Yields the methods and attributes that a class body defines."""
    for statement in node.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            yield statement.name
        elif isinstance(statement, ast.AnnAssign):
            yield ast.unparse(statement.target)
        elif isinstance(statement, ast.Assign):
            yield from map(ast.unparse, statement.targets)


def defined_names(tree: ast.Module) -> set[str]:
    """Returns the names that a file gives to classes, their members and `self`."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            names.add(node.name)
            names.update(class_names(node))
        elif isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Attribute) and assigns_to_self(node):
            names.add(node.attr)
    return names


def assigns_to_self(node: ast.Attribute) -> bool:
    """Whether an attribute is the target of `self.name = value`."""
    is_self = isinstance(node.value, ast.Name) and node.value.id == "self"
    return is_self and isinstance(node.ctx, ast.Store)
