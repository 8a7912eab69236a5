"""Information about processes, from /proc."""

from pathlib import Path


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    return _state_and_parent(pid)[0] not in {"", "Z", "X"}


def is_frozen(pid: int) -> bool:
    """Whether the process is suspended."""
    return _state_and_parent(pid)[0] == "T"


def children(parent: int) -> dict[int, str]:
    """The command lines of the process's children."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return {pid: command_line(pid) for pid in pids if _state_and_parent(pid)[1] == parent}


def command_line(pid: int) -> str:
    """The command line of the process; empty once it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _state_and_parent(pid: int) -> tuple[str, int]:
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return "", 0
    return after_name[0], int(after_name[1])
