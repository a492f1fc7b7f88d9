"""Generate ``quicrpc/gen`` from ``proto``: messages, typed stubs and servicers, one package for each family.

Run it as ``python proto/generate.py``; with ``--check`` nothing is written and the exit code is 1 if the committed code is stale.
protoc is the one inside grpcio-tools; the type stubs come from mypy-protobuf.
"""

from __future__ import annotations

import argparse
import importlib.resources
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PROTO = Path(__file__).resolve().parent
GENERATED = PROTO.parent / "quicrpc" / "gen"
PACKAGE = "quicrpc.gen"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only tell whether the committed code is fresh")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as directory:
        fresh = generate(Path(directory))
    committed = {
        path.relative_to(GENERATED).as_posix(): path.read_text()
        for path in GENERATED.rglob("*.py*")
        if path.suffix in (".py", ".pyi")
    }
    stale = sorted(name for name in fresh.keys() | committed.keys() if fresh.get(name) != committed.get(name))
    if check:
        if stale:
            sys.exit(f"quicrpc/gen is stale, run `make proto`: {', '.join(stale)}")
        return
    for name in stale:
        path = GENERATED / name
        if name in fresh:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(fresh[name])
        else:
            path.unlink()


def generate(directory: Path) -> dict[str, str]:
    """Return the text of every generated file by its path inside ``quicrpc/gen``."""
    sources = sorted(path.relative_to(PROTO).as_posix() for path in PROTO.rglob("*.proto"))
    outputs = ("python", "grpc_python", "mypy", "mypy_grpc")
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO}", f"-I{importlib.resources.files('grpc_tools') / '_proto'}"]
    command += [
        f"--plugin=protoc-gen-{name}={Path(sys.executable).parent / f'protoc-gen-{name}'}" for name in ("mypy", "mypy_grpc")
    ]
    command += [f"--{output}_out={directory}" for output in outputs]
    subprocess.run([*command, *sources], check=True, stderr=subprocess.DEVNULL)
    roots = {source.split("/")[0] for source in sources}
    files = {"__init__.py": '"""Code that protoc wrote from proto/: see proto/generate.py. Never edited."""\n'}
    for path in sorted([*directory.rglob("*.py"), *directory.rglob("*.pyi")]):
        name = path.relative_to(directory).as_posix()
        files[name] = inside_package(path.read_text(), roots)
        files.setdefault(f"{name.rsplit('/', 1)[0]}/__init__.py", "")
    return files


def inside_package(text: str, roots: set[str]) -> str:
    """Return ``text`` with its imports of sibling generated modules made to work inside ``quicrpc.gen``."""
    names = "|".join(sorted(map(re.escape, roots)))
    return re.sub(rf"^(\s*)(from|import) ({names})(?=[. ])", rf"\1\2 {PACKAGE}.\3", text, flags=re.MULTILINE)


if __name__ == "__main__":
    main()
