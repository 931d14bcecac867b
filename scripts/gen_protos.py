"""Generate meshlb/v1 from protos/meshlb/v1; with --check, only say whether it is fresh."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "meshlb" / "v1"
INIT = '"""Code generated from protos/meshlb/v1 by scripts/gen_protos.py; never edited."""\n'


def generate(into: Path) -> dict[str, str]:
    """Return file name to text of the code that protoc makes now."""
    protos = sorted((ROOT / "protos" / "meshlb" / "v1").glob("*.proto"))
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'protos'}"]
    command += [f"--{kind}_out={into}" for kind in ("python", "pyi", "grpc_python")]
    subprocess.run([*command, *map(str, protos)], check=True)
    made = {path.name: path.read_text() for path in (into / "meshlb" / "v1").iterdir()}
    has_service = {path.stem for path in protos if "\nservice " in path.read_text()}
    return {"__init__.py": INIT} | {
        name: text
        for name, text in made.items()
        if not name.endswith("_pb2_grpc.py") or name.removesuffix("_pb2_grpc.py") in has_service
    }


def main() -> int:
    """Write the code, or compare it; 1 if --check finds it stale."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = generate(Path(folder))
    present = {p.name: p.read_text() for p in TARGET.glob("*.py*") if p.is_file()}
    if "--check" in sys.argv[1:]:
        stale = sorted(n for n in fresh.keys() | present.keys() if fresh.get(n) != present.get(n))
        if stale:
            print(f"stale in meshlb/v1: {', '.join(stale)}; run scripts/gen_protos.py")
        return 1 if stale else 0
    for name in present.keys() - fresh.keys():
        (TARGET / name).unlink()
    for name, text in fresh.items():
        (TARGET / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
