"""Ray in one process: an actor is an object, and a call is made when its result is asked for."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any


class RayError(Exception): ...


class RayActorError(RayError):
    actor_init_failed = False


class ActorDiedError(RayActorError): ...


class InitFailedError(ActorDiedError):
    actor_init_failed = True


class ActorUnavailableError(RayActorError): ...


class GetTimeoutError(RayError): ...


class FakeRay:
    """The functions of Ray that `membench.execution.ray_workers` calls.

    Args:
        on_call: may raise, or change what a call returns; takes the method's name and the result.
    """

    exceptions = SimpleNamespace(
        RayError=RayError,
        ActorDiedError=ActorDiedError,
        ActorUnavailableError=ActorUnavailableError,
        GetTimeoutError=GetTimeoutError,
    )

    def __init__(self, on_call: Callable[[str, Any], Any] = lambda name, result: result) -> None:
        self.on_call = on_call
        self.dead_nodes: set[str] = set()
        self.killed: list[Any] = []
        self.options: list[dict[str, Any]] = []  #: of each actor

    @property
    def ray(self) -> FakeRay:
        """Be the connection to the cluster too."""
        return self

    def remote(self, kind: type) -> SimpleNamespace:
        def options(**given: Any) -> SimpleNamespace:
            self.options.append(given)
            return SimpleNamespace(remote=lambda *arguments: Actor(kind(*arguments)))

        return SimpleNamespace(options=options)

    def get(self, call: Callable[[], tuple[str, Any]], timeout: float | None = None) -> Any:
        return self.on_call(*call())

    def wait(self, calls: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        return calls, []

    def kill(self, actor: Actor) -> None:
        self.killed.append(actor)

    def nodes(self) -> list[dict[str, Any]]:
        names = ("here", "elsewhere")
        return [{"NodeID": name, "Alive": name not in self.dead_nodes} for name in names]


class Actor:
    """A handle; its calls return what `FakeRay.get` takes."""

    def __init__(self, host: Any) -> None:
        self.host = host

    def __getattr__(self, name: str) -> SimpleNamespace:
        def remote(*arguments: Any) -> Callable[[], tuple[str, Any]]:
            if name == "node_id":
                return lambda: (name, "here")
            return lambda: (name, getattr(self.host, name)(*arguments))

        return SimpleNamespace(remote=remote)
