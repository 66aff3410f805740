"""What a model server's error says of images. No two servers say it alike, and their codes are as many."""

import re
from enum import StrEnum
from typing import Final

MAX_CHARS: Final = 4_000

_IMAGES: Final = re.compile(
    r"image|picture|photo|vision|visual|multi-?modal|mmproj|modalit(?:y|ies)|pixel|mime[ _-]?type|media[ _-]?type",
    re.IGNORECASE,
)
# OpenAI, OpenRouter, llama.cpp, vLLM, Ollama, LM Studio, DeepSeek and those whose messages are plain texts only.
_TAKES_NONE: Final = re.compile(
    r"(?:not|n't|no|without|lacks?|missing|unable to|cannot|only) [^.{}]{0,60}?"
    r"(?:support|accept|process|handle|allow|take|have)"
    r"[^.{}]{0,60}?(?:image|vision|visual|multi-?modal|picture|modalit)"
    r"|(?:image|vision|visual|multi-?modal|picture)[^.{}]{0,60}?"
    r"(?:(?:not|n't|un|only)[ _-]?(?:be )?(?:support|accept|allow|available|enabled)|not a valid content)"
    r"|(?:is not|isn't|not) an? (?:vision|multi-?modal)|non-?(?:vision|multi-?modal)"
    r"|unsupported[^.{}]{0,40}image_url|no endpoints found that support image|at most 0 image|mmproj"
    r"|unknown variant `?image_url|missing data required for image"
    r"|(?:only|must be|should be|expected)[^.{}]{0,30}\b(?:text|string)\b[^{}]{0,200}image_url",
    re.IGNORECASE,
)
_ONE_IMAGE: Final = re.compile(
    r"(?:invalid|unsupported|bad|corrupt\w{0,8}|broken|this|your|the|an?) (?:image|picture)s?\b(?! input)"
    r"|image (?:format|type|data|file|size)"
    r"|image/\w|process (?:this |the |your |input ){0,4}image\b"
    r"|decode|too (?:large|small|big)|dimension|mime|media[ _]type",
    re.IGNORECASE,
)


class ImageProblem(StrEnum):
    """REFUSED is about the images of the request; TAKES_NONE about the model."""

    REFUSED = "refused"
    TAKES_NONE = "takes_none"


def image_problem(text: str) -> ImageProblem | None:
    """What an error's text says of images; None when it speaks of other things."""
    text = text[:MAX_CHARS]
    if not _IMAGES.search(text):
        return None
    if _TAKES_NONE.search(text) and not _ONE_IMAGE.search(text):
        return ImageProblem.TAKES_NONE
    return ImageProblem.REFUSED
