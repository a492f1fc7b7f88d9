"""Two generations, bounded in entries and bytes."""

from quicrpc.h3.cache import BoundedCache


def cache(*, max_entries: int = 4, max_bytes: int = 1000) -> BoundedCache[str, str]:
    return BoundedCache(lambda key, value: len(value), max_entries=max_entries, max_bytes=max_bytes)


def test_finds_what_it_keeps() -> None:
    kept = cache()
    assert kept.get("a") is None
    kept.keep("a", "x")
    assert kept.get("a") == "x"


def test_entries_are_bounded() -> None:
    kept = cache(max_entries=4)
    for number in range(100):
        kept.keep(str(number), "x")
        assert len(kept) <= 4
    assert kept.get("99") == "x"
    assert kept.get("0") is None


def test_bytes_are_bounded() -> None:
    kept = cache(max_entries=100, max_bytes=20)
    for number in range(10):
        kept.keep(str(number), "12345")
        assert len(kept) * 5 <= 20


def test_what_is_used_survives_what_is_not() -> None:
    kept = cache(max_entries=4)
    kept.keep("used", "x")
    for number in range(20):
        kept.keep(str(number), "x")
        assert kept.get("used") == "x"


def test_what_is_too_large_is_not_kept() -> None:
    kept = cache(max_bytes=10)
    kept.keep("small", "123")
    kept.keep("large", "123456")
    assert (kept.get("small"), kept.get("large")) == ("123", None)
