"""Shared fixtures. No test needs the network or any file outside the repository."""

import os
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
_HOME = tempfile.TemporaryDirectory(prefix="segdemo-tests-")  # gone when the tests are over
os.environ["SEGDEMO_HOME"] = _HOME.name
