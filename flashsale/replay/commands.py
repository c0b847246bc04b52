"""The commands of a replay: the same ones the DAGs' tasks run, in a home of the replay's own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flashsale.errors import InputError
from flashsale.java import java_options
from flashsale.settings import settings

ROOT = Path(__file__).parents[2]
LOG = "replay.log"
#: Settings of the caller that name his own platform: a replay must neither read nor write it.
FOREIGN = ("LAKE", "SOURCE", "WAREHOUSE_URI", "MLFLOW_TRACKING_URI")
_ERROR = re.compile(r"(?P<subject>.+?): (?P<problem>.+)\. Remedy: (?P<remedy>.+)\.$")


@dataclass
class Commands:
    """Runs commands in `home`; what they say goes to one log there, and their seconds are kept by stage."""

    home: Path
    seed: int
    say: Callable[[str], None]
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def lake_uri(self) -> str:
        """The replay's own lake."""
        return str(self.home / "lake")

    def environment(self) -> dict[str, str]:
        """Variables of every command."""
        kept = {k: v for k, v in os.environ.items() if k not in {f"FLASHSALE_{name}" for name in FOREIGN}}
        path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", "")])
        mine = {
            "FLASHSALE_HOME": str(self.home),
            "FLASHSALE_CACHE": str(settings().cache or settings().home),
            "FLASHSALE_SEED": str(self.seed),
            "PATH": path,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "plugins")]),
            "TZ": "UTC",
            "GX_ANALYTICS_ENABLED": "false",
        }
        return {**java_options(kept), **kept, **mine}

    def run(self, stage: str, *words: str) -> dict[str, Any]:
        """Run `python <words>` and return the JSON object of its last line.

        Raises InputError in the command's own words where it refused its input, else with the end of what it said.
        """
        began = time.monotonic()
        self.say(f"… {stage}")
        with (self.home / LOG).open("a", encoding="utf-8") as log:
            done = subprocess.run(
                [sys.executable, *words],
                cwd=ROOT,
                env=self.environment(),
                text=True,
                capture_output=True,
                check=False,
            )
            log.write(f"== {stage}: {' '.join(words)}\n{done.stderr}\n{done.stdout}\n")
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.monotonic() - began
        if done.returncode:
            raise refusal(stage, done.returncode, done.stderr)
        answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return answer


def refusal(stage: str, status: int, words: str) -> InputError:
    """The error a command ended with: its own InputError again, or one that quotes its last lines."""
    lines = [line for line in words.strip().splitlines() if line.strip()]
    own = next((found for line in reversed(lines[-3:]) if (found := _ERROR.match(line))), None)
    if status == 2 and own:
        return InputError(own["subject"], own["problem"], own["remedy"])
    return InputError(
        f"replay, step {stage!r}",
        f"ended with status {status}: {' '.join(lines[-3:])[-600:] or 'it said nothing'}",
        f"read {LOG} in the folder of --work",
    )
