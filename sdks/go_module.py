"""Make a Go module of the program and the client beside it, in the present folder.

What the client imports is taken from the system's package, so that nothing is fetched.
"""

import shutil
from pathlib import Path

from sdks.clients import PROGRAMS

CLIENT = "github.com/GIT_USER_ID/GIT_REPO_ID"
VALIDATOR = "gopkg.in/validator.v2"
SOURCES = Path("/usr/share/gocode/src")

shutil.copy(PROGRAMS / "main.go", "main.go")
shutil.copytree(SOURCES / VALIDATOR, "validator", dirs_exist_ok=True)
Path("validator/go.mod").write_text(f"module {VALIDATOR}\n")
Path("client/go.mod").write_text(f"module {CLIENT}\n\ngo 1.19\n\nrequire {VALIDATOR} v2.0.1\n")
Path("go.mod").write_text(
    "module program\n\ngo 1.19\n\n"
    f"require {CLIENT} v0.0.0\nrequire {VALIDATOR} v2.0.1\n\n"
    f"replace {CLIENT} => ./client\nreplace {VALIDATOR} => ./validator\n"
)
