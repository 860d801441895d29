"""A database to search in, as the tests of the engine have it."""

from tests.engine.conftest import database as database
from tests.engine.conftest import events as events
from tests.engine.conftest import vectors as vectors
