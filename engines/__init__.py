"""How a trained student, and the face detector, runs."""

import os

# onnxruntime keeps a device id and sends usage events unless told not to before it is first imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
