"""The course of each event to each subscription: attempts, waits, and its end."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from local.eventgrid.disorder import Disorder
from local.eventgrid.endpoint import Endpoints, Outcome
from local.eventgrid.events import Event
from local.eventgrid.subscriptions import (
    ANSWER_LIMIT,
    LATE_LIMIT,
    DeadLetter,
    Subscription,
    retry_wait,
)
from local.world import World

T = TypeVar("T")


class Deliveries:
    """All deliveries that are not over.

    Each event has a task of its own for each subscription, so that a slow or failing endpoint holds up no
    other event.
    """

    def __init__(self, endpoints: Endpoints, world: World) -> None:
        self._endpoints = endpoints
        self._world = world
        self._held: dict[str, list[Event]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self.dead_letters: list[DeadLetter] = []

    def __len__(self) -> int:
        return len(self._tasks)

    async def aclose(self) -> None:
        """Give them all up."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def begin(self, subscription: Subscription, event: Event, disorder: Disorder) -> None:
        """Send an event on its way."""
        random, now = self._world.random, self._world.clock.now()
        if disorder.drop and random.random() < disorder.drop:
            self._endpoints.told(subscription, event, now, None, method="DROP")
        elif disorder.shuffle:
            held = self._held.setdefault(subscription.name, [])
            held.append(event)
            if len(held) == 1:
                self._start(self._release(subscription, disorder))
        else:
            self._start(self._deliver(subscription, event, disorder))

    async def _release(self, subscription: Subscription, disorder: Disorder) -> None:
        await self._world.clock.sleep(disorder.shuffle)
        held = self._held.pop(subscription.name)
        self._world.random.shuffle(held)
        for event in held:
            self._start(self._deliver(subscription, event, disorder))

    async def _deliver(self, subscription: Subscription, event: Event, disorder: Disorder) -> None:
        clock, random, published = self._world.clock, self._world.random, self._world.clock.now()
        twice = bool(disorder.duplicate) and random.random() < disorder.duplicate
        if disorder.delay:
            await clock.sleep(random.uniform(0, disorder.delay))
        attempts, reason = 0, None
        while reason is None:
            began = clock.now()
            outcome, late = await self._attempt(subscription, event, attempts)
            attempts += 1
            if outcome.delivered:
                break
            if outcome.final:
                reason = "Undeliverable"
            elif attempts >= subscription.max_attempts:
                reason = "MaxDeliveryAttemptsExceeded"
            else:
                wait = retry_wait(attempts) * (1 + random.uniform(0, disorder.jitter))
                if await self._answered_after_all(late, wait):
                    break
                if clock.now() - published >= subscription.time_to_live:
                    reason = "TimeToLiveExceeded"
            if reason is not None:
                letter = DeadLetter(
                    subscription.name, event, reason, attempts, outcome.name, published, began
                )
                self.dead_letters.append(letter)
                return
        if twice:
            await clock.sleep(disorder.duplicate_after)
            await self._endpoints.deliver(subscription, event, attempts)

    async def _attempt(
        self, subscription: Subscription, event: Event, attempt: int
    ) -> tuple[Outcome, asyncio.Task[Outcome] | None]:
        """One delivery. A call without an answer in time goes on: the endpoint may still be at work."""
        call = self._start(self._endpoints.deliver(subscription, event, attempt))
        if await self._ends(call, ANSWER_LIMIT):
            return call.result(), None
        return Outcome(None, "TimedOut"), call

    async def _answered_after_all(self, late: asyncio.Task[Outcome] | None, wait: float) -> bool:
        """Wait for the retry; True: a success came first, and within three minutes."""
        clock = self._world.clock
        retry = clock.monotonic() + wait
        if late is not None:
            ended = await self._ends(late, min(wait, LATE_LIMIT - ANSWER_LIMIT))
            if ended and late.result().delivered:
                return True
        await clock.sleep(retry - clock.monotonic())
        return False

    async def _ends(self, task: asyncio.Task[Outcome], seconds: float) -> bool:
        """Whether a task ends within so many seconds; it goes on if not."""
        alarm = asyncio.ensure_future(self._world.clock.sleep(seconds))
        try:
            await asyncio.wait((task, alarm), return_when=asyncio.FIRST_COMPLETED)
        finally:
            alarm.cancel()
        return task.done()

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
