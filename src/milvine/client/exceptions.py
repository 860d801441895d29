"""What the client raises, with the names and bases that 1.x users catch (specification 5.1).

ValueError
  ParamError                 an argument is wrong; nothing was sent
  ConnectError
    NotConnectError          nobody answers at the address
    RepeatingConnectError
    ConnectionPoolError
TimeoutError
  FutureTimeoutError         an asynchronous result was not there in time
AttributeError
  VersionError               the server's version is not one this client speaks to
  DeprecatedError            a method 1.x removed
  ClientClosedError          a call after close()
"""

from __future__ import annotations


class ParamError(ValueError):
    pass


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


class VersionError(AttributeError):
    pass


class DeprecatedError(AttributeError):
    @classmethod
    def function(cls, name: str) -> DeprecatedError:
        return cls(f"Function {name} has been deprecated")


class ClientClosedError(AttributeError):
    """1.x raises a bare AttributeError here; its text leads, for those who match on it."""

    def __init__(
        self, message: str = "'NoneType' object has no attribute 'fetch': the client was closed"
    ) -> None:
        super().__init__(message)
