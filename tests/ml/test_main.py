"""The command line's manners: one JSON line, clear errors, light start."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from ml import __main__ as entry


def test_unknown_and_absent_groups(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert entry.main(["nothing"]) == 2
    assert "choose one of text, registry" in capsys.readouterr().err
    monkeypatch.setitem(entry.GROUPS, "report", "ml.no_such_room.cli")
    assert entry.main(["report"]) == 2
    assert "not part of this installation" in capsys.readouterr().err


def test_last_line_is_json(capsys: pytest.CaptureFixture[str], tmp_path: object) -> None:
    status = entry.main(["text", "base", "--name", "embedded"])
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert status == 0 and answer["name"] == "embedded"


def test_light_commands_import_nothing_heavy() -> None:
    program = (
        "import sys\nfrom ml.__main__ import main\n"
        "try:\n    main(['registry', '--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers', 'mlflow', 'pandas', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
