"""Accounts: signing up, and telling who somebody is."""

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
        """Make an account.

        Raises:
            EmailTaken: somebody has the address, in whatever case.
        """
        if await find_user(email):
            raise EmailTaken  # and save the work of hashing
        user = User(
            email=email, password_hash=await self._passwords.hash(password), created_at=utc_now()
        )
        try:
            return await user.insert()
        except DuplicateKeyError:
            raise EmailTaken from None

    async def authenticate(self, email: str, password: str) -> User:
        """The user whose credentials these are.

        Raises:
            InvalidCredentials: whichever of the two is wrong, and after the same time.
        """
        user = await find_user(email)
        if user is not None and account_name(user.email) != account_name(email):
            # The collation finds more spellings than limits on guessing are counted by.
            user = None
        matches = await self._passwords.verify(user and user.password_hash, password)
        if user is None or not matches:
            raise InvalidCredentials
        if self._passwords.is_outdated(user.password_hash):
            await self._hash_anew(user, password)
        return user

    async def _hash_anew(self, user: User, password: str) -> None:
        """Only now is the password at hand, to be hashed as it would be today."""
        await User.find_one({"_id": user.id, "password_hash": user.password_hash}).update(
            {"$set": {"password_hash": await self._passwords.hash(password)}}
        )


async def find_user(email: str) -> User | None:
    return await User.find_one({"email": email}, collation=CASE_INSENSITIVE)


def account_name(email: str) -> str:
    """The one spelling that stands for all under which an account can sign in."""
    return normalize("NFKC", normalize("NFKC", email).casefold())
