"""Where the bytes of attachments are kept."""


class AttachmentStorage:
    """Objects under keys, in a local folder or in a bucket."""

    def __init__(self, url: str) -> None:
        self._url = url
