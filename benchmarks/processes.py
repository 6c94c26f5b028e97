"""What a benchmark runs in processes of its own, verbs, watched, and scripts; and on which machine."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil

Json = dict[str, Any]
FOLDER = Path(__file__).resolve().parent


def machine() -> Json:
    return {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "python": platform.python_version(),
    }


def run_lpm(*arguments: str | Path, watched: int | None = None) -> Json:
    """Run a verb in a process of its own; wall time, and the peak memory of it (or of another) and its children."""
    command = [sys.executable, "-m", "lpm.apps.cli", *map(str, arguments)]
    started = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    peak = {"all": 0, "largest": 0}
    watcher = threading.Thread(target=watch_memory, args=(watched or process.pid, peak, process))
    watcher.start()
    _, printed = process.communicate()
    watcher.join()
    if process.returncode:
        sys.exit(f"{' '.join(command)}\n{printed}")
    seconds = time.perf_counter() - started
    gib = {f"peak_{name}_gib": value / 2**30 for name, value in peak.items()}
    return {"seconds": seconds, **gib, "printed": printed}


def watch_memory(pid: int, peak: dict[str, int], until: subprocess.Popen[str]) -> None:
    """Sample the resident memory of a process and its children until a process ends."""
    try:
        parent = psutil.Process(pid)
        while until.poll() is None:
            sizes = []
            for process in [parent, *parent.children(recursive=True)]:
                try:
                    sizes.append(process.memory_info().rss)
                except psutil.NoSuchProcess:
                    continue
            peak["all"] = max(peak["all"], sum(sizes))
            peak["largest"] = max(peak["largest"], *sizes)
            time.sleep(0.1)
    except psutil.NoSuchProcess:
        return


def run_script(name: str, out: Path, *given: str | Path) -> Json:
    """Run a benchmark of its own that writes a JSON."""
    subprocess.run([sys.executable, FOLDER / name, *given, "--out", out], check=True)
    return dict(json.loads(out.read_text()))
