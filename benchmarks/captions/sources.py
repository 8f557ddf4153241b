"""Hashes of source code, so that what was made is used again only if the code is the same."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Sequence
from pathlib import Path


def code_of(source: str) -> str:
    """Return source code without comments and docstrings, as a dump of its syntax tree."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)


def source_hash(modules: Sequence[Path]) -> str:
    """Return a hash of the code of some modules and of the corpus."""
    code = "".join(code_of(path.read_text(encoding="utf-8")) for path in modules)
    corpus = sorted((Path(__file__).parent / "corpus").iterdir())
    return hashlib.sha256(code.encode() + b"".join(path.read_bytes() for path in corpus)).hexdigest()
