"""The encodings of East Asian fonts that the PDF standard names and pypdf does not know, but Python does."""

from typing import Final

from pypdf import _cmap

_ENCODINGS: Final = {
    "KSC-EUC": "cp949",
    "KSCms-UHC": "cp949",
    "KSCms-UHC-HW": "cp949",
    "KSCpc-EUC": "cp949",
    "EUC": "euc_jp",
    "83pv-RKSJ": "cp932",
    "90pv-RKSJ": "cp932",
    "90msp-RKSJ": "cp932",
    "Add-RKSJ": "cp932",
    "Ext-RKSJ": "cp932",
    "B5pc": "cp950",
    "HKscs-B5": "big5hkscs",
    "GBKp-EUC": "gbk",
    "UniJIS2004-UTF16": "utf-16-be",
    "UniJISX0213-UTF16": "utf-16-be",
    "UniKS-UTF16": "utf-16-be",
    **{f"Uni{script}-UTF8": "utf-8" for script in ("GB", "CNS", "JIS", "KS")},
    **{f"Uni{script}-UTF32": "utf-32-be" for script in ("GB", "CNS", "JIS", "KS", "JIS2004")},
}


def add_encodings() -> None:
    """Add them to pypdf's own, horizontal and vertical; there is no interface for it."""
    for name, encoding in _ENCODINGS.items():
        for direction in "HV":
            _cmap._predefined_cmap.setdefault(f"/{name}-{direction}", encoding)
