"""The listings of `make demo`, with their sellers and buyers; all names are invented."""

from dataclasses import dataclass

PASSWORD = "demo password"  # noqa: S105 - of accounts on this machine, and printed
"""The password of every demo account."""


@dataclass(frozen=True)
class Account:
    """A demo user; no mail reaches the address."""

    email: str
    role: str


MARA = Account("mara@demo.test", "sells concerts")
IVO = Account("ivo@demo.test", "sells theatre and festivals")
JUNE = Account("june@demo.test", "sells sport")
BEA = Account("bea@demo.test", "buys")
CLEO = Account("cleo@demo.test", "buys")

ACCOUNTS = (MARA, IVO, JUNE, BEA, CLEO)
SELLERS = (MARA, IVO, JUNE)


@dataclass(frozen=True)
class Listing:
    """A ticket to list; seller and title identify it."""

    seller: Account
    title: str
    price: int
    """In the currency's minor unit."""
    sold_to: Account | None = None
    reserved_for: Account | None = None


LISTINGS = (
    Listing(MARA, "Paper Lanterns, Harbour Hall, row 12 seat 4", 4500),
    Listing(JUNE, "Northgate Rovers v Old Mill United, west stand", 2800),
    Listing(IVO, "The Clockmaker's Daughter, Little Theatre, stalls B7", 3600, sold_to=BEA),
    Listing(MARA, "Velvet Antlers, The Boiler Room, standing", 2200),
    Listing(IVO, "Saltmarsh Festival, weekend with camping", 18500),
    Listing(JUNE, "Lakeside Open, women's final, block C", 12000),
    Listing(MARA, "Orchestra of the Lower Town: Winter Songs, balcony", 3900),
    Listing(IVO, "Improv for Early Risers, Cellar Stage", 800),
    Listing(JUNE, "Kingfishers v Granite City, ice hockey, row 3", 5400, reserved_for=BEA),
    Listing(MARA, "DJ Marmalade, rooftop of the Old Post Office", 1800),
    Listing(IVO, "A Room Without Doors, Playhouse, dress circle", 6200),
    Listing(JUNE, "City Marathon, starting place", 9500),
    Listing(MARA, "The Slow Elevators, farewell tour, Arena East, block 114", 14500, sold_to=CLEO),
    Listing(IVO, "Lanterns on the River, night boat and concert", 7200),
    Listing(JUNE, "Velodrome Six Days, Saturday, infield", 6600),
    Listing(MARA, "Nightjar Quartet, St Aldric's crypt", 2600),
    Listing(IVO, "The Understudies, musical, stalls row F", 8400),
    Listing(JUNE, "Harbour Hawks v Tin Town, basketball, courtside", 24000),
    Listing(MARA, "Glass Meridian, Arena East, golden circle", 19900),
    Listing(IVO, "Puppets After Dark, Attic Theatre", 1650),
    # The first page, newest first, shows the ones from here on, with every status among them.
    Listing(JUNE, "Ferndale Cup final, family ticket for four", 7600, sold_to=BEA),
    Listing(MARA, "Hollow Coast, Seaview Pavilion, standing", 3200),
    Listing(IVO, "Orchard Sounds, Sunday day ticket", 6900, reserved_for=CLEO),
    Listing(JUNE, "Bridge to Bridge rowing, grandstand", 1500),
    Listing(MARA, "The Tuesday Brass Band plays film music", 1250, sold_to=CLEO),
    Listing(IVO, "Hamlet in Forty Minutes, Courtyard Stage", 2100),
    Listing(JUNE, "Northgate Rovers v Ashford Vale, hospitality box", 42000),
    Listing(MARA, "Mina Okoro Trio, Blue Door Jazz Club, table for two", 5800, reserved_for=BEA),
    Listing(IVO, "Saltmarsh Festival, Friday only", 6400),
    Listing(JUNE, "Indoor climbing finals, standing", 1950),
    Listing(MARA, "Copper Wolves, Harbour Hall, row 2", 8800, sold_to=BEA),
    Listing(IVO, "The Winter Ballet: The Tin Soldier, upper circle", 4750),
    Listing(JUNE, "Mountain stage, finish line terrace", 3450, reserved_for=CLEO),
    Listing(MARA, "An evening with Teodor Lind, solo piano", 5200),
    Listing(IVO, "Comedy Marathon, all night, all six acts", 2900),
    Listing(JUNE, "Kingfishers v Bay Bears, row 11, pair", 9800, sold_to=CLEO),
    Listing(MARA, "Static Gardens, The Boiler Room, early entry", 2750),
    Listing(IVO, "Open-air cinema and brass, blanket place", 1100, reserved_for=BEA),
    Listing(JUNE, "Night of the Sprints, athletics, finish straight", 3300),
    Listing(MARA, "Paper Lanterns, extra date, Harbour Hall, row 5", 5600),
)
"""In the order in which they are listed for sale, oldest first."""
