"""`make sdks`: make every client, and run its program against a server."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sdks.clients import ALL, CLIENTS, HERE, NODE_PACKAGES, PYTHON_PACKAGES, TOOLS, Client

KEY = "operator-key-of-the-generated-clients"
SECONDS = 600


class Failure(Exception):
    """A command that failed; the text is its output."""


def main() -> None:
    """Make the clients whose names are given, or all. Exit status 1 if one fails, 3 if none can be made here."""
    clients = [client for client in ALL if not sys.argv[1:] or client.name in sys.argv[1:]]
    CLIENTS.mkdir(exist_ok=True)
    try:
        _install_tools()
    except Failure as error:
        print(f"skipped: the generators cannot be installed: {error}")
        sys.exit(3)
    results: dict[str, str] = {}
    with _server() as url:
        with urllib.request.urlopen(f"{url}/openapi.json") as response:
            (CLIENTS / "openapi.json").write_bytes(response.read())
        for client in clients:
            results[client.name] = _result_of(client, url)
            print(f"{client.name}: {results[client.name]}", flush=True)
    print("\n| Generator | Language | Result |\n| --- | --- | --- |")
    for client in clients:
        print(f"| {client.name} | {client.language} | {results[client.name].splitlines()[0]} |")
    failed = [name for name, result in results.items() if result.startswith("failed")]
    passed = [name for name, result in results.items() if result.startswith("passed")]
    print(f"\n{len(passed)} passed, {len(failed)} failed, {len(results) - len(passed) - len(failed)} skipped")
    sys.exit(1 if failed else 0 if passed else 3)


def _result_of(client: Client, url: str) -> str:
    missing = [name for name in client.programs if shutil.which(name) is None]
    missing += [str(path) for path in client.files if not path.exists()]
    if missing:
        return f"skipped: {', '.join(missing)} is not installed"
    shutil.rmtree(client.folder, ignore_errors=True)
    client.folder.mkdir()
    environment = {
        **os.environ,
        "PALAVER_URL": url,
        "PALAVER_KEY": KEY,
        "PYTHONPATH": f"{HERE.parent}{os.pathsep}{client.folder}",
        "NODE_PATH": str(TOOLS / "node_modules"),
        **client.environment,
    }
    # Modules are looked for in the folders above: the tools' are linked to.
    (client.folder / "node_modules").symlink_to(TOOLS / "node_modules")
    output = ""
    try:
        for command in client.commands:
            output = _run([str(word) for word in command], client.folder, environment)
    except Failure as error:
        return f"failed: {error}"
    return f"passed: {', '.join(output.split(chr(10))).strip(', ')}"


def _run(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    if done.returncode:
        raise Failure(f"{Path(command[0]).name}\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return done.stdout.strip()


def _install_tools() -> None:
    """Install the generators into TOOLS, once for each list of packages."""
    TOOLS.mkdir(exist_ok=True)
    stamp, packages = TOOLS / "installed.json", json.dumps([PYTHON_PACKAGES, NODE_PACKAGES])
    if stamp.exists() and stamp.read_text() == packages:
        return
    print("Installing the generators ...", flush=True)
    _run([sys.executable, "-m", "venv", "python"], TOOLS)
    pip = ("python/bin/python", "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet", "install")
    _run([*pip, *PYTHON_PACKAGES], TOOLS)
    if shutil.which("npm") is not None:
        _run(["npm", "install", "--no-audit", "--no-fund", "--no-save", "--prefix", ".", *NODE_PACKAGES], TOOLS)
    stamp.write_text(packages)


@contextmanager
def _server() -> Iterator[str]:
    """A server with the embedded model on a data folder of its own; its URL."""
    with socket.socket() as reservation:
        reservation.bind(("127.0.0.1", 0))
        port = reservation.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PALAVER_", "OPENAI_"))},
            "PALAVER_DATA_DIR": folder,
            "PALAVER_API_KEYS": f"sdks={KEY}",
        }
        command = [sys.executable, "-c", "from app.cli import main; main()", "serve", "--port", str(port)]
        process = subprocess.Popen(
            command, cwd=HERE.parent, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            _wait_for(url, process)
            yield url
        finally:
            process.terminate()
            process.wait(30)


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/ready", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("The server did not start")


main()
