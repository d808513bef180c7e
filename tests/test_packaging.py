"""Rules of the layout that no linter checks: packages are listed, layers point one way, heavy things load late."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOPS = ("app", "core", "engines", "assets")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def _modules(*tops):
    return [path for top in tops for path in sorted((ROOT / top).rglob("*.py"))]


def _imports(path):
    """Every module a file imports, at any depth, with whether it does so at the top level."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        for name in names:
            yield name, node in tree.body


def test_package_list_matches_the_tree():
    found = {
        "dtda." + ".".join(path.parent.relative_to(ROOT).parts)
        for top in TOPS
        for path in (ROOT / top).rglob("__init__.py")
    }
    assert sorted(found) == PROJECT["tool"]["setuptools"]["packages"]


def test_every_module_lies_in_a_listed_package():
    listed = set(PROJECT["tool"]["setuptools"]["packages"])
    for path in _modules(*TOPS):
        assert "dtda." + ".".join(path.parent.relative_to(ROOT).parts) in listed, path


@pytest.mark.parametrize(("top", "banned"), [("core", ("dtda.app", "dtda.engines")), ("engines", ("dtda.app",))])
def test_layers_point_one_way(top, banned):
    for path in _modules(top):
        for name, _ in _imports(path):
            assert not name.startswith(banned), f"{path.relative_to(ROOT)} imports {name}"


def test_qt_only_in_the_window():
    free = {"app/sources.py", "app/pipeline.py", "app/mailbox.py", "app/capture.py"}
    for path in [*_modules("core", "engines"), *(ROOT / name for name in free)]:
        for name, _ in _imports(path):
            assert not name.startswith(("PySide6", "pyqtgraph")), f"{path.relative_to(ROOT)} imports {name}"


def test_torch_only_in_training():
    training = {"core/models", "core/training", "core/export.py"}
    for path in _modules("app", "core", "engines"):
        relative = path.relative_to(ROOT).as_posix()
        if any(relative.startswith(part) for part in training):
            continue
        for name, _ in _imports(path):
            assert name.split(".")[0] not in ("torch", "torchvision"), f"{relative} imports {name}"


def test_live_core_needs_only_numpy_and_opencv():
    allowed = {"cv2", "numpy", "dtda", "pydantic"}
    for name in ("types", "preprocess", "quality", "track", "decide", "errors", "sidecar"):
        for module, _ in _imports(ROOT / "core" / f"{name}.py"):
            top = module.split(".")[0]
            assert top in allowed or top in sys.stdlib_module_names, f"core/{name}.py imports {module}"


def _loaded(code):
    out = subprocess.run(
        [sys.executable, "-c", code + "\nimport sys; print(' '.join(sorted(sys.modules)))"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return set(out.stdout.split())


def test_the_command_lines_load_nothing_heavy():
    heavy = {"torch", "cv2", "numpy", "PySide6", "onnxruntime", "insightface", "skimage", "pydantic"}
    assert not heavy & _loaded("import dtda.app.cli, dtda.app.demo")


def test_base_dependencies_have_no_torch():
    assert not [line for line in PROJECT["project"]["dependencies"] if "torch" in line or "tensorrt" in line]


# import name -> the distribution it comes from, where they differ
DISTRIBUTIONS = {"cv2": "opencv-python", "PySide6": "PySide6-Essentials", "skimage": "scikit-image"}


def test_the_live_side_needs_only_base_dependencies():
    base = {re.match(r"[\w-]+", line)[0] for line in PROJECT["project"]["dependencies"]}
    training = {"app/commands/train.py", "app/commands/evaluate.py", "app/commands/export.py"}
    for path in _modules("app", "engines"):
        relative = path.relative_to(ROOT).as_posix()
        if relative in training:
            continue
        for name, _ in _imports(path):
            top = name.split(".")[0]
            if top != "dtda" and top not in sys.stdlib_module_names:
                assert DISTRIBUTIONS.get(top, top).replace("_", "-") in base, f"{relative} imports {name}"


def test_no_dependency_is_listed_twice():
    extras = PROJECT["project"]["optional-dependencies"]
    base = {line.partition(";")[0] for line in PROJECT["project"]["dependencies"]}
    assert not base & {line for lines in extras.values() for line in lines}


def test_no_face_data_or_checkpoint_is_tracked():
    found = [
        path
        for path in ROOT.rglob("*")
        if path.suffix in {".ckpt", ".pt", ".pth", ".avi", ".mp4", ".engine", ".npy"}
        and not {".venv", "build", "runs", "data", ".git"} & set(path.relative_to(ROOT).parts)
    ]
    assert not found


def test_the_apt_packages_are_the_same_everywhere():
    from dtda.app.libraries import APT

    script = (ROOT / "scripts" / "system-libraries").read_text()
    listed = script[script.index("packages=(") + len("packages=(") : script.index(")")].split()
    assert APT.split()[4:] == listed


def test_readme_has_the_commands_ci_runs():
    readme = (ROOT / "README.md").read_text()
    assert "scripts/system-libraries" in readme
    assert "pip install . && dtda-demo" in readme
    assert "pip install '.[test]' && pytest" in readme
    assert "uv pip install --quiet --compile-bytecode '.[test]'" in (ROOT / ".ci" / "run").read_text()


def test_every_relative_link_of_the_documents_exists():
    documents = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
    links = [
        (document, target)
        for document in documents
        for target in re.findall(r"\]\(\s*<?([^)\s>]+)|(?:src|href)=\"([^\"]+)\"", document.read_text("utf-8"))
    ]
    local = [
        (document, "".join(target).partition("#")[0])
        for document, target in links
        if not re.match(r"[a-z]+:|#", "".join(target))
    ]
    assert local
    missing = [f"{document.name}: {target}" for document, target in local if not (document.parent / target).exists()]
    assert not missing
