"""What the programs here share: checks that all run and are told one by one, and the values that go both ways."""

import math
import os
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Sequence
from datetime import date, datetime, time as clock, timedelta, timezone
from decimal import Decimal

URL = os.environ["TIDEWATER_URL"]
UTC = timezone.utc

# Longer than any test waits, so that only a cancel request ends it.
ENDLESS = "select count(*) from generate_series(1, 100000) a, generate_series(1, 100000) b where (a * 7 + b) % 11 = 3"

# Type by type what is written and read back, besides NULL.
VALUES = [
    ("boolean", [True, False]),
    ("smallint", [0, -32768, 32767]),
    ("integer", [0, -2147483648, 2147483647]),
    ("bigint", [0, -9223372036854775808, 9223372036854775807]),
    ("real", [0.0, 1.5, -0.25, 16777216.0, math.inf, -math.inf, math.nan]),
    ("double precision", [0.1, 5e-324, -1.7976931348623157e308, math.inf, -math.inf, math.nan]),
    ("numeric(30,10)", [Decimal("0E-10"), Decimal("-12345678901234567890.0123456789")]),
    ("numeric(10,2)", [Decimal("0.01"), Decimal("-99999999.99")]),
    ("text", ["", "a'b\\c\"d\n\t", "äöü € 😀", "x" * 100_000]),
    ("varchar(5)", ["", "12345"]),
    ("bytea", [b"", bytes(range(256))]),
    ("date", [date(1, 1, 1), date(2000, 2, 29), date(9999, 12, 31)]),
    ("time", [clock(0, 0), clock(23, 59, 59, 999999)]),
    ("timestamp", [datetime(1, 1, 1), datetime(2024, 2, 29, 12, 30, 15, 123456),
                   datetime(9999, 12, 31, 23, 59, 59, 999999)]),
    ("timestamptz", [datetime(1970, 1, 1, tzinfo=UTC), datetime(2024, 7, 1, 23, 59, 59, 1, tzinfo=UTC)]),
    ("interval", [timedelta(0), timedelta(days=-3, microseconds=1), timedelta(days=400, hours=5)]),
    ("uuid", [uuid.UUID(int=0), uuid.UUID("123e4567-e89b-12d3-a456-426614174000")]),
]
ARRAYS = [
    ("boolean[]", [[], [True, None, False]]),
    ("smallint[]", [[], [-32768, None, 32767]]),
    ("integer[]", [[], [1, None, -2147483648]]),
    ("bigint[]", [[9223372036854775807, None]]),
    ("double precision[]", [[1.5, None, -math.inf]]),
    ("numeric(10,2)[]", [[Decimal("1.50"), None]]),
    ("text[]", [[], ["", "a b", "NULL", None, "\"q\",{}\\'", "€"]]),
    ("date[]", [[date(2024, 2, 29), None]]),
    ("timestamp[]", [[datetime(2024, 2, 29, 12, 30, 15, 123456)]]),
    ("timestamptz[]", [[datetime(2024, 7, 1, 1, 2, 3, tzinfo=UTC), None]]),
    ("uuid[]", [[uuid.UUID("123e4567-e89b-12d3-a456-426614174000"), None]]),
]
DOCUMENT = {"name": "ä\"\\", "n": 1, "x": [1.5, None, True, {}], "empty": ""}

failures = []


def same(got, wanted):
    """Equal, of the same type, NaN equal to itself."""
    if isinstance(wanted, float) and isinstance(got, float) and math.isnan(wanted):
        return math.isnan(got)
    if isinstance(wanted, bytes) and isinstance(got, memoryview):
        got = bytes(got)
    if isinstance(wanted, list):
        return isinstance(got, list) and len(got) == len(wanted) and all(map(same, got, wanted))
    if isinstance(wanted, tuple):
        return isinstance(got, Sequence) and same(list(got), list(wanted))
    if isinstance(wanted, Decimal):
        return isinstance(got, Decimal) and str(got) == str(wanted)
    return isinstance(got, type(wanted)) and got == wanted


def expect(what, got, wanted):
    if not same(got, wanted):
        raise AssertionError(f"{what}: got {got!r:.300}, wanted {wanted!r:.300}")


def check(test):
    """Runs a test at once; one that fails is told at the end, and the others run."""
    began = time.monotonic()
    try:
        test()
    except Exception as error:
        failures.append(test.__name__)
        print(f"FAILED {test.__name__}: {type(error).__name__}: {error}")
        traceback.print_exc(limit=-3, file=sys.stdout)
    else:
        print(f"ok     {test.__name__} ({time.monotonic() - began:.1f} s)")
    return test


def later(action, seconds=1.0):
    """Runs an action beside what goes on."""
    timer = threading.Timer(seconds, action)
    timer.start()
    return timer


def finish():
    sys.stdout.flush()
    sys.exit(f"failed: {', '.join(failures)}" if failures else 0)
