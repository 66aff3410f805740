"""The characters that names may hold: no control characters, which a terminal or a log would act upon.

Nor would PostgreSQL store the first of them, NUL, in any text.
"""

import re

CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")
LINE_PATTERN = r"^[^\x00-\x1f\x7f-\x9f]*$"
NAME_PATTERN = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
"""A line that is not blank."""
