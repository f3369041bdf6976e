"""The gate: hooks in order, at once where that is possible, under both kinds of event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed

from smtpsurvey.admission import Exclude
from smtpsurvey.admission import gate as gate_module
from smtpsurvey.admission.gate import Gate
from smtpsurvey.items import Target

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

TARGET = Target("127.0.0.1")


class Asked:
    """Makes hooks that note their turn."""

    def __init__(self) -> None:
        self.order: list[str] = []

    def hook(self, name: str, answer: Callable[[], Awaitable[Any] | None] = lambda: None) -> Callable[[Target], Any]:
        def admit(target: Target) -> Awaitable[Any] | None:
            assert target is TARGET
            self.order.append(name)
            return answer()

        return admit


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def _twisted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do as Scrapy does with a reactor other than asyncio's; it asks which one is installed, and here none is."""
    monkeypatch.setattr(gate_module, "deferred_from_coro", Deferred.fromCoroutine)
    monkeypatch.setattr(gate_module, "ensure_awaitable", lambda awaitable: awaitable)


def excluding() -> None:
    raise Exclude("mine")


async def a_moment() -> None:
    await asyncio.sleep(0)


async def excluding_later() -> None:
    await asyncio.sleep(0)
    raise Exclude("mine")


def test_hooks_are_asked_in_order_and_at_once(asked: Asked) -> None:
    assert Gate([asked.hook("a"), asked.hook("b")]).admit(TARGET) is None
    assert asked.order == ["a", "b"]
    assert Gate([]).admit(TARGET) is None


def test_the_first_that_excludes_ends_the_asking(asked: Asked) -> None:
    with pytest.raises(Exclude) as excluded:
        Gate([asked.hook("a", excluding), asked.hook("b")]).admit(TARGET)
    assert excluded.value.reason == "mine"
    assert asked.order == ["a"]


def test_the_deferred_of_the_last_hook_is_passed_on_as_it_is(asked: Asked) -> None:
    waiting: Deferred[None] = Deferred()
    assert Gate([asked.hook("a"), asked.hook("b", lambda: waiting)]).admit(TARGET) is waiting


@pytest.mark.usefixtures("_twisted")
def test_later_hooks_are_asked_when_an_earlier_one_has_waited(asked: Asked) -> None:
    waiting: Deferred[None] = Deferred()
    more: Deferred[None] = Deferred()
    gate = Gate([asked.hook("a", lambda: waiting), asked.hook("b"), asked.hook("c", lambda: more), asked.hook("d")])
    admitted = gate.admit(TARGET)
    assert admitted is not None
    assert asked.order == ["a"]
    waiting.callback(None)
    assert asked.order == ["a", "b", "c"]
    assert not admitted.called
    more.callback(None)
    assert asked.order == ["a", "b", "c", "d"]
    assert admitted.called


@pytest.mark.usefixtures("_twisted")
@pytest.mark.parametrize("last", [excluding, lambda: fail(Exclude("mine"))])
def test_an_exclusion_after_a_wait_comes_through_the_deferred(asked: Asked, last: Callable[[], Any]) -> None:
    admitted = Gate([asked.hook("a", lambda: succeed(None)), asked.hook("b", last)]).admit(TARGET)
    assert admitted is not None
    failures: list[Any] = []
    admitted.addErrback(lambda failure: failures.append(failure.value))
    assert isinstance(failures[0], Exclude)


@pytest.mark.usefixtures("_twisted")
def test_cancelling_reaches_what_is_waited_for(asked: Asked) -> None:
    cancelled: list[Deferred[None]] = []
    waiting: Deferred[None] = Deferred(cancelled.append)
    admitted = Gate([asked.hook("a", lambda: waiting), asked.hook("b")]).admit(TARGET)
    assert admitted is not None
    admitted.addErrback(lambda _: None)
    admitted.cancel()
    assert cancelled == [waiting]
    assert asked.order == ["a"]


@pytest.mark.parametrize("first", ["coroutine", "deferred", "future"])
@pytest.mark.parametrize("second", ["none", "coroutine", "deferred"])
def test_whatever_can_be_awaited_works_in_an_asyncio_loop(asked: Asked, first: str, second: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        def answer(kind: str) -> Awaitable[None] | None:
            if kind == "coroutine":
                return a_moment()
            if kind == "future":
                future = loop.create_future()
                loop.call_soon(future.set_result, None)
                return future
            if kind == "deferred":
                deferred: Deferred[None] = Deferred()
                loop.call_later(0.002, deferred.callback, None)  # after the gate has begun to wait
                return deferred
            return None

        gate = Gate([asked.hook("a", lambda: answer(first)), asked.hook("b", lambda: answer(second)), asked.hook("c")])
        admitted = gate.admit(TARGET)
        assert admitted is not None
        await asyncio.wait_for(admitted.asFuture(loop), 10)

    asyncio.run(main())
    assert asked.order == ["a", "b", "c"]


def test_a_coroutine_that_excludes_in_an_asyncio_loop(asked: Asked) -> None:
    async def main() -> None:
        admitted = Gate([asked.hook("a", excluding_later), asked.hook("b")]).admit(TARGET)
        assert admitted is not None
        with pytest.raises(Exclude):
            await asyncio.wait_for(admitted.asFuture(asyncio.get_running_loop()), 10)

    asyncio.run(main())
    assert asked.order == ["a"]
