"""The demo ends with the explorer where someone looks, and by itself where nobody does."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

CODE = "from topoact_gpu.cli import app; app(prog_name='topoact')"


def test_in_a_terminal_it_serves_until_ctrl_c(tmp_path):
    pty = pytest.importorskip("pty")
    screen, terminal = pty.openpty()
    command = [sys.executable, "-c", CODE, "demo", "--out", str(tmp_path / "d"), "--no-browser"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=terminal) as process:
        os.close(terminal)
        shown, end = "", time.monotonic() + 120
        while not (found := re.search(r"http://127\.0\.0\.1:\d+/\S+/", shown)):
            assert time.monotonic() < end, shown
            shown += os.read(screen, 4096).decode(errors="replace")
        with urllib.request.urlopen(f"{found[0]}api/session") as answer:
            assert b'"name":"run"' in answer.read()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    os.close(screen)
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{found[0]}api/session")
