"""Records which names TensorRT's Python modules have, for tests/test_tensorrt_names.py. Linux, needs gcc and pip.

python scripts/tensorrt_names.py > tests/data/tensorrt_names.txt

The bindings are real wheels; the libraries behind them are not on PyPI. Stubs that export the symbols the bindings ask
for let them be imported and looked at; nothing of them can be run.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

# letter in the file -> distribution on PyPI, the module inside, the libraries it is linked with
SOURCES = {
    "O": ("tensorrt_cu13_bindings==10.13.2.6", "tensorrt_bindings", 10),
    "A": ("tensorrt_cu13_bindings==10.16.1.11", "tensorrt_bindings", 10),
    "B": ("tensorrt_cu13_bindings==11.4.0.106", "tensorrt_bindings", 11),
    "R": ("tensorrt-rtx==1.7.1.116", "tensorrt_rtx", 0),
}
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
LOOK = """
import sys, importlib
trt = importlib.import_module(sys.argv[1])
for name in sorted(vars(trt)):
    thing = getattr(trt, name)
    if name.startswith("_") or type(thing).__name__ == "module":
        continue
    print(name)
    if isinstance(thing, type):
        for member in sorted(dir(thing)):
            if not member.startswith("_") and (hasattr(thing, "__members__") or not hasattr(object, member)):
                print(f"{name}.{member}")
"""


def main() -> int:
    seen: dict[str, str] = {}
    for letter, (distribution, module, major) in SOURCES.items():
        for name in names(distribution, module, major):
            seen[name] = seen.get(name, "") + letter
    print("# Made by scripts/tensorrt_names.py: a name, and which of these have it.")
    for letter, (distribution, _, _) in SOURCES.items():
        print(f"# {letter} {distribution}")
    for name in sorted(seen):
        print(name, seen[name])
    return 0


def names(distribution: str, module: str, major: int) -> list[str]:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        pip = [sys.executable, "-m", "pip"]
        if major:
            subprocess.run(
                [*pip, "download", "-q", "--no-deps", "-d", place, distribution], check=True, stdout=sys.stderr
            )
            (wheel,) = folder.glob("*.whl")
            zipfile.ZipFile(wheel).extractall(folder)
            stubs(next((folder / module).glob("*.so")), folder, major)
        else:
            subprocess.run([*pip, "install", "-q", "--target", place, distribution], check=True, stdout=sys.stderr)
        environment = {"PYTHONPATH": place, "LD_LIBRARY_PATH": place, "PATH": "/usr/bin"}
        found = subprocess.run(
            [sys.executable, "-c", LOOK, module], env=environment, check=True, capture_output=True, text=True
        )
        return found.stdout.split()


def stubs(binding: Path, folder: Path, major: int) -> None:
    """Libraries of the names the binding is linked with, exporting what it lacks."""
    table = subprocess.run(["nm", "-D", "--undefined-only", str(binding)], check=True, capture_output=True, text=True)
    symbols = [line.split()[-1] for line in table.stdout.splitlines()]
    wanted = [symbol for symbol in symbols if symbol.endswith("_INTERNAL") or symbol.startswith(("get", "initLib"))]
    source = folder / "stub.c"
    source.write_text("".join(f"void *{symbol}(void) {{ return 0; }}\n" for symbol in wanted if "@" not in symbol))
    for name in LIBRARIES:
        library = f"lib{name}.so.{major}"
        command = ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{library}", "-o", str(folder / library), str(source)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    sys.exit(main())
