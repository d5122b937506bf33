"""Who imports whom, who starts programs, and who writes a name of the catalogue down, read from the source itself."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

Place = Literal["module", "function", "typing"]

_STARTERS: Final = {
    "subprocess": {"Popen", "run", "call", "check_call", "check_output", "getoutput", "getstatusoutput"},
    "os": {"system", "popen", "fork", "forkpty", "posix_spawn", "posix_spawnp", "startfile"},
    "asyncio": {"create_subprocess_exec", "create_subprocess_shell"},
    "pty": {"spawn", "fork"},
    "multiprocessing": {"Process", "Pool"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """One imported module: where it stands, and when it is loaded."""

    module: str
    line: int
    place: Place

    def is_of(self, packages: Iterable[str]) -> bool:
        """Tell whether it is one of these packages, or lies in one."""
        return any(self.module == package or self.module.startswith(f"{package}.") for package in packages)


def python_files(root: Path, *folders: str) -> Iterator[Path]:
    """Yield the Python files below some folders of a tree."""
    for folder in folders:
        yield from sorted(path for path in (root / folder).rglob("*.py") if "__pycache__" not in path.parts)


def imports_of(path: Path, root: Path) -> tuple[Import, ...]:
    """Return everything that a file imports, also relatively, in functions, and by `importlib.import_module("...")`."""
    found: list[Import] = []
    package = path.relative_to(root).parent.parts

    def take(node: ast.AST, place: Place) -> None:
        if isinstance(node, ast.Import):
            found.extend(Import(module=alias.name, line=node.lineno, place=place) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            found.append(Import(module=module, line=node.lineno, place=place))
            # `from trimtab import storage` imports trimtab.storage
            found.extend(Import(module=f"{module}.{n.name}", line=node.lineno, place=place) for n in node.names)
        elif isinstance(node, ast.Call) and (module := _imported_by_call(node)):
            found.append(Import(module=module, line=node.lineno, place=place))
        for inner in ast.iter_child_nodes(node):
            take(inner, _place_inside(node, place))

    take(ast.parse(path.read_text(encoding="utf-8")), "module")
    return tuple(found)


def started_programs(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, call) for whatever in a file starts another program or process."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module, name = node.value.id, node.attr
            if name in _STARTERS.get(module, ()) or (module == "os" and re.match(r"(exec|spawn)[lv]", name)):
                yield node.lineno, f"{module}.{name}"
        elif isinstance(node, ast.ImportFrom) and node.module in _STARTERS:
            for alias in node.names:
                if alias.name in _STARTERS[node.module] or re.match(r"(exec|spawn)[lv]", alias.name):
                    yield node.lineno, f"{node.module}.{alias.name}"


def mentions(paths: Iterable[Path], names: Iterable[str]) -> Iterator[tuple[Path, int, str]]:
    """Yield (file, line, name) wherever one of these names stands as a word of its own, also in a comment."""
    words = (re.escape(name) + ("" if name.endswith("/") else r"(?![\w-])") for name in names)
    pattern = re.compile("|".join(rf"(?<![\w-]){word}" for word in words))
    for path in paths:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:  # a picture holds no name that anybody reads
            continue
        for number, line in enumerate(lines, start=1):
            for match in pattern.finditer(line):
                yield path, number, match.group()


def violations(root: Path, folder: str, is_wrong: Callable[[Import], bool], *, why: str) -> tuple[str, ...]:
    """Return `file:line imports module: why` for each import below a folder that is wrong."""
    return tuple(
        f"{path.relative_to(root)}:{found.line} imports {found.module}: {why}"
        for path in python_files(root, folder)
        for found in imports_of(path, root)
        if is_wrong(found)
    )


def _imported_by_call(node: ast.Call) -> str | None:
    match node:
        case ast.Call(func=ast.Attribute(attr="import_module"), args=[ast.Constant(value=str(module)), *_]):
            return module
        case ast.Call(func=ast.Name(id="import_module" | "__import__"), args=[ast.Constant(value=str(module)), *_]):
            return module
    return None


def _place_inside(node: ast.AST, place: Place) -> Place:
    if place == "module" and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
        return "function"
    if isinstance(node, ast.If):
        match node.test:
            case ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"):
                return "typing"
    return place
