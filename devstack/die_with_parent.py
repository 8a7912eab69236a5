"""Run a command that dies with its parent: `python die_with_parent.py PARENT_PID COMMAND ...`.

A parent killed with SIGKILL cannot stop its children, so on Linux the kernel does: the
parent-death signal outlives `exec`.
It fires when the *thread* that started the child ends, so start parts from one that outlives them.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before prctl took effect
            os.kill(os.getpid(), signal.SIGKILL)
    os.execvp(command[0], command)  # noqa: S606 - a shell would be one more process to end


if __name__ == "__main__":
    main()
