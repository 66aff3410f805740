"""The characters of names and of other lines of text.

Control characters are refused: terminals and logs act upon them, and PostgreSQL stores no NUL. Patterns end with `\\Z`:
Python's `$` also matches before a last newline. In the document they end with `$`, which there means the end alone.
"""

import re

CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")
LINE_PATTERN = r"^[^\x00-\x1f\x7f-\x9f]*\Z"
NAME_PATTERN = r"^[^\S\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*\Z"
"""A line with a visible character."""
