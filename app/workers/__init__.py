"""Worker processes for work on untrusted or long input: limited, replaceable, and reached over pipes."""
