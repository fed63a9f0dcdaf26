"""Which workitems a query finds, and what of them it gets (PS3.4 C.2.2.2, CC.2.8).

Kinds of matching, by the key's value: none (universal), one value, wildcards ``*`` and ``?`` in texts, a list of UIDs
or of values, a range of dates or times, and sequences, whose one item holds keys of its own. Names match whatever
their case and however many empty components end them. Dates and times without an offset are in the zone that Timezone
Offset From UTC of the query says, else in the site's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from copy import deepcopy
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from dicom_io.data_sets.character_set import UTF_8
from dicom_io.ups.status import UpsRefusal, UpsStatus

NO_KEYS = frozenset({"SpecificCharacterSet", "TimezoneOffsetFromUTC", "QueryRetrieveLevel"})
"""Elements of an identifier that say how to read it, not what to look for."""
HIDDEN = frozenset({"TransactionUID"})
"""Never told to anybody and never matched: whoever knows it holds the lock (PS3.4 CC.2.7.3)."""
_WILDCARD_VRS = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
_RANGE_VRS = frozenset({"DA", "DT", "TM"})
_INSTANT = re.compile(r"(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?(?:\.(\d{1,6}))?([+-]\d{4})?")
_RANGE = re.compile(r"(?P<first>[\d.]*(?:[+-]\d{4}(?=-|$))?)-(?P<last>[\d.]*(?:[+-]\d{4})?)")
_OFFSET_ONLY = re.compile(r"\d+(?:\.\d+)?-(?:0\d|1[0-4])[0-5]\d")


def matches(workitem: Dataset, keys: Dataset, site_zone: tzinfo = UTC) -> bool:
    """Return whether the workitem has every key's value.

    Raises
    ------
    UpsRefusal
        A key cannot be understood.
    """
    offset = str(keys.get("TimezoneOffsetFromUTC") or "")
    zone = _zone(offset, site_zone) if re.fullmatch(r"[+-]\d{4}", offset) else site_zone
    return _has_all(workitem, keys, zone)


def _has_all(held: Dataset, keys: Dataset, zone: tzinfo) -> bool:
    return all(_matches(held, key, zone) for key in keys if _is_key(key))


def answer(workitem: Dataset, keys: Dataset) -> Dataset:
    """Return what a C-FIND response holds: each asked attribute as it is, empty where the workitem has none.

    SOP Class and Instance UID are always there, the character set where a text needs it.
    """
    found = _selected(workitem, keys)
    for keyword in ("SOPClassUID", "SOPInstanceUID"):
        found.add(deepcopy(workitem[keyword]))
    declare_character_set(found)
    return found


def declare_character_set(dataset: Dataset) -> None:
    """Say that the texts are in UTF-8, where one is not ASCII."""
    if "SpecificCharacterSet" in dataset:
        del dataset.SpecificCharacterSet
    if any(not str(element.value).isascii() for element in dataset.iterall() if element.VR != "SQ"):
        dataset.SpecificCharacterSet = UTF_8


def unsupported_keys(workitem: Dataset, keys: Dataset) -> bool:
    """Return whether a key asks for what no workitem here holds (status FF01 then)."""
    return any(_is_key(key) and key.tag not in workitem and key.tag.is_private for key in keys)


def _is_key(key: DataElement) -> bool:
    return key.keyword not in NO_KEYS and key.keyword not in HIDDEN and key.tag.element != 0


def _selected(held: Dataset, keys: Dataset) -> Dataset:
    chosen = Dataset()
    for key in keys:
        if not _is_key(key):
            continue
        if key.tag not in held:
            chosen.add_new(key.tag, key.VR, [] if key.VR == "SQ" else "")
        elif key.VR == "SQ" and key.value and len(key.value[0]) and held[key.tag].VR == "SQ":
            chosen.add_new(key.tag, "SQ", [_selected(item, key.value[0]) for item in held[key.tag].value])
        else:
            chosen.add(deepcopy(held[key.tag]))
    return chosen


def _matches(held: Dataset, key: DataElement, zone: tzinfo) -> bool:
    if _is_universal(key):
        return True
    element = held.get(key.tag)
    if key.VR == "SQ":
        items = element.value if element is not None and element.VR == "SQ" else ()
        if len(key.value) != 1:
            raise UpsRefusal(UpsStatus.UNABLE_TO_PROCESS, "a sequence key needs exactly one item")
        inner = key.value[0]
        return all(_is_universal(part) for part in inner if _is_key(part)) or any(
            _has_all(item, inner, zone) for item in items
        )
    if element is None or element.VR == "SQ":
        return False
    wanted = list(_texts(key))
    return any(_one(key.VR, text, value, zone) for value in _texts(element) for text in wanted)


def _is_universal(key: DataElement) -> bool:
    if key.VR == "SQ":
        return not key.value or (len(key.value) == 1 and all(_is_universal(part) for part in key.value[0]))
    texts = list(_texts(key))
    return not texts or (key.VR in _WILDCARD_VRS and all(text and not text.strip("*") for text in texts))


def _texts(element: DataElement) -> Iterator[str]:
    """Yield the values as texts, empty ones left out."""
    value = element.value
    several: Iterable[object] = value if isinstance(value, list) or element.VM > 1 else [value]
    for one in several:
        text = str(one).strip(" \0") if one is not None else ""
        if text:
            yield text


def _one(vr: str, wanted: str, value: str, zone: tzinfo) -> bool:
    if vr in _RANGE_VRS:
        return _within(vr, wanted, value, zone)
    if vr == "PN":
        wanted, value = _plain_name(wanted), _plain_name(value)
    if vr in _WILDCARD_VRS and ("*" in wanted or "?" in wanted):
        return _like(wanted, value)
    return wanted == value


def _plain_name(name: str) -> str:
    return "=".join(group.rstrip("^ ") for group in name.casefold().split("=")).rstrip("=")


def _like(pattern: str, value: str) -> bool:
    """Match ``*`` and ``?`` in at most pattern times value steps, so that no pattern can hold the server up."""
    position = fallback = 0
    star = -1
    index = 0
    while position < len(value):
        if index < len(pattern) and pattern[index] == "*":
            star, fallback, index = index, position, index + 1
        elif index < len(pattern) and pattern[index] in ("?", value[position]):
            index, position = index + 1, position + 1
        elif star >= 0:
            fallback += 1
            position, index = fallback, star + 1
        else:
            return False
    return not pattern[index:].strip("*")


def _within(vr: str, wanted: str, value: str, zone: tzinfo) -> bool:
    found = _span(vr, value, zone)
    if found is None:
        return wanted == value
    first, last = wanted, wanted
    if "-" in wanted and not (vr == "DT" and _OFFSET_ONLY.fullmatch(wanted)):
        parts = _RANGE.fullmatch(wanted)
        if parts is None:
            raise UpsRefusal(UpsStatus.UNABLE_TO_PROCESS, "a range of dates or times cannot be understood")
        first, last = parts["first"], parts["last"]
    begin, end = _span(vr, first, zone) if first else None, _span(vr, last, zone) if last else None
    if (first and begin is None) or (last and end is None):
        raise UpsRefusal(UpsStatus.UNABLE_TO_PROCESS, "a date or time cannot be understood")
    return (begin is None or found[0] >= begin[0]) and (end is None or found[0] <= end[1])


def _span(vr: str, text: str, zone: tzinfo) -> tuple[datetime, datetime] | None:
    """Return the first and the last instant a date or time can mean; shortened values are whole spans (PS3.5 6.2)."""
    parts = _INSTANT.fullmatch(f"19700101{text}" if vr == "TM" else text)
    if parts is None:
        return None
    numbers = [int(part) if part is not None else None for part in parts.groups()[:6]]
    zone = _zone(parts[8], zone)
    year, month, day, hour, minute, second = numbers
    try:
        begin = datetime(
            year or 1, month or 1, day or 1, hour or 0, minute or 0, min(second or 0, 59), tzinfo=zone
        ) + timedelta(microseconds=int((parts[7] or "0").ljust(6, "0")))
        return begin, begin + _width(begin, numbers, fraction=parts[7] is not None)
    except (ValueError, OverflowError):
        return None


def _zone(offset: str | None, otherwise: tzinfo) -> tzinfo:
    if offset is None:
        return otherwise
    minutes = (60 * int(offset[1:3]) + int(offset[3:])) * (1 if offset[0] == "+" else -1)
    return timezone(timedelta(minutes=max(-1439, min(1439, minutes))))


def _width(begin: datetime, numbers: list[int | None], *, fraction: bool) -> timedelta:
    """Return how much later the last instant is that a value of this precision means."""
    if fraction:
        return timedelta(0)
    precision = sum(number is not None for number in numbers)
    if precision >= 3:
        units = {3: timedelta(days=1), 4: timedelta(hours=1), 5: timedelta(minutes=1), 6: timedelta(seconds=1)}
        return units[precision] - timedelta(microseconds=1)
    following = begin.replace(year=begin.year + 1) if precision == 1 else _next_month(begin)
    return following - begin - timedelta(microseconds=1)


def _next_month(begin: datetime) -> datetime:
    return begin.replace(year=begin.year + begin.month // 12, month=begin.month % 12 + 1)
