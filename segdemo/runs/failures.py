"""What went wrong, in one sentence that says what happened and, where it is known, what to do.

A ``UserError`` carries its sentence. Those of TensorFlow, Keras, ONNX Runtime, HDF5 and the system are told by
their class and text, since none of these need be imported here.
"""

import re

from segdemo.core.files import DISK_FULL
from segdemo.errors import UserError

LONGEST = 300  # characters of what somebody else's error says

MEMORY = "There was not enough memory: choose a smaller batch or crop."
DISK = "The disk is full: free some space, then resume the run."
# (pattern in the class and text of an error, what to tell people)
KNOWN = (
    (r"ResourceExhausted|OOM when allocating|[Ff]ailed to allocate memory|std::bad_alloc", MEMORY),
    (r"No space left on device|Disk quota exceeded", DISK),
    (
        r"URL fetch failure|urlopen error|getaddrinfo failed",
        "Weights could not be downloaded: connect to the network, or put their file into the folder that "
        "SEGDEMO_PRETRAINED names.",
    ),
    (
        r"ModuleNotFoundError: No module named '([\w.]+)'",
        "The package {0} is not installed: install what requirements.txt lists, or segdemo[train].",
    ),
    (
        r"[Uu]nable to (?:synchronously )?open file|truncated file|file signature not found|bad object header",
        "A weights file is damaged or none of Keras's: fetch it again.",
    ),
    (r"NO_SUCHFILE", "A model's .onnx file is missing: fetch it again."),
    (
        r"INVALID_PROTOBUF|InvalidProtobuf|Protobuf parsing failed",
        "A model's .onnx file is damaged: fetch it again.",
    ),
    (
        r"JSONDecodeError|UnicodeDecodeError",
        "A file of settings or labels is damaged, since it cannot be read as JSON: restore it.",
    ),
    (
        r"Received incompatible tensor|objects? could not be loaded|expected \d+ variables",
        "The weights are those of a network of another shape: start from a model of the same architecture and options.",
    ),
    (
        r"(?:Unimplemented|Aborted)Error|could not create a primitive|[Cc]urrent CPU implementations do not",
        "TensorFlow cannot do a step of this on this machine's processor: try the precision float32, or "
        "TF_ENABLE_ONEDNN_OPTS=0 in the environment.",
    ),
)
# Lines that frame what an error says: where in the graph, headings of traces, call arguments.
FRAME = re.compile(
    r"Detected at node|File \"|<stack traces|Stack trace|Original stack|Traceback|Arguments received|Call arguments|"
    r"\[\[|\(\d+\) |[•*~^]|\d+ (root|derived) error|Node: |During handling|The above exception"
)

# What TensorFlow puts beside what it says: the names of functions, nodes and operations.
NODE = re.compile(r"^(\{\{.*?\}\} ?)+| for '\{\{node [^']*'|\s*\[Op:\w+\].*$")


def sentence(error: BaseException, log: str = "") -> str:
    """What went wrong, for people.

    Args:
        error: what was raised.
        log: where the rest of it can be read, for an error that nobody has foreseen.
    """
    if known := known_sentence(error):
        return known
    said = own_line(str(error))
    kind = type(error).__name__
    said = said.removeprefix(f"{kind}: ").rstrip(".")
    text = f"Something unexpected went wrong ({kind}{': ' if said else ''}{said})."
    return f"{text} The whole error is in {log}." if log else text


def known_sentence(error: BaseException) -> str | None:
    """The sentence of an error of this package or of one that is known, else None."""
    if isinstance(error, KeyboardInterrupt):
        return "Stopped from the keyboard; resume it to go on."
    if isinstance(error, MemoryError):
        return MEMORY
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return DISK
    if isinstance(error, UserError):
        return _whole(str(error)) or None
    text = f"{type(error).__name__}: {error}"
    for pattern, told in KNOWN:
        if found := re.search(pattern, text):
            return told.format(*found.groups())
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror}."
    return None


def own_line(text: str) -> str:
    """The last line of somebody else's message that says something, without where in the graph and in the code."""
    lines = [line.strip() for line in text.splitlines()]
    lines = [NODE.sub("", line) for line in lines if line and not FRAME.match(line)]
    lines = [line for line in lines if line and not line.endswith(":")]
    return lines[-1][:LONGEST] if lines else ""


def _whole(text: str) -> str:
    # A sentence may quote a file name with a line break in it.
    lines = [line.strip() for line in text.strip().splitlines()]
    return re.sub(r":$", ".", " ".join(filter(None, lines))[: 4 * LONGEST])
