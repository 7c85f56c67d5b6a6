#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes what the calendar check compares with, in the machine's own int64, to standard output.

Independent of the C code: dates come from datetime, the zones from zoneinfo (which reads the same
system zone database, so the data cannot differ, with code of its own); the instants of offset
changes are read from the zone files.

    expect.py PART PARTS    one part of all zones
    expect.py ZONE...       these zones

Format: the number of specs, each as kind, anchor day, week start, number of boundaries, their day
numbers; then per zone its name in 48 bytes and 1 if all else is as in the zone before, or 0 and the
first day number, the number of days and the start of each, the number of offset changes and their
instants, the number of runs of hours, each as its number of hour starts and those.
"""
import calendar
import datetime
import os
import struct
import sys
import zoneinfo

HOUR, DAY, WEEK, MONTH, YEAR = 1, 2, 3, 4, 5
UTC = datetime.timezone.utc
EPOCH = datetime.date(1970, 1, 1).toordinal()
FIRST = datetime.date(1968, 12, 1)
LAST = datetime.date(2039, 2, 28)
FROM = 0
UNTIL = int(datetime.datetime(2038, 1, 1, tzinfo=UTC).timestamp())


def write(*numbers):
    sys.stdout.buffer.write(struct.pack("=%dq" % len(numbers), *numbers))


def day_number(date):
    return date.toordinal() - EPOCH


def specs():
    days = range(day_number(FIRST), day_number(LAST) + 1)
    yield DAY, 1, 1, list(days)
    for start in range(7):  # Sunday is 0
        yield WEEK, 1, start, [
            d for d in days if datetime.date.fromordinal(d + EPOCH).isoweekday() % 7 == start
        ]
    for anchor in range(1, 32):
        boundaries = []
        for year in range(FIRST.year, LAST.year + 1):
            for month in range(1, 13):
                day = min(anchor, calendar.monthrange(year, month)[1])
                date = datetime.date(year, month, day)
                if FIRST <= date <= LAST:
                    boundaries.append(day_number(date))
        yield MONTH, anchor, 1, boundaries
    for anchor in range(1, 32):
        yield YEAR, anchor, 1, [
            day_number(datetime.date(year, 1, anchor)) for year in range(FIRST.year + 1, LAST.year + 1)
        ]


def local(t, zone):
    """The wall clock at that instant, without its zone."""
    return datetime.datetime.fromtimestamp(t, zone).replace(tzinfo=None, fold=0)


def day_start(date, zone):
    """The first instant at which the wall clock shows that date's midnight or anything later."""
    midnight = datetime.datetime(date.year, date.month, date.day)
    first = int(midnight.replace(tzinfo=zone, fold=0).timestamp())
    if local(first, zone) == midnight:
        return first
    # The clock jumps over it: between the two readings of a missing time lies the jump.
    low = int(midnight.replace(tzinfo=zone, fold=1).timestamp()) - 1
    while first - low > 1:
        middle = (low + first) // 2
        if local(middle, zone) >= midnight:
            first = middle
        else:
            low = middle
    return first


def offset(t, zone):
    return int(datetime.datetime.fromtimestamp(t, zone).utcoffset().total_seconds())


def file_read(name):
    """The instants, offsets and final rule listed in a zone file (RFC 8536, version 2 data)."""
    with open(os.path.join(zoneinfo.TZPATH[0], name), "rb") as file:
        data = file.read()
    at = 0
    for size in (4, 8):
        isut, isstd, leap, times, types, chars = struct.unpack(">6l", data[at + 20 : at + 44])
        at += 44
        instants = struct.unpack(">%d%s" % (times, "l" if size == 4 else "q"), data[at : at + size * times])
        at += size * times
        kinds = data[at : at + times]
        at += times
        offsets = [struct.unpack(">l", data[at + 6 * i : at + 6 * i + 4])[0] for i in range(types)]
        at += 6 * types + chars + leap * (size + 4) + isstd + isut
    return instants, [offsets[kind] for kind in kinds], data[at:].strip()


def behaviour(name):
    """What a zone does from FIRST on, so that zones that do the same come one after the other."""
    instants, offsets, rule = file_read(name)
    begin = day_number(FIRST) * 86400 - 86400
    last = max([i for i, t in enumerate(instants) if t <= begin], default=None)
    before = offset(begin, zoneinfo.ZoneInfo(name)) if last is None else offsets[last]
    return rule, before, [(t, o) for t, o in zip(instants, offsets) if t > begin]


def changes(name, zone, starts):
    """Every instant at which the offset changes: as listed, and after the list as the days show."""
    listed = [t for t in file_read(name)[0] if FROM - 10 * 86400 <= t < UNTIL + 10 * 86400]
    found = [t for t in listed if offset(t, zone) != offset(t - 1, zone)]
    end = listed[-1] if listed else starts[0]
    later = [t for t in starts if t > end]
    for low, high in zip(later, later[1:]):
        if offset(low, zone) == offset(high, zone):
            continue
        while high - low > 1:
            middle = (low + high) // 2
            if offset(middle, zone) == offset(low, zone):
                low = middle
            else:
                high = middle
        found.append(high)
    return sorted(set(found))


def hour_starts(begin, end, zone, jumps):
    """When the wall clock shows a whole hour, or changes to another hour, in [begin, end)."""
    inside = [t for t in jumps if begin <= t < end]
    found = set()
    for t in inside:
        before, after = local(t - 1, zone), local(t, zone)
        if before.replace(minute=0, second=0) != after.replace(minute=0, second=0):
            found.add(t)
    edges = [begin] + inside + [end]
    for low, high in zip(edges, edges[1:]):  # the clock runs evenly in between
        now = local(low, zone)
        found.update(range(low + -(now.minute * 60 + now.second) % 3600, high, 3600))
    return sorted(found)


def zone_names():
    with open(os.path.join(zoneinfo.TZPATH[0], "tzdata.zi"), encoding="ascii") as file:
        for line in file:
            words = line.split()
            if words[0] == "Z":
                yield words[1]
            elif words[0] == "L":
                yield words[2]


def write_zone(name):
    zone = zoneinfo.ZoneInfo(name)
    days = range(day_number(FIRST), day_number(LAST) + 1)
    starts = [day_start(datetime.date.fromordinal(d + EPOCH), zone) for d in days]
    jumps = changes(name, zone, starts)
    runs = [hour_starts(t - 4 * 3600, t + 4 * 3600, zone, jumps) for t in jumps]
    runs += [hour_starts(t, t + 26 * 3600, zone, jumps) for t in starts[::30]]
    runs = [run for run in runs if run[0] >= FROM]
    write(days[0], len(days), *starts)
    write(len(jumps), *jumps)
    write(len(runs))
    for run in runs:
        write(len(run), *run)


def main():
    if sys.argv[1].isdigit():
        part, parts = int(sys.argv[1]), int(sys.argv[2])
        zones = sorted((behaviour(name), name) for name in zone_names())
        zones = zones[len(zones) * part // parts : len(zones) * (part + 1) // parts]
    else:
        zones = [(behaviour(name), name) for name in sys.argv[1:]]
    every = list(specs())
    write(len(every))
    for kind, anchor, week_start, boundaries in every:
        write(kind, anchor, week_start, len(boundaries), *boundaries)
    previous = None
    for does, name in zones:
        sys.stdout.buffer.write(name.encode("ascii").ljust(48, b"\0"))
        write(int(does == previous))
        if does != previous:
            write_zone(name)
        previous = does


main()
