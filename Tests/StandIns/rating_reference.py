"""Random plans and usage, and what they come to by an independent calculation with Python's decimal.

usage: rating_reference.py SEED COUNT; writes a JSON object a line: plan, times, lines, total, and twice late times, with what they
change of what was billed before.
"""

import json
import random
import sys
from decimal import ROUND_HALF_UP, Decimal, getcontext

# Enough that no quotient that has an end is cut.
getcontext().prec = 100

PLACES = {"USD": 2, "EUR": 2, "JPY": 0, "KWD": 3, "CLF": 4}
UNITS = {"minute": 60_000, "hour": 3_600_000}
ENGINES = ["pocketsphinx", "amazon-transcribe", "deepgram"]
LANGUAGES = ["en", "de", "pt-BR"]


def price(chance: random.Random, most: int) -> str:
    places = chance.choice([0, 1, 2, 4, 6, 12])
    digits = "".join(chance.choice("0123456789") for _ in range(places))
    return f"{chance.randrange(most)}.{digits}" if places else str(chance.randrange(most))


def charge(chance: random.Random, engine: str | None, language: str | None) -> dict:
    ends = sorted(chance.sample(range(1, 500), chance.randrange(4)))
    return {
        "engine": engine,
        "language": language,
        "unit": chance.choice(list(UNITS)),
        "mode": chance.choice(["graduated", "volume"]),
        "includedMinutes": chance.choice([0, 0, 1, 60, 300]),
        "tiers": [{"upTo": end, "unitPrice": price(chance, 3)} for end in [*ends, None]],
    }


def plan(chance: random.Random) -> dict:
    charges = []
    if chance.random() < 0.5:
        charges.append(charge(chance, chance.choice(ENGINES), chance.choice(LANGUAGES)))
    if chance.random() < 0.5:
        charges.append(charge(chance, chance.choice(ENGINES), None))
    # Sometimes there is time that has no price.
    if not charges or chance.random() < 0.8:
        charges.append(charge(chance, None, None))
    return {
        "currency": chance.choice(list(PLACES)),
        "time": chance.choice(["audio", "connected"]),
        "increment": chance.choice([1, 100, 1_000, 6_000, 60_000]),
        "minimum": chance.choice([0, 0, 15_000, 10_500]),
        "commitment": chance.choice(["0", "0", price(chance, 500)]),
        "charges": charges,
    }


def length(chance: random.Random) -> int:
    return chance.choice([0, 1, chance.randrange(20_000), chance.randrange(20_000_000)])


def parts_before(chance: random.Random) -> list[dict]:
    """Of a session that a period's end cuts: at one engine after the other, some of it without audio."""
    made = []
    for _ in range(chance.choice([1, 1, 2, 3])):
        connected = length(chance)
        audio = chance.choice([connected, connected, 0, chance.randint(0, connected)])
        made.append({"engine": chance.choice(ENGINES), "audio": audio, "connected": connected})
    return made


def times(chance: random.Random, first: int) -> list[dict]:
    """Of sessions that are numbered from `first` on; those of the period in what its plan bills."""
    made = []
    for number in range(first, first + chance.randrange(12)):
        language, earlier = chance.choice(LANGUAGES), chance.choice([[], [], parts_before(chance)])
        begins = not earlier
        # A session may have been at several engines, one after the other.
        for _ in range(chance.choice([1, 1, 2, 3])):
            made.append(
                {
                    "session": number,
                    "engine": chance.choice(ENGINES),
                    "language": language,
                    "isBeginning": begins,
                    "earlier": earlier,
                    "milliseconds": length(chance),
                }
            )
            begins = False
    return made


def billed(milliseconds: int, plan: dict) -> int:
    if milliseconds == 0:
        return 0
    return max(-(-milliseconds // plan["increment"]) * plan["increment"], plan["minimum"])


def rounded(amount: Decimal, places: int) -> Decimal:
    return amount.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)


def plain(amount: Decimal) -> str:
    return format(rounded(amount, 12).normalize() + 0, "f")


def cost(milliseconds: int, charge: dict) -> Decimal:
    """Divides once and last: a third of a minute has no end, and what is made of it would be rounded twice."""
    unit, total, start = UNITS[charge["unit"]], Decimal(0), 0
    for tier in charge["tiers"]:
        end = milliseconds if tier["upTo"] is None else min(milliseconds, tier["upTo"] * unit)
        if charge["mode"] == "volume" and end == milliseconds:
            return milliseconds * Decimal(tier["unitPrice"]) / unit
        if charge["mode"] == "graduated" and end > start:
            total += (end - start) * Decimal(tier["unitPrice"])
            start = end
    return total / unit


def covers(plan: dict, time: dict) -> list[int]:
    return [
        index
        for index, charge in enumerate(plan["charges"])
        if charge["engine"] in (None, time["engine"]) and charge["language"] in (None, time["language"])
    ]


def rate(plan: dict, earlier: dict | None, times: list[dict]) -> tuple[list[dict], Decimal]:
    """A session's parts that have a price are billed as one; what it had in an earlier period was billed by that one's plan.

    Time has a price if it has one by the plan of its own period, and what was billed then went by what that plan counts.
    """
    had: dict[int, list[int]] = {}
    places = PLACES[plan["currency"]]
    sums: dict[int | None, list[int]] = {index: [0, 0, 0] for index in range(len(plan["charges"]))}
    for time in times:
        if time["session"] not in had:
            paid_for = [
                part for part in time["earlier"] if earlier and covers(earlier, part | {"language": time["language"]})
            ]
            whole = sum(part[plan["time"]] for part in paid_for)
            paid_then = billed(sum(part[earlier["time"]] for part in paid_for), earlier) if earlier else 0
            had[time["session"]] = [whole, paid_then]
        so_far = had[time["session"]]
        taker = next(iter(covers(plan, time)), None)
        paid = time["milliseconds"]
        if taker is not None:
            paid = max(0, billed(so_far[0] + time["milliseconds"], plan) - so_far[1])
            so_far[0] += time["milliseconds"]
            so_far[1] += paid
        sums_of = sums.setdefault(taker, [0, 0, 0])
        sums_of[0] += time["isBeginning"]
        sums_of[1] += time["milliseconds"]
        sums_of[2] += paid
    lines, total = [], Decimal(0)
    for index, (sessions, raw, paid) in sums.items():
        charge = plan["charges"][index] if index is not None else None
        included = min(paid, charge["includedMinutes"] * 60_000) if charge else 0
        precise = cost(paid - included, charge) if charge else Decimal(0)
        amount = rounded(precise, places)
        total += amount
        lines.append(
            {
                "subject": "unpriced" if index is None else f"charge {index}",
                "sessions": sessions,
                "raw": raw,
                "billed": paid,
                "included": included,
                "precise": plain(precise),
                "amount": str(amount),
            }
        )
    lacking = Decimal(plan["commitment"]) - total
    if lacking > 0:
        amount = rounded(lacking, places)
        total += amount
        lines.append(
            {
                "subject": "commitment",
                "sessions": 0,
                "raw": 0,
                "billed": 0,
                "included": 0,
                "precise": plain(lacking),
                "amount": str(amount),
            }
        )
    return lines, total


FIGURES = ("sessions", "raw", "billed", "included")
MONEY = ("precise", "amount")


def difference(now: list[dict], before: list[dict]) -> list[dict]:
    """Line by line, rate(all) - rate(billed); lines that are only in what was billed come last."""
    known = {line["subject"]: line for line in before}
    nothing = {"subject": "", **dict.fromkeys(FIGURES, 0), **dict.fromkeys(MONEY, "0")}
    gone = [{**nothing, "subject": subject} for subject in known if subject not in {line["subject"] for line in now}]
    changed = []
    for line in now + gone:
        was = known.get(line["subject"], nothing)
        figures = {name: line[name] - was[name] for name in FIGURES}
        money = {name: Decimal(line[name]) - Decimal(was[name]) for name in MONEY}
        if any(figures.values()) or any(money.values()):
            places = max(-Decimal(one["amount"]).as_tuple().exponent for one in (line, was))
            amount = format(money["amount"].quantize(Decimal(1).scaleb(-places)), "f")
            changed.append({"subject": line["subject"], **figures, "precise": plain(money["precise"]), "amount": amount})
    return changed


def main() -> None:
    chance = random.Random(int(sys.argv[1]))
    for _ in range(int(sys.argv[2])):
        made, used = plan(chance), times(chance, 0)
        earlier = chance.choice([made, plan(chance), None])
        lines, total = rate(made, earlier, used)
        known, billed_before, corrections = list(used), lines, []
        for turn in (1, 2):
            late = times(chance, 100 * turn)
            known += late
            now, _ = rate(made, earlier, known)
            corrections.append({"times": late, "lines": difference(now, billed_before)})
            billed_before = now
        case = {"plan": made, "earlier": earlier, "times": used, "lines": lines, "total": str(total)}
        print(json.dumps(case | {"corrections": corrections}))


main()
