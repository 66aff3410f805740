"""Compile the Java client and its program, in the present folder, with the libraries of Debian's packages.

Those are older than the ones that the client is made for: what they lack is in `stand_ins`, and okhttp 3 takes the two
arguments of `RequestBody.create` the other way round.
"""

import re
import subprocess
from pathlib import Path

from sdks.clients import HERE, JAVA_LIBRARIES, PROGRAMS

CREATE = re.compile(
    r"RequestBody\.create\(((?:\([\w\[\]]+\) )?[\w\"]+), "
    r"(MediaType\.parse\([^()]*\)|mediaType|contentType == null \? null : MediaType\.parse\(contentType\))\)"
)

api_client = Path("client/src/main/java/palaver/ApiClient.java")
api_client.write_text(CREATE.sub(r"RequestBody.create(\2, \1)", api_client.read_text()))
sources = [
    *Path("client/src/main/java").rglob("*.java"),
    *(HERE / "stand_ins").rglob("*.java"),
    PROGRAMS / "Main.java",
]
classpath = ":".join(map(str, JAVA_LIBRARIES))
subprocess.run(["javac", "-nowarn", "-cp", classpath, "-d", "classes", *map(str, sources)], check=True)
