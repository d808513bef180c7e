from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from fake_tensorrt import Rig, install, write_engine
from onnx import TensorProto, helper, load_model_from_string, save

from dtda.core.errors import DtdaError
from dtda.core.types import Image
from dtda.engines.base import Detector
from dtda.engines.detect import (
    FIXED,
    ScrfdDetector,
    detector_graph,
    download_pack,
    left_to_right,
    letterbox,
    open_detector,
    shrink,
)

# Where the five points of the portrait are, by eye, in its 640x480 pixels.
POINTS = np.array([[256, 127], [311, 131], [282, 155], [257, 178], [302, 181]])


@pytest.fixture(scope="module")
def detector() -> Detector:
    return open_detector("centerface")


def test_finds_the_face_and_its_points_in_picture_order(detector: Detector, astronaut: Image) -> None:
    (face,) = detector.detect(astronaut)
    assert face.track == -1
    assert face.score > 0.6
    assert face.box.dtype == np.float32
    assert face.points.dtype == np.float32
    assert np.abs(face.points - POINTS).max() < 8
    assert face.box[0] < 256 < 311 < face.box[2]
    assert face.box[1] < 127 < 178 < face.box[3]


def test_mirrored_picture_still_names_the_left_eye_by_the_picture(detector: Detector, astronaut: Image) -> None:
    (face,) = detector.detect(np.ascontiguousarray(astronaut[:, ::-1]))
    mirrored = np.array([639, 0]) + np.array([-1, 1]) * POINTS[[1, 0, 2, 4, 3]]
    assert np.abs(face.points - mirrored).max() < 8


@pytest.mark.parametrize("width", [48, 80, 120, 300])
def test_small_and_large_faces_of_a_720p_frame(detector: Detector, astronaut: Image, width: int) -> None:
    scene = np.full((720, 1280, 3), 110, np.uint8)
    scaled = cv2.resize(astronaut, None, fx=width / 110, fy=width / 110, interpolation=cv2.INTER_AREA)[:720, :1280]
    scene[: scaled.shape[0], : scaled.shape[1]] = scaled
    (face,) = detector.detect(scene)
    assert np.abs(face.points - POINTS * width / 110).max() < 0.2 * width


def test_five_faces(detector: Detector, astronaut: Image) -> None:
    tile = astronaut[40:260, 180:400]
    faces = detector.detect(np.hstack([tile] * 5))
    assert len(faces) == 5
    lefts = sorted(face.box[0] // 220 for face in faces)
    assert lefts == [0, 1, 2, 3, 4]


def test_no_face(detector: Detector) -> None:
    rng = np.random.default_rng(0)
    assert detector.detect(np.zeros((480, 640, 3), np.uint8)) == []
    assert detector.detect(rng.integers(0, 255, (480, 640, 3), dtype=np.uint8)) == []
    assert detector.detect(np.zeros((1, 1, 3), np.uint8)) == []


def test_uhd_frame_costs_little_more(detector: Detector, astronaut: Image) -> None:
    large = cv2.resize(astronaut, (3840, 2880))
    (face,) = detector.detect(large)
    assert np.abs(face.points / 6 - POINTS).max() < 8

    def milliseconds(frame: Image) -> float:
        start = time.perf_counter()
        detector.detect(frame)
        return (time.perf_counter() - start) * 1e3

    small, uhd = (min(milliseconds(frame) for _ in range(5)) for frame in (astronaut, large))
    assert uhd < 2 * small + 20


def test_misuse_and_close(astronaut: Image) -> None:
    detector = open_detector("centerface")
    with pytest.raises(ValueError, match="uint8"):
        detector.detect(astronaut[:, :, 0])
    detector.close()
    detector.close()
    with pytest.raises(ValueError, match="closed"):
        detector.detect(astronaut)


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str], astronaut: Image) -> None:
    open_detector("centerface").detect(astronaut)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_shrink_keeps_small_frames_and_proportions() -> None:
    small = np.zeros((100, 200, 3), np.uint8)
    assert shrink(small, 416)[0] is small
    shrunk, scale = shrink(np.zeros((2160, 3840, 3), np.uint8), 416)
    assert shrunk.shape == (234, 416, 3)
    assert scale == pytest.approx(416 / 3840)


def test_points_are_put_in_picture_order_at_any_roll() -> None:
    face = np.array([[-1, -1], [1, -1], [0, 0], [-1, 1], [1, 1]], np.float32)
    for angle in np.radians([0, 80, 180, 270]):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        turned = face @ turn.T
        np.testing.assert_allclose(left_to_right(turned), turned, atol=1e-6)
        np.testing.assert_allclose(left_to_right(turned[[1, 0, 2, 4, 3]]), turned, atol=1e-6)


@pytest.mark.parametrize("spec", ["yolo", "insightface:", "insightface", ""])
def test_unknown_detector(spec: str) -> None:
    with pytest.raises(DtdaError, match="is not a detector"):
        open_detector(spec)


def test_missing_pack_names_the_licence_and_the_way_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    with pytest.raises(DtdaError, match=r"buffalo_s.*--download-models.*non-commercial"):
        open_detector("insightface:buffalo_s")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(params=["dynamic", "fixed"])
def fake_pack(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Root of a pack whose detector, shaped like SCRFD (9 outputs), sees one face at the same place of every frame.

    The packs in use leave the size of their input open; some older files fix it.
    """
    dynamic = request.param == "dynamic"
    side, outputs, values = 640, [], []
    for kind, width in (("score", 1), ("box", 4), ("points", 10)):
        for stride in (8, 16, 32):
            array = np.zeros(((side // stride) ** 2 * 2, width), np.float32)
            if stride == 16:
                anchor = (10 * (side // stride) + 8) * 2  # centre x = 8 * 16 = 128, y = 10 * 16 = 160
                array[anchor] = {
                    "score": [0.9],
                    "box": [2, 3, 2, 3],
                    # In strides, right eye first: the reader has to put them in picture order.
                    "points": [1, -1, -1, -1, 0, 0, 1, 1, -1, 1],
                }[kind]
            name = f"{kind}{stride}"
            values.append(
                helper.make_node(
                    "Constant",
                    [],
                    [name],
                    value=helper.make_tensor(name, TensorProto.FLOAT, array.shape, array.ravel()),
                )
            )
            rows = f"{name}_rows" if dynamic else len(array)
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [rows, width]))
    image = helper.make_tensor_value_info(
        "input", TensorProto.FLOAT, [1, 3, *(["H", "W"] if dynamic else [side, side])]
    )
    model = helper.make_model(
        helper.make_graph(values, "scrfd", [image], outputs), opset_imports=[helper.make_opsetid("", 13)], ir_version=8
    )
    folder = tmp_path / "models" / "buffalo_s"
    folder.mkdir(parents=True)
    save(model, folder / "det_500m.onnx")
    (folder / "w600k_mbf.onnx").write_bytes(b"the recognition network, never opened")
    return tmp_path


def test_scrfd_of_a_pack_is_decoded_by_insightface(fake_pack: Path, capfd: pytest.CaptureFixture[str]) -> None:
    detector = ScrfdDetector("buffalo_s", fake_pack)
    assert detector.name == "SCRFD (buffalo_s)"
    (face,) = detector.detect(np.zeros((960, 1280, 3), np.uint8))  # twice the size of the network's input
    np.testing.assert_allclose(face.box, [192, 224, 320, 416], atol=1e-3)
    expected = [[224, 288], [288, 288], [256, 320], [224, 352], [288, 352]]
    np.testing.assert_allclose(face.points, expected, atol=1e-3)
    assert face.score == pytest.approx(0.9)
    detector.close()
    detector.close()
    assert capfd.readouterr().out == ""


def test_auto_takes_a_pack_that_is_on_disk(fake_pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = fake_pack / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    assert open_detector("auto").name == "CenterFace"
    (home / ".insightface").mkdir()
    (fake_pack / "models").rename(home / ".insightface" / "models")
    assert open_detector("auto").name == "SCRFD (buffalo_s)"
    assert open_detector("centerface").name == "CenterFace"


def test_damaged_pack_is_refused(fake_pack: Path) -> None:
    (fake_pack / "models" / "buffalo_s" / "det_500m.onnx").write_bytes(b"cut short")
    with pytest.raises(DtdaError, match="download the pack again"):
        ScrfdDetector("buffalo_s", fake_pack)


def test_a_student_is_no_detector(make_student: Callable[..., Path], tmp_path: Path) -> None:
    folder = tmp_path / "models" / "mine"
    folder.mkdir(parents=True)
    make_student(folder, name="det_mine.onnx", size=112, sidecar=False)
    with pytest.raises(DtdaError, match="not a face detector"):
        ScrfdDetector("mine", tmp_path)


def test_download_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from insightface.utils import storage

    def offline(*args: object, **kwargs: object) -> None:
        raise RuntimeError("no route to host")

    monkeypatch.setattr(storage, "download_file", offline)
    with pytest.raises(DtdaError, match=r"buffalo_s could not be downloaded \(no route to host\)"):
        download_pack("buffalo_s", tmp_path)
    with pytest.raises(DtdaError, match="not an insightface pack"):
        download_pack("../elsewhere", tmp_path)


def test_a_pack_on_disk_is_not_downloaded_again(fake_pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "insightface.utils.storage", None)  # importing it would raise
    assert download_pack("buffalo_s", fake_pack) == fake_pack / "models" / "buffalo_s"


# -- on TensorRT (the fake) -------------------------------------------------------------------------------------------


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Rig]:
    made = install(monkeypatch, tmp_path / "engines")
    yield made
    made.check()


def engine_of(graph: bytes, folder: Path, name: str) -> str:
    parent = folder / f"{name}.onnx"
    parent.write_bytes(graph)
    write_engine(folder / f"{name}.engine", parent, kind="detector", max_batch=1)
    return str(folder / f"{name}.engine")


@pytest.mark.parametrize(("height", "width"), [(480, 640), (720, 1280), (1280, 720)])
def test_centerface_on_tensorrt_finds_the_same_points(
    rig: Rig, tmp_path: Path, detector: Detector, astronaut: Image, height: int, width: int
) -> None:
    scene = np.full((height, width, 3), 110, np.uint8)
    scene[:480, :640] = astronaut[:height, :width]
    fixed = open_detector(engine_of(detector_graph("centerface"), tmp_path, "centerface"))
    assert fixed.name == "CenterFace on TensorRT 11.4.0.106"
    for _ in range(4):  # the last ones from a CUDA graph
        (face,) = fixed.detect(scene)
        assert np.abs(face.points - POINTS).max() < 10
        assert np.abs(face.points - detector.detect(scene)[0].points).max() < 10
    assert rig.gpu.launches > 0
    fixed.close()
    fixed.close()
    with pytest.raises(ValueError, match="closed"):
        fixed.detect(scene)


def test_scrfd_on_tensorrt_is_decoded_by_insightface(
    rig: Rig, fake_pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dtda.engines.detect.pack_folder", lambda pack, root=None: fake_pack / "models" / pack)
    fixed = open_detector(engine_of(detector_graph("insightface:buffalo_s"), tmp_path, "buffalo_s"))
    assert fixed.name == "SCRFD (buffalo_s) on TensorRT 11.4.0.106"
    (face,) = fixed.detect(np.zeros((960, 1280, 3), np.uint8))
    np.testing.assert_allclose(face.box, [192, 224, 320, 416], atol=1e-3)
    assert face.score == pytest.approx(0.9)
    fixed.close()


def test_a_students_engine_is_no_detector(rig: Rig, student: Path, tmp_path: Path) -> None:
    write_engine(tmp_path / "student.engine", student)
    with pytest.raises(DtdaError, match="engine of a student, not of a detector"):
        open_detector(str(tmp_path / "student.engine"))


def test_an_engine_of_something_else_is_refused_and_closed(rig: Rig, student: Path, tmp_path: Path) -> None:
    write_engine(tmp_path / "odd.engine", student, kind="detector")
    with pytest.raises(DtdaError, match="not a face detector"):
        open_detector(str(tmp_path / "odd.engine"))


def test_every_dimension_of_a_detectors_graph_is_fixed(fake_pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dtda.engines.detect.pack_folder", lambda pack, root=None: fake_pack / "models" / pack)
    for spec, size in (("centerface", FIXED), ("insightface:buffalo_s", (640, 640))):
        graph = load_model_from_string(detector_graph(spec)).graph
        shapes = [
            [dim.dim_value for dim in node.type.tensor_type.shape.dim] for node in (graph.input[0], *graph.output)
        ]
        assert shapes[0] == [1, 3, *size]
        assert all(dim > 0 for shape in shapes for dim in shape)


def test_letterbox_keeps_proportions() -> None:
    for height, width in ((480, 640), (1080, 1920), (1920, 1080), (100, 90), (1, 5000)):
        padded, scale = letterbox(np.full((height, width, 3), 9, np.uint8), FIXED)
        assert padded.shape == (*FIXED, 3)
        filled = (padded[..., 0] > 0).nonzero()
        assert filled[0].max() + 1 == pytest.approx(max(1, height * scale), abs=1)
        assert filled[1].max() + 1 == pytest.approx(max(1, width * scale), abs=1)
