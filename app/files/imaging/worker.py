"""The process that decodes images: `python -m app.files.imaging.worker <bytes of memory>`."""

import warnings
from collections.abc import Iterator

import msgspec
from PIL import Image

from app.files.extraction.models import BROKEN, TOO_MUCH_MEMORY, NoText, Reason, Unreadable
from app.files.imaging.conversion import fit_image
from app.files.imaging.models import ImageRequest
from app.workers.process import limit_cpu_time, serve


def answer(head: bytes, data: bytes) -> Iterator[bytes]:
    """The verdict on the image, and its bytes if they were changed."""
    request = msgspec.json.decode(head, type=ImageRequest)
    limit_cpu_time(request.seconds)
    # For pictures inside of pictures, too: those of an icon name sizes of their own.
    Image.MAX_IMAGE_PIXELS = request.limits.max_pixels
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    try:
        facts, fitted = fit_image(data, request.limits)
    except Unreadable as refusal:
        yield msgspec.json.encode(NoText(refusal.reason, refusal.explanation))
    except MemoryError:
        yield msgspec.json.encode(NoText(Reason.TOO_MUCH_MEMORY, TOO_MUCH_MEMORY))
    except Exception as error:  # noqa: BLE001 - whatever a decoder raises is the image's fault
        yield msgspec.json.encode(NoText(Reason.BROKEN, BROKEN, type(error).__name__))
    else:
        yield msgspec.json.encode(facts)
        if facts.changed:
            yield fitted


if __name__ == "__main__":
    serve(answer)
