"""The functions that the agents of this project call.

They are plain Python. A model sees the name, the docstring and the annotations of a function.
"""

from typing import Annotated, Literal

SKIES = ["sunny", "cloudy", "rain", "fog"]


def get_weather(
    city: Annotated[str, "Name of the city"],
    unit: Literal["celsius", "fahrenheit"] = "celsius",
) -> str:
    """Get the weather for a city."""
    # It is made up from the name, so that it needs no server. Ask a real weather service here.
    number = sum(city.encode())
    degrees = 5 + number % 25
    if unit == "fahrenheit":
        degrees = round(degrees * 9 / 5 + 32)
    return f"{city}: {SKIES[number % len(SKIES)]}, {degrees} degrees {unit}"
