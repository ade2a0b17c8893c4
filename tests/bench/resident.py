"""The most memory that this process has held resident."""

import resource
import sys
from pathlib import Path


def peak_mb() -> float:
    """In MB, of this program alone.

    On Linux from VmHWM: ru_maxrss goes on counting from the process that started this one, across exec, and
    a test suite holds more than what it measures. On macOS ru_maxrss is in bytes.
    """
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    status = Path("/proc/self/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024 / 1e6
