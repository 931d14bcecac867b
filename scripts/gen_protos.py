"""Generate the code of each Protobuf tree; with --check, only say whether it is fresh."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Tree:
    """One folder of .proto files and the package that is made from it."""

    includes: str
    """Folder that imports start from, under the root."""
    package: str
    """Folder of the .proto files under ``includes``, and of the code under the root."""

    @property
    def source(self) -> Path:
        """Folder of the .proto files."""
        return ROOT / self.includes / self.package

    @property
    def target(self) -> Path:
        """Folder of the code."""
        return ROOT / self.package


TREES = (Tree("protos", "meshlb/v1"), Tree(".", "examples/modelserver/v1"))


def generate(tree: Tree, into: Path) -> dict[str, str]:
    """Return file name to text of the code that protoc makes now."""
    protos = sorted(tree.source.glob("*.proto"))
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / tree.includes}"]
    command += [f"--{kind}_out={into}" for kind in ("python", "pyi", "grpc_python")]
    subprocess.run([*command, *map(str, protos)], check=True)
    made = {path.name: path.read_text() for path in (into / tree.package).iterdir()}
    has_service = {path.stem for path in protos if "\nservice " in path.read_text()}
    source = tree.source.relative_to(ROOT)
    init = f'"""Code generated from {source} by scripts/gen_protos.py; never edited."""\n'
    return {"__init__.py": init} | {
        name: text
        for name, text in made.items()
        if not name.endswith("_pb2_grpc.py") or name.removesuffix("_pb2_grpc.py") in has_service
    }


def main() -> int:
    """Write the code, or compare it; 1 if --check finds it stale."""
    stale = []
    for tree in TREES:
        with tempfile.TemporaryDirectory() as folder:
            fresh = generate(tree, Path(folder))
        present = {p.name: p.read_text() for p in tree.target.glob("*.py*") if p.is_file()}
        if "--check" in sys.argv[1:]:
            names = sorted(fresh.keys() | present.keys())
            stale += [f"{tree.package}/{n}" for n in names if fresh.get(n) != present.get(n)]
            continue
        for name in present.keys() - fresh.keys():
            (tree.target / name).unlink()
        for name, text in fresh.items():
            (tree.target / name).write_text(text)
    if stale:
        print(f"stale: {', '.join(stale)}; run scripts/gen_protos.py")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
