"""A callback for tests that is given secrets, as those of real runs are."""

from lightning.pytorch import Callback


class Messenger(Callback):
    """Stands in for one that tells a chat how a fit goes.

    Args:
        api_key: Key of the chat.
        accounts: Who is told, with their logins.
        address: Where the chat is.
    """

    def __init__(self, api_key: str, accounts: list[dict[str, str]], address: str) -> None:
        self.api_key, self.accounts, self.address = api_key, accounts, address
