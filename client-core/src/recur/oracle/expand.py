"""Expands recurrence rules with python-dateutil and zoneinfo, as an oracle that shares nothing with the engine.

Reads one JSON object a line: {"rule", "start", "zone", "count"}; writes one a line: [[wall, instant], ...].
Rules of days and longer are dateutil's; rules of hours and minutes are stepped here in UTC.
"""

import json
import sys
from datetime import datetime, timedelta, timezone
from itertools import islice
from zoneinfo import ZoneInfo

from dateutil.rrule import rrulestr

DAYS = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"]


def resolved(walls, zone, count):
    """Walls in a zone: the first of two, the shifted one of none; sorted, each instant once."""
    seen = {}
    for wall in walls:
        instant = wall.replace(tzinfo=zone).astimezone(timezone.utc)
        exists = instant.astimezone(zone).replace(tzinfo=None) == wall
        if instant not in seen or exists:
            seen[instant] = wall
    return [(seen[instant], instant) for instant in sorted(seen)][:count]


def elapsed(parts, start, zone, count):
    """Rules of hours and minutes, one step after the other."""
    numbers = lambda name: [int(it) for it in parts[name].split(",")] if name in parts else None
    months, days, hours, minutes = (numbers(name) for name in ("BYMONTH", "BYMONTHDAY", "BYHOUR", "BYMINUTE"))
    weekdays = parts["BYDAY"].split(",") if "BYDAY" in parts else None
    hourly = parts["FREQ"] == "HOURLY"
    step = timedelta(minutes=int(parts.get("INTERVAL", 1)) * (60 if hourly else 1))
    begin = start.replace(tzinfo=zone).astimezone(timezone.utc)
    at = begin
    if hourly and minutes:
        local = at.astimezone(zone)
        at -= timedelta(minutes=local.minute, seconds=local.second)
    found, limit = [], begin + timedelta(days=800 if hourly else 40)
    while at < limit and len(found) < count:
        local = at.astimezone(zone)
        length = ((local.replace(day=28, tzinfo=None) + timedelta(days=4)).replace(day=1) - timedelta(days=1)).day
        fits = (
            (months is None or local.month in months)
            and (days is None or local.day in days or local.day - length - 1 in days)
            and (weekdays is None or DAYS[local.weekday()] in weekdays)
            and (hours is None or local.hour in hours)
            and (hourly or minutes is None or local.minute in minutes)
        )
        if fits:
            if hourly and minutes:
                for minute in sorted(minutes):
                    one = at + timedelta(minutes=minute - local.minute, seconds=start.second - local.second)
                    if one >= begin and (not found or one > found[-1]):
                        found.append(one)
            else:
                found.append(at)
        at += step
    return [(one.astimezone(zone).replace(tzinfo=None), one) for one in found[:count]]


def main():
    for line in sys.stdin:
        ask = json.loads(line)
        start, zone = datetime.strptime(ask["start"], "%Y%m%dT%H%M%S"), ZoneInfo(ask["zone"])
        parts = dict(part.split("=") for part in ask["rule"].split(";"))
        if parts["FREQ"] in ("HOURLY", "MINUTELY"):
            found = elapsed(parts, start, zone, ask["count"])
        else:
            # More than are asked for, as some may fall together where clocks change.
            walls = islice(rrulestr(ask["rule"], dtstart=start), ask["count"] + 8)
            found = resolved(list(walls), zone, ask["count"])
        print(json.dumps([[wall.strftime("%Y%m%dT%H%M%S"), int(at.timestamp())] for wall, at in found]), flush=True)


main()
