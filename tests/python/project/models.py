"""Functions with pydantic's models, and what it makes of other types."""

from typing import Annotated, Dict, List, Literal, Optional, Union

from pydantic import BaseModel, Field
from typing_extensions import TypedDict


class Trip(BaseModel):
    """Where to, and how long."""

    city: Annotated[str, Field(description="The city")]
    days: int = Field(default=1, ge=1)


class Traveller(BaseModel):
    name: str
    trips: List[Trip] = []
    kind: Literal["adult", "child"] = "adult"


class Category(BaseModel):
    name: str
    below: List["Category"] = []


class Address(TypedDict):
    street: str
    number: int


def book(trip: Annotated[Trip, "the trip"]) -> str:
    """Book a trip."""
    return f"{trip.city} for {trip.days}"


def book_all(travellers: List[Traveller], note: Optional[str] = None) -> str:
    """Models in a list, with models in them."""
    return repr([traveller.name for traveller in travellers])


def one_of_two(what: Union[Trip, Traveller]) -> str:
    """One model or the other."""
    return type(what).__name__


def maybe(trip: Optional[Trip] = None) -> str:
    """A model that may be missing."""
    return repr(trip)


def model_default(trip: Trip = Trip(city="Rome")) -> str:
    """A default that is a model."""
    return trip.city


def tree(category: Category) -> str:
    """A model that holds itself."""
    return category.name


def named(trips: Dict[str, Trip], address: Address) -> str:
    """Models by name, and a TypedDict."""
    return repr((sorted(trips), address))


def returns_model(city: str) -> Trip:
    """A model comes back."""
    return Trip(city=city, days=2)


# What AG2 takes no notice of, or refuses.


def limits(days: Annotated[int, "how long", Field(ge=1, le=30)]) -> int:
    """AG2 forgets the limits."""
    return days


def described(days: Annotated[int, Field(ge=1, description="how long")]) -> int:
    """AG2 refuses it."""
    return days
