"""The budget and the rate limits of a teacher."""

from __future__ import annotations

import asyncio
import math
import time
from typing import NamedTuple


class Pace:
    """A rate limit in units per minute, evenly spaced. `hold` makes all requests wait, as a server with status 429 demands."""

    def __init__(self, per_minute: float | None) -> None:
        self._seconds_each = 60 / per_minute if per_minute else 0.0
        self._next = 0.0

    async def take(self, units: float = 1.0) -> None:
        while (wait := self._next - time.monotonic()) > 0:  # noqa: ASYNC110 - `hold` may have moved it meanwhile
            await asyncio.sleep(wait)
        self._next = max(time.monotonic(), self._next) + units * self._seconds_each

    def hold(self, seconds: float) -> None:
        self._next = max(self._next, time.monotonic() + seconds)


class Cost(NamedTuple):
    tokens: int = 0
    money: float = 0.0

    def __add__(self, other: object) -> Cost:
        assert isinstance(other, Cost)
        return Cost(self.tokens + other.tokens, self.money + other.money)


class Budget:
    """Limits of tokens and money. A running call counts with its maximum cost, so that concurrent calls do not exceed them together."""

    def __init__(self, most_tokens: int | None, most_money: float | None, price_in: float, price_out: float) -> None:
        self.spent = Cost()
        self._most_tokens, self._most_money = most_tokens or math.inf, most_money or math.inf
        self._price_in, self._price_out = price_in / 1e6, price_out / 1e6
        self._under_way: list[Cost] = []
        self._changed = asyncio.Condition()

    def cost(self, tokens_in: int, tokens_out: int) -> Cost:
        return Cost(tokens_in + tokens_out, tokens_in * self._price_in + tokens_out * self._price_out)

    async def take(self, most: Cost) -> bool:
        """Reserve the cost of a call; returns False if the rest of the budget is too small. Waits if running calls may turn out cheaper."""
        async with self._changed:
            while not self._fits(sum(self._under_way, self.spent + most)):
                if not self._under_way or not self._fits(self.spent + most):
                    return False
                await self._changed.wait()
            self._under_way.append(most)
            return True

    async def settle(self, taken: Cost, spent: Cost) -> None:
        async with self._changed:
            self._under_way.remove(taken)
            self.spent += spent
            self._changed.notify_all()

    def _fits(self, cost: Cost) -> bool:
        return cost.tokens <= self._most_tokens and cost.money <= self._most_money
