"""Accounts: signing up and authenticating."""

from unicodedata import normalize

from pymongo.errors import DuplicateKeyError

from api.users.passwords import Passwords
from ticketing.clock import utc_now
from ticketing.errors import EmailTaken, InvalidCredentials
from ticketing.models import User
from ticketing.models.user import CASE_INSENSITIVE


class UserService:
    def __init__(self, passwords: Passwords) -> None:
        self._passwords = passwords

    async def sign_up(self, email: str, password: str) -> User:
        """Create an account.

        Raises:
            EmailTaken: the address has an account already, regardless of case.
        """
        if await find_user(email):
            raise EmailTaken  # before the costly hashing
        user = User(
            email=email, password_hash=await self._passwords.hash(password), created_at=utc_now()
        )
        try:
            return await user.insert()
        except DuplicateKeyError:
            raise EmailTaken from None

    async def authenticate(self, email: str, password: str) -> User:
        """The user with these credentials.

        Raises:
            InvalidCredentials: the address or the password is wrong; both take the same time.
        """
        user = await find_user(email)
        if user is not None and canonical_email(user.email) != canonical_email(email):
            # The collation matches more spellings than the rate limits count as one account.
            user = None
        matches = await self._passwords.verify(user and user.password_hash, password)
        if user is None or not matches:
            raise InvalidCredentials
        if self._passwords.needs_rehash(user.password_hash):
            await self._rehash_password(user, password)
        return user

    async def _rehash_password(self, user: User, password: str) -> None:
        """Replace an outdated hash now, while the password is known."""
        await User.find_one({"_id": user.id, "password_hash": user.password_hash}).update(
            {"$set": {"password_hash": await self._passwords.hash(password)}}
        )


async def find_user(email: str) -> User | None:
    return await User.find_one({"email": email}, collation=CASE_INSENSITIVE)


def canonical_email(email: str) -> str:
    """One spelling for all that sign in to the same account; rate limits count by it."""
    return normalize("NFKC", normalize("NFKC", email).casefold())
