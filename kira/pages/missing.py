"""What pages are asked for and there is not."""

from kira.errors import KiraError


class NotThere(KiraError):
    """What was asked for does not exist, or not any more; asking again will not help."""


class NotKnown(NotThere):
    """The ledger has never heard of it."""
