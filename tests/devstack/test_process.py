"""One process of the stack: ready, ended, and never outliving its parent."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from devstack.process import Part, StackError
from tests.devstack.processes import command_line, is_alive, is_frozen
from tests.devstack.waiting import eventually

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]

STARTS_A_PART_AND_TELLS_ITS_PID = """
import sys, time
from pathlib import Path
from devstack.process import Part
log, *command = sys.argv[1:]
part = Part("sleeper", command, Path(log), is_ready=lambda: True)
part.start()
print(part.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.long
@pytest.mark.parametrize("stands_still", [False, True])
def test_a_part_dies_with_a_parent_that_was_killed(tmp_path: Path, stands_still: bool) -> None:
    command = [sys.executable, "-c", STARTS_A_PART_AND_TELLS_ITS_PID, str(tmp_path / "log"), *SLEEP]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        assert is_alive(pid)
        # Not: until it is no longer the launcher. During an exec the command line is empty.
        eventually(lambda: command_line(pid).split() == " ".join(SLEEP).split())
        if stands_still:
            os.kill(pid, signal.SIGSTOP)
        parent.kill()
    eventually(lambda: not is_alive(pid))


@pytest.mark.long
def test_a_part_that_ends_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('the reason')"]
    part = Part("worker", command, tmp_path / "worker.log", is_ready=lambda: False)
    part.start()
    with pytest.raises(StackError, match=r"worker ended: exit code 1(.|\n)*the reason"):
        part.wait_until_ready()


@pytest.mark.long
def test_a_part_that_never_gets_ready_is_reported_after_the_timeout(tmp_path: Path) -> None:
    part = Part("api", SLEEP, tmp_path / "api.log", is_ready=lambda: False)
    part.start()
    try:
        with pytest.raises(StackError, match="api was not ready"):
            part.wait_until_ready(timeout=0.1)
    finally:
        part.stop()
    assert part.exit_code == -signal.SIGTERM


@pytest.mark.long
def test_a_part_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    script = f"""
import pathlib, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path({str(ready)!r}).touch()
time.sleep(600)
"""
    command = [sys.executable, "-c", script]
    part = Part("stubborn", command, tmp_path / "log", is_ready=ready.exists)
    part.start()
    part.wait_until_ready()
    part.stop(timeout=0.1)
    assert part.exit_code == -signal.SIGKILL


@pytest.mark.long
def test_a_frozen_part_can_be_resumed_and_stopped(tmp_path: Path) -> None:
    beats = tmp_path / "beats"
    script = "import sys, time\nwhile True: open(sys.argv[1], 'a').write('.'); time.sleep(0.01)"
    part = Part("heart", [sys.executable, "-c", script, str(beats)], tmp_path / "log", beats.exists)
    part.start()
    part.wait_until_ready()
    part.freeze()
    assert part.pid
    eventually(lambda: is_frozen(part.pid or 0))
    count = beats.stat().st_size
    assert part.is_running

    part.thaw()
    eventually(lambda: beats.stat().st_size > count)
    part.freeze()
    part.stop()
    assert part.exit_code == -signal.SIGTERM


@pytest.mark.long
def test_a_frozen_part_can_be_killed(tmp_path: Path) -> None:
    part = Part("sleeper", SLEEP, tmp_path / "log", is_ready=lambda: True)
    part.start()
    part.freeze()
    part.kill()
    assert part.exit_code == -signal.SIGKILL


@pytest.mark.long
def test_lines_of_a_part_go_to_its_log_and_to_the_screen(tmp_path: Path) -> None:
    shown: list[tuple[str, str]] = []
    log = tmp_path / "api.log"
    part = Part(
        "api",
        [sys.executable, "-c", "print('one'); print('two')"],
        log,
        is_ready=lambda: True,
        on_line=lambda name, line: shown.append((name, line)),
        environ=os.environ,
    )
    part.start()
    eventually(lambda: not part.is_running)
    part.stop()
    assert shown == [("api", "one"), ("api", "two")]
    assert log.read_text() == "one\ntwo\n"
