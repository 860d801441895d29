"""What the client raises, with the names and bases that 1.x users catch (specification 5.1).

ValueError
  ParamError                 an argument is wrong; nothing was sent
  ConnectError
    NotConnectError          nobody answers at the address
    RepeatingConnectError
    ConnectionPoolError
TimeoutError
  FutureTimeoutError         an asynchronous result was not there in time
TransportFailed              an asynchronous call got no reply; `grpc.RpcError` as well
AttributeError
  VersionError               the server's version is not one this client speaks to
  DeprecatedError            a method 1.x removed
  ClientClosedError          a call after close()
"""

from __future__ import annotations

from typing import Any

from milvine.interrupts import interrupts

_VALUE_CHARACTERS_MAX = 1000  # of an illegal value in a message; a list of ids can be long


class ParamError(ValueError):
    """An argument is wrong; nothing was sent."""

    @classmethod
    def illegal(cls, parameter: str, value: object, reason: str = "") -> ParamError:
        """In the words of 1.x (specification 5.5), with a reason of ours behind them."""
        try:
            text = str(value).encode(errors="backslashreplace").decode()
        except Exception as error:  # the value's own: it cannot be shown
            if interrupts(error):
                raise
            text = f"of type {type(value).__name__}"
        if len(text) > _VALUE_CHARACTERS_MAX:
            text = f"{text[:_VALUE_CHARACTERS_MAX]}..."
        return cls(f"`{parameter}` value {text} is illegal{f': {reason}' if reason else ''}")


class ConnectError(ValueError):
    pass


class NotConnectError(ConnectError):
    pass


class RepeatingConnectError(ConnectError):
    pass


class ConnectionPoolError(ConnectError):
    pass


class FutureTimeoutError(TimeoutError):
    pass


class TransportFailed(Exception):
    """The call got no reply. `code()` is a `grpc.StatusCode`; `details()` say why, as of the
    `grpc.RpcError` that 1.x raises here, which it is as well where the server was called over gRPC.

    `unsent`: the request never left this process. `lost`: the connection broke, and whether the
    request was carried out before is not known. A call that took too long is neither.
    """

    def __init__(self, code: Any, details: str, unsent: bool = False, lost: bool = False) -> None:
        super().__init__(code, details)
        self._code, self._details = code, details
        self.unsent, self.lost = unsent, lost

    def code(self) -> Any:
        return self._code

    def details(self) -> str:
        return self._details

    def __str__(self) -> str:
        return f"{self._details} ({getattr(self._code, 'name', self._code)})"


class VersionError(AttributeError):
    pass


class DeprecatedError(AttributeError):
    @classmethod
    def function(cls, name: str) -> DeprecatedError:
        return cls(f"Function {name} has been deprecated")


class ClientClosedError(AttributeError):
    """1.x raises a bare AttributeError here."""

    def __init__(self, message: str = "The client was closed") -> None:
        super().__init__(message)
