"""Partition tags: what one may be, in the words of the specification (3.8 to 3.12)."""

from __future__ import annotations

from milvine.errors import DefaultPartitionDrop, IllegalPartition
from milvine.limits import DEFAULT_TAG, NAME_BYTES_MAX

_BLANKS = " \t\r\n"


def trimmed(tag: str) -> str:
    """A tag as it is stored and compared."""
    return tag.strip(_BLANKS)


def checked_tag(tag: str) -> str:
    """The tag, trimmed.

    Raises:
        IllegalPartition: nothing is left, or more than 255 bytes.
    """
    tag = trimmed(tag)
    if not tag:
        raise IllegalPartition("Invalid partition tag: . Partition tag should not be empty.")
    if len(tag.encode()) > NAME_BYTES_MAX:
        raise IllegalPartition(
            f"Invalid partition tag: {tag}. Partition tag exceed max length({NAME_BYTES_MAX})."
        )
    return tag


def tag_to_create(tag: str) -> str:
    """The tag of a new partition, trimmed. `_default` is refused with blanks around it as well."""
    if trimmed(tag) == DEFAULT_TAG:
        raise IllegalPartition(f"'{DEFAULT_TAG}' is built-in partition tag")
    return checked_tag(tag)


def tag_to_drop(tag: str) -> str:
    """The tag of a partition to drop, trimmed."""
    if trimmed(tag) == DEFAULT_TAG:
        raise DefaultPartitionDrop
    return checked_tag(tag)
