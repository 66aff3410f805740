"""Images that model servers refused: shown by their names from then on, so that a session goes on."""

import time
from collections import OrderedDict
from collections.abc import Collection, Mapping
from typing import Final

from app.chat.media import ShownImages
from app.providers.image_refusals import ImageProblem
from app.providers.models import UpstreamError

REMEMBERED: Final = 10_000
BLIND_SECONDS: Final = 3600.0
"""How long a model counts as one that takes no images: its server may be given another one under the same name."""
TAKES_NONE: Final = "this model takes no images"
REFUSED: Final = "the model server refused it"

Model = tuple[str, str]
"""A provider's id, and a model's name there."""

_REFUSALS: Final = frozenset({400, 413, 415, 422})
"""Statuses for a fault of the request, which may lie in an image whatever the words are."""
_OTHER_FAULTS: Final = frozenset({401, 402, 403, 408, 429, 503, 504})


class RefusedImages:
    """What has been refused, by model, for this process: after a restart a model server is asked once again."""

    def __init__(self) -> None:
        self._images: OrderedDict[tuple[Model, str], None] = OrderedDict()
        self._blind_models: dict[Model, float] = {}

    def hidden(self, model: Model, attachment_ids: Collection[str]) -> Mapping[str, str]:
        """The images among these that are not to be shown to the model, with the reason."""
        if self._blind_models.get(model, 0.0) > time.monotonic():
            return dict.fromkeys(attachment_ids, TAKES_NONE)
        return {id: REFUSED for id in attachment_ids if (model, id) in self._images}

    def without_earlier(self, model: Model, images: ShownImages, error: UpstreamError) -> Mapping[str, str]:
        """The images that another request is to leave out, with the reason; none if another would not help.

        Only images of earlier messages are left out at once. A message with an image of its own is not answered as if
        it had none.
        """
        if not _may_concern_images(error):
            return {}
        if error.image_problem is ImageProblem.TAKES_NONE:
            self._blind_models[model] = time.monotonic() + BLIND_SECONDS
            return {} if images.own else dict.fromkeys(images.earlier, TAKES_NONE)
        return dict.fromkeys(images.earlier, REFUSED)

    def remember(self, model: Model, attachment_ids: Collection[str]) -> None:
        """Show these images by their names from now on."""
        for id in attachment_ids:
            self._images[model, id] = None
        while len(self._images) > REMEMBERED:
            self._images.popitem(last=False)

    def blame_own(self, model: Model, images: ShownImages, error: UpstreamError) -> None:
        """Remember a message's own images when its request was refused, and name them in the error."""
        if not images.own or not _may_concern_images(error):
            return
        names = ", ".join(images.own.values())
        if error.image_problem is ImageProblem.TAKES_NONE:
            error.message = f"The model takes no images; from now on it is shown only the name of {names}"
            return
        self.remember(model, images.own)
        problem = "refused" if error.image_problem is ImageProblem.REFUSED else "rejected the request with"
        error.message = f"The model server {problem} the image {names}; from now on it is shown only the name"


def _may_concern_images(error: UpstreamError) -> bool:
    if error.image_problem is not None and error.status not in _OTHER_FAULTS:
        return True
    param = error.refusal.param if error.refusal is not None else None
    return error.status in _REFUSALS and (not param or param.startswith(("messages", "input")))
