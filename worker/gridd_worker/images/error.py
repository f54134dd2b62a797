"""How fetching, building and unpacking an image say that it can't be had."""


class ImageError(Exception):
    """The image can't be had, and it is not this machine's fault: a sentence.

    ``building`` tells whether it was to be built or pulled."""

    def __init__(self, message: str, *, building: bool = False) -> None:
        super().__init__(message)
        self.building = building
