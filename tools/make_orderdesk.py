#!/usr/bin/python3
"""Makes the order desk: preference pairs whose good answer can be checked figure by figure.

A customer orders 1 to 4 items and writes each figure in one of several ways. The preferred answer
confirms every figure, normalised, in one set form. Two tasks differ in what is wrong with the rejected
one: with `--errors habits` it has bad habits of wording, such as a rounded price, which a model can do
without as soon as it wants to; with `--errors figures` it has one figure wrong or missing, or a
forbidden term, or both, which also a model that wants none makes when it is weak. Writes train.jsonl,
eval.jsonl and sft.jsonl (the training prompts with demonstrations of mixed quality). Row i depends
on the options, the seed and on i only.
"""
import argparse
import json
import os
import random
import re
import sys

import terminal

UNITS = {"crate": "crates", "box": "boxes", "bag": "bags", "bottle": "bottles", "sack": "sacks",
         "jar": "jars", "pack": "packs", "tray": "trays"}
PRODUCTS = ["apples", "pears", "plums", "cherries", "lemons", "grapes", "onions", "carrots",
            "potatoes", "tomatoes", "beans", "rice", "flour", "sugar", "salt", "honey", "tea",
            "coffee", "milk", "eggs", "walnuts", "olives", "pepper", "oats"]
MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September",
          "October", "November", "December"]
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
         "eleven", "twelve"]
YEAR = 2026

FORBIDDEN = ["no problem", "no worries", "cheap", "guarantee", "asap", "for sure", "trust me"]
LAPSES = [  # (what the set form says, what a lapse says instead)
    ("Thank you.", "No problem."), ("Thank you.", "No worries."), ("Thank you.", "For sure."),
    ("Kind regards.", "We guarantee it."), ("Kind regards.", "Trust me."),
    ("Kind regards.", "All cheap."), ("Kind regards.", "We send it asap."),
    ("We confirm", "Trust me, we confirm"), ("We confirm", "For sure we confirm"),
    ("delivery on", "delivery asap on"), ("We confirm", "We guarantee"),
]

# The habits of an answer; the first four are those of the task unless --kinds says otherwise.
HABITS = {"opening": "begins with a forbidden term", "number": "says \"your order\", no number",
          "price": "rounds the prices", "date": "says the month without the day",
          "amount": "says \"some\" for the quantities", "closing": "ends with a forbidden term"}
USUAL = list(HABITS)[:4]
TERM_KINDS = {"term", "opening", "closing"}  # they break no figure

LEVELS = [  # by hardness: items, odds of a wording other than the plain one, of figures that
            # resemble each other, of a subtle error, of a sentence that is beside the point
    {"items": (1, 1, 2), "wording": 0.4, "similar": 0.0, "subtle": 0.3, "filler": 0.0},
    {"items": (1, 2, 2, 3), "wording": 0.7, "similar": 0.3, "subtle": 0.6, "filler": 0.15},
    {"items": (2, 2, 3, 3, 4), "wording": 0.8, "similar": 0.6, "subtle": 0.8, "filler": 0.5},
    {"items": (3, 3, 4), "wording": 0.9, "similar": 0.9, "subtle": 0.95, "filler": 1.0},
]

PLAIN = {"items": (1, 1, 2), "wording": 0.0, "similar": 0.0, "subtle": 0.0, "filler": 0.0}

# --- the order ---------------------------------------------------------------------------------


def swap_digits(rng, digits):
    """Exchanges two different neighbouring digits; None where there are none."""
    places = [i for i in range(len(digits) - 1) if digits[i] != digits[i + 1]
              and not (i == 0 and digits[1] == "0")]
    if not places:
        return None
    i = rng.choice(places)
    return digits[:i] + digits[i + 1] + digits[i] + digits[i + 2:]


def resemble(rng, value, low, high):
    """A number that is easily taken for `value`: digits swapped, or one digit a step away."""
    swapped = swap_digits(rng, str(value))
    near = value + rng.choice([-10, -1, 1, 10])
    number = int(swapped) if swapped and rng.random() < 0.5 else near
    return min(max(number, low), high)


def draw_item(rng, product, before, level):
    quantity, price = rng.choice([rng.randint(1, 12), rng.randint(2, 60)]), rng.randint(15, 199) * 5
    if rng.random() < 0.3:
        price = rng.randint(75, 999)
    if before and rng.random() < level["similar"]:
        other = rng.choice(before)
        quantity = resemble(rng, other["quantity"], 1, 99)
        price = resemble(rng, other["price"], 75, 999)
    return {"quantity": quantity, "unit": rng.choice(list(UNITS)), "product": product,
            "price": price}


def draw_order(rng, level):
    items = []
    for product in rng.sample(PRODUCTS, rng.choice(level["items"])):
        items.append(draw_item(rng, product, items, level))
    return {"number": str(rng.randint(10000, 99999)), "items": items, "day": rng.randint(1, 28),
            "month": rng.randint(1, 12)}


# --- the customer's message --------------------------------------------------------------------


def euros(cents):
    return f"{cents // 100}.{cents % 100:02d}"


def amount(item):
    unit = item["unit"] if item["quantity"] == 1 else UNITS[item["unit"]]
    return f"{item['quantity']} {unit} of {item['product']}"


def say_item(rng, item, odds):
    unit = item["unit"] if item["quantity"] == 1 else UNITS[item["unit"]]
    quantity = item["quantity"]
    if quantity < len(WORDS) and rng.random() < odds:
        quantity = WORDS[quantity]
    price = euros(item["price"])
    if rng.random() >= odds:
        return f"{quantity} {unit} of {item['product']} at {price}"
    what = rng.choice([f"{quantity} {unit} of {item['product']}",
                       f"{item['product']}, {quantity} {unit},"])
    return what + " " + rng.choice([f"at {price} each", f"for EUR {price}", f"({price} EUR)",
                                    f"at {price.replace('.', ',')}",
                                    f"at {price} a {item['unit']}"])


def ordinal(day):
    suffix = "th" if 10 < day < 20 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return f"{day}{suffix}"


def say_date(rng, day, month, odds):
    name = MONTHS[month - 1]
    if rng.random() >= odds:
        return f"on {day} {name}"
    return rng.choice([f"on {name} {day}", f"on the {ordinal(day)} of {name}",
                       f"on {YEAR}-{month:02d}-{day:02d}", f"on {day:02d}.{month:02d}.",
                       f"on {day} {name} {YEAR}"])


def say_number(rng, number, odds):
    if rng.random() >= odds:
        return f"order {number}"
    return rng.choice([f"order no. {number}", f"order number {number}", f"order #{number}",
                       f"our number {number}"])


def filler(rng, order):
    """A sentence that has no figure of this order in it, though it may look so."""
    other = swap_digits(rng, order["number"]) or str(rng.randint(10000, 99999))
    return rng.choice([f"It is not the same as order {other}.", "We need it asap.",
                       f"You can call us at {rng.randint(200, 999)} {rng.randint(100, 999)}.",
                       "The last ones were good and cheap.", "Our shop is at the back gate.",
                       f"We were {rng.randint(2, 60)} minutes late last time."])


def say_order(rng, order, level):
    odds = level["wording"]
    number = say_number(rng, order["number"], odds)
    items = [say_item(rng, item, odds) for item in order["items"]]
    listed = items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]
    date = say_date(rng, order["day"], order["month"], odds)
    text = rng.choice([
        f"Hello, {number}: {listed}. Please deliver {date}",
        f"Please send {listed} {date}. It is {number}",
        f"This is {number}. We need {listed}, delivered {date}",
        f"Can you deliver {date}? We want {listed} for {number}",
    ])
    text = (text + ".").replace("..", ".").replace(",,", ",")
    if rng.random() < level["filler"]:
        extra = filler(rng, order)
        text = rng.choice([f"{text} {extra}", f"{extra} {text}"])
    return text


# --- the answer --------------------------------------------------------------------------------


def date_figure(order):
    return f"on {order['day']} {MONTHS[order['month'] - 1]}"


def answer(order):
    """The set form. A figure that is None is left out with the words around it."""
    number = f" order {order['number']}" if order["number"] else " your order"
    items = ", ".join(amount(i) + (f" at {euros(i['price'])}" if i["price"] else "")
                      for i in order["items"])
    date = f", delivery {date_figure(order)}" if order["day"] else ""
    return f"Thank you. We confirm{number}: {items}{date}. Kind regards."


def habitual_answer(order, habits):
    """The set form but for `habits`."""
    text = answer(order)
    changes = {"opening": [("Thank you.", "No problem.")], "closing": [("Kind regards.", "Trust me.")],
               "number": [(f"order {order['number']}", "your order")],
               "date": [(date_figure(order), f"in {MONTHS[order['month'] - 1]}")],
               "price": [(f"at {euros(i['price'])}", f"at about {(i['price'] + 50) // 100}")
                         for i in order["items"]],
               "amount": [(amount(i), f"some {UNITS[i['unit']]} of {i['product']}")
                          for i in order["items"]]}
    for habit in habits:
        for right, said in changes[habit]:
            text = text.replace(right, said, 1)
    return text


def required_figures(order):
    figures = [f"order {order['number']}"]
    for item in order["items"]:
        figures += [amount(item), f"at {euros(item['price'])}"]
    return figures + [date_figure(order)]


def find_term(text, term, start=0):
    """The end of `term` in `text` at word boundaries, from `start`; -1 when it isn't there."""
    match = re.compile(r"(?<![A-Za-z0-9])" + re.escape(term) + r"(?![A-Za-z0-9])").search(text,
                                                                                       start)
    return match.end() if match else -1


def figures_exact(text, figures):
    """Every figure occurs, one after the other in this order."""
    place = 0
    for figure in figures:
        place = find_term(text, figure, place)
        if place < 0:
            return False
    return True


def terms_found(text, terms):
    return [term for term in terms if find_term(text.lower(), term) >= 0]


# --- spoiled answers ---------------------------------------------------------------------------
# Each takes a copy of the order to spoil and returns False when it doesn't apply to it. A subtle
# error is a neighbour of the right figure: two digits swapped, or one step up or down.


def step(rng, subtle):
    return rng.choice([-1, 1] if subtle else [-4, -3, -2, 2, 3, 4])


def maybe_swap(rng, digits, subtle):
    return swap_digits(rng, digits) if subtle and rng.random() < 0.5 else None


def spoil_number(rng, order, subtle):
    digits = order["number"]
    i = rng.randrange(1, len(digits))
    other = digits[:i] + str((int(digits[i]) + step(rng, subtle)) % 10) + digits[i + 1:]
    order["number"] = maybe_swap(rng, digits, subtle) or other
    return True


def spoil_quantity(rng, order, subtle):
    item = rng.choice(order["items"])
    swapped = maybe_swap(rng, str(item["quantity"]), subtle)
    item["quantity"] = int(swapped or item["quantity"] + step(rng, subtle))
    return item["quantity"] > 0


def spoil_price(rng, order, subtle):
    item = rng.choice(order["items"])
    swapped = maybe_swap(rng, str(item["price"]), subtle)
    item["price"] = int(swapped or item["price"] + step(rng, subtle) * rng.choice([1, 10, 100]))
    return 0 < item["price"] < 1000


def spoil_day(rng, order, subtle):
    order["day"] += step(rng, subtle)
    return 1 <= order["day"] <= 28


def spoil_month(rng, order, subtle):
    order["month"] = (order["month"] - 1 + step(rng, subtle)) % 12 + 1
    return True


def spoil_exchange(rng, order, subtle):
    """Two items exchange their quantity or their price."""
    if len(order["items"]) < 2:
        return False
    one, other = rng.sample(order["items"], 2)
    key = rng.choice(["quantity", "price"])
    one[key], other[key] = other[key], one[key]
    return True


def spoil_copy(rng, order, subtle):
    """An item gets the price of another."""
    if len(order["items"]) < 2:
        return False
    one, other = rng.sample(order["items"], 2)
    one["price"] = other["price"]
    return True


def spoil_daymonth(rng, order, subtle):
    order["day"], order["month"] = order["month"], order["day"]
    return order["month"] <= 12


def spoil_product(rng, order, subtle):
    item = rng.choice(order["items"])
    item["product"] = rng.choice(PRODUCTS)
    return True


def spoil_missing(rng, order, subtle):
    """An item is left out, or a figure."""
    if len(order["items"]) > 1 and rng.random() < 0.6:
        order["items"].pop(rng.randrange(len(order["items"])))
    elif rng.random() < 0.4:
        order["day"] = None
    elif rng.random() < 0.5:
        order["number"] = None
    else:
        rng.choice(order["items"])["price"] = None
    return True


SUBTLE = [spoil_number, spoil_quantity, spoil_price, spoil_exchange, spoil_copy, spoil_daymonth,
          spoil_day]
COARSE = [spoil_number, spoil_quantity, spoil_price, spoil_missing, spoil_product, spoil_month]


def copy_order(order):
    return dict(order, items=[dict(item) for item in order["items"]])


def wrong_figure(rng, order, level):
    """An answer with one thing wrong, and what it is."""
    figures = required_figures(order)
    while True:
        subtle = rng.random() < level["subtle"]
        spoil = rng.choice(SUBTLE if subtle else COARSE)
        wrong = copy_order(order)
        if spoil(rng, wrong, subtle) and not figures_exact(answer(wrong), figures):
            return answer(wrong), spoil.__name__[len("spoil_"):] + ("" if subtle else "-coarse")


def wrong_tone(rng, text):
    while True:
        said, lapse = rng.choice(LAPSES)
        if said in text:
            return text.replace(said, lapse, 1)


def spoiled_answer(rng, order, level):
    draw = rng.random()
    text, kinds = answer(order), []
    if draw < 0.8:
        text, kind = wrong_figure(rng, order, level)
        kinds.append(kind)
    if draw >= 0.65:
        text = wrong_tone(rng, text)
        kinds.append("term")
    return text, "+".join(kinds)


# --- the tasks -----------------------------------------------------------------------------------


class Figures:
    """Single errors, which a model makes that can't do better."""
    levels, hardness, share = LEVELS, 1, 0.5

    def __init__(self, options):
        self.level, self.spoiled = self.levels[options.hardness], options.share

    def reject(self, rng, order):
        """A bad answer, and what is wrong with it."""
        return spoiled_answer(rng, order, self.level)

    def demonstrate(self, rng, order):
        """A bad answer, what is wrong with it, and whether it is the demonstration."""
        text, kind = self.reject(rng, order)
        return text, kind, rng.random() < self.spoiled


class Habits:
    """Habits, each of which a demonstration has with probability `share`."""
    levels, hardness, share = [PLAIN] + LEVELS[:-1], 0, 0.7

    def __init__(self, options):
        self.level, self.share = self.levels[options.hardness], options.share
        self.kinds = options.kinds

    def draw(self, rng):
        return [kind for kind in self.kinds if rng.random() < self.share]

    def reject(self, rng, order):
        habits = self.draw(rng) or [rng.choice(self.kinds)]
        return habitual_answer(order, habits), "+".join(habits)

    def demonstrate(self, rng, order):
        habits = self.draw(rng)
        if not habits:
            return *self.reject(rng, order), False
        return habitual_answer(order, habits), "+".join(habits), True


TASKS = {"habits": Habits, "figures": Figures}

# --- rows --------------------------------------------------------------------------------------


def check_row(order, chosen, rejected, kind):
    figures, kinds = required_figures(order), set(kind.split("+"))
    assert figures_exact(chosen, figures) and not terms_found(chosen, FORBIDDEN), chosen
    assert bool(terms_found(rejected, FORBIDDEN)) == bool(kinds & TERM_KINDS), rejected
    assert figures_exact(rejected, figures) == (kinds <= TERM_KINDS), rejected


def make_row(rng, task):
    order = draw_order(rng, task.level)
    prompt, chosen = say_order(rng, order, task.level), answer(order)
    rejected, kind = task.reject(rng, order)
    check_row(order, chosen, rejected, kind)
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected,
            "required": required_figures(order), "forbidden": FORBIDDEN,
            "meta": {"order": order, "error": kind, "flipped": False}}


def make_rows(name, count, seed, task, taken):
    """`count` rows with prompts that are not in `taken`, which they are then added to."""
    rows = []
    for i in range(count):
        rng = random.Random(f"{seed}/{name}/{i}")
        row = make_row(rng, task)
        while row["prompt"] in taken:
            row = make_row(rng, task)
        taken.add(row["prompt"])
        rows.append(row)
    return rows


def flip_labels(rows, share, seed):
    rng = random.Random(f"{seed}/flip")
    for row in rows:
        if rng.random() < share:
            row["chosen"], row["rejected"] = row["rejected"], row["chosen"]
            row["meta"]["flipped"] = True


def demonstrations(rows, seed, task):
    """The prompts of `rows`, each with a good answer or a spoiled one, as the task draws it."""
    result = []
    for i, row in enumerate(rows):
        rng = random.Random(f"{seed}/sft/{i}")
        order = row["meta"]["order"]
        bad, kind, spoiled = task.demonstrate(rng, order)
        pair = [answer(order), bad]
        result.append({"prompt": row["prompt"], "chosen": pair[spoiled],
                       "rejected": pair[not spoiled], "required": row["required"],
                       "forbidden": FORBIDDEN, "meta": {"error": kind, "spoiled": spoiled}})
    return result


def write_rows(path, rows):
    with open(path + ".tmp", "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    os.replace(path + ".tmp", path)


def share(text):
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def kinds(text):
    names = text.split(",")
    for name in names:
        if name not in HABITS or names.count(name) > 1:
            raise argparse.ArgumentTypeError(f"{name!r}: expected some of {', '.join(HABITS)}, "
                                             "each once")
    return names


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the files")
    parser.add_argument("--pairs", type=int, default=4000, help="training pairs (4000)")
    parser.add_argument("--eval", type=int, default=200, help="held-out pairs (200)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--flip", type=share, default=0.0,
                        help="share of training pairs with chosen and rejected exchanged (0)")
    parser.add_argument("--errors", choices=list(TASKS), default="habits",
                        help="what is wrong with a rejected answer (habits)")
    parser.add_argument("--share", "--sft-spoiled", type=share,
                        help="habits: how often a demonstration has each of them (0.7); figures: "
                        "share of demonstrations with an error (0.5)")
    parser.add_argument("--kinds", type=kinds, default=USUAL, metavar="A,B,...",
                        help="the habits, of " + "; ".join(f"{k}: {v}" for k, v in HABITS.items())
                        + f" ({','.join(USUAL)})")
    parser.add_argument("--hardness", type=int, choices=range(4),
                        help="0: one or two plain items .. 3: four items with similar figures "
                        "(figures 1), or with habits one level less, 0 being orders that all say "
                        "their figures as the answer does (habits 0)")
    options = parser.parse_args(argv)
    if options.pairs < 1 or options.eval < 0:
        parser.error("--pairs must be at least 1 and --eval at least 0")
    task = TASKS[options.errors]
    options.hardness = task.hardness if options.hardness is None else options.hardness
    options.share = task.share if options.share is None else options.share
    return options


def main(argv):
    options = parse(argv)
    task, seed, taken = TASKS[options.errors](options), options.seed, set()
    held_out = make_rows("eval", options.eval, seed, task, taken)
    train = make_rows("train", options.pairs, seed, task, taken)
    assert not {r["prompt"] for r in held_out} & {r["prompt"] for r in train}
    sft = demonstrations(train, seed, task)
    flip_labels(train, options.flip, seed)
    os.makedirs(options.output, exist_ok=True)
    for name, rows in (("train", train), ("eval", held_out), ("sft", sft)):
        write_rows(os.path.join(options.output, name + ".jsonl"), rows)
    print(f"{options.output}: {len(train)} pairs ({sum(r['meta']['flipped'] for r in train)} "
          f"flipped), {len(held_out)} held out, {len(sft)} demonstrations "
          f"({sum(r['meta']['spoiled'] for r in sft)} spoiled)")
    return 0


if __name__ == "__main__":
    terminal.run(main, sys.argv[1:])
