"""The generators, and the commands by which each makes a client and runs a program with it."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
TOOLS: Final = HERE / ".tools"
CLIENTS: Final = HERE / ".clients"
PROGRAMS: Final = HERE / "programs"

_PYTHON_TOOLS: Final = TOOLS / "python/bin"
_NODE_TOOLS: Final = TOOLS / "node_modules/.bin"
_GO_VALIDATOR: Final = Path("/usr/share/gocode/src/gopkg.in/validator.v2")

_JAVA: Final = Path("/usr/share/java")
JAVA_LIBRARIES: Final = tuple(_JAVA / f"{name}.jar" for name in ("gson", "okhttp", "okio", "jsr305"))

Command = Sequence[str | Path]

PYTHON_PACKAGES: Final = (
    "openapi-generator-cli>=7.26,<8",
    "openapi-python-client>=0.29,<0.30",
    # What the clients need.
    "attrs",
    "httpx",
    "pydantic",
    "python-dateutil",
    "urllib3",
)
NODE_PACKAGES: Final = (
    "@hey-api/openapi-ts@^0.99",
    "openapi-fetch@^0.17",
    "openapi-typescript@^7",
    "typescript@^5",
    "@types/node@^22",
    "esbuild@^0.25",
)


@dataclass(frozen=True, slots=True)
class Client:
    """One generator; `commands` run in a folder of its own, in their order, the last one being the program.

    `programs` are those that must be installed; `files` those that a system's package brings.
    """

    name: str
    language: str
    commands: Sequence[Command]
    programs: Sequence[str] = ()
    files: Sequence[Path] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return CLIENTS / self.name


def _openapi_generator(language: str, output: str, properties: str) -> Command:
    return (
        _PYTHON_TOOLS / "openapi-generator-cli",
        *("generate", "-i", CLIENTS / "openapi.json", "-g", language, "-o", output),
        *("--additional-properties", properties),
    )


def _typescript(program: str) -> Sequence[Command]:
    """Check the program's types, and run it."""
    return (
        (sys.executable, "-c", f"import shutil; shutil.copy({str(PROGRAMS / program)!r}, 'program.ts')"),
        (
            _NODE_TOOLS / "tsc",
            *("--noEmit", "--strict", "--skipLibCheck", "--target", "es2022", "--module", "esnext"),
            *("--moduleResolution", "bundler", "--types", "node", "--typeRoots", TOOLS / "node_modules/@types"),
            "program.ts",
        ),
        (_NODE_TOOLS / "esbuild", "program.ts", "--bundle", "--platform=node", "--format=esm", "--outfile=program.mjs"),
        ("node", "program.mjs"),
    )


ALL: Final = (
    Client(
        "openapi-generator-python",
        "Python",
        (
            _openapi_generator("python", ".", "packageName=palaver_client"),
            (_PYTHON_TOOLS / "python", PROGRAMS / "openapi_generator.py"),
        ),
        programs=("java",),
    ),
    Client(
        "openapi-python-client",
        "Python",
        (
            (
                _PYTHON_TOOLS / "openapi-python-client",
                *("generate", "--path", CLIENTS / "openapi.json", "--meta", "none", "--output-path", "palaver_opc"),
                "--overwrite",
            ),
            (_PYTHON_TOOLS / "python", PROGRAMS / "openapi_python_client.py"),
        ),
    ),
    Client(
        "hey-api",
        "TypeScript",
        ((_NODE_TOOLS / "openapi-ts", "-f", PROGRAMS / "hey_api.config.mjs"), *_typescript("hey_api.ts")),
        programs=("node", "npm"),
    ),
    Client(
        "openapi-typescript",
        "TypeScript",
        (
            (_NODE_TOOLS / "openapi-typescript", CLIENTS / "openapi.json", "-o", "openapi-typescript.d.ts"),
            *_typescript("openapi_fetch.ts"),
        ),
        programs=("node", "npm"),
    ),
    Client(
        "openapi-generator-go",
        "Go",
        (
            _openapi_generator("go", "client", "packageName=palaver,useOneOfDiscriminatorLookup=true"),
            (sys.executable, "-m", "sdks.go_module"),
            ("go", "run", "."),
        ),
        programs=("java", "go"),
        files=(_GO_VALIDATOR,),
        environment={"GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOTOOLCHAIN": "local"},
    ),
    Client(
        "openapi-generator-java",
        "Java",
        (
            (
                *_openapi_generator(
                    "java",
                    "client",
                    "invokerPackage=palaver,apiPackage=palaver.api,modelPackage=palaver.model,openApiNullable=false",
                ),
                *("--global-property", "skipFormModel=false,models,apis,supportingFiles"),
            ),
            (sys.executable, "-m", "sdks.java_classes"),
            ("java", "-cp", ":".join(map(str, ("classes", *JAVA_LIBRARIES))), "Main"),
        ),
        programs=("java", "javac"),
        files=JAVA_LIBRARIES,
    ),
)
