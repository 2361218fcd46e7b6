"""Product reviews made from templates, each with the label that its author has in mind."""

import random

LABELS = ["negative", "neutral", "positive"]

PRODUCTS = """
kettle, backpack, desk lamp, keyboard, rain jacket, blender, phone case, office chair, tent, toaster, headset,
water bottle, wall clock, bike light, garden hose, notebook
"""
OPENINGS = """
Bought the {product} last month.
My {product} came on Tuesday.
This is my second {product} from this shop.
I ordered a {product} for my sister.
We use the {product} every day.
The {product} replaced an older one.
About the {product}:
Three weeks with this {product}.
"""
NEGATIVE = """
It stopped working after two days.
One part was missing and nobody answers my mails.
It smells of glue and I sent it back.
I regret spending the money.
It broke the first time I used it.
It is far too loud to be usable.
The photos promised much more than this.
I had to repair it twice already.
Nothing fits and the instructions are wrong.
Save your money and look elsewhere.
"""
NEUTRAL = """
It does what it says, no more.
It is neither better nor worse than the one before.
The colour is grey and it weighs one kilo.
I have no strong feelings about it.
Some things are fine and some are not.
It is average for the price.
It arrived in a brown box with a manual.
I use it now and then.
It is acceptable for occasional use.
Not special, and nothing to complain about.
"""
POSITIVE = """
I would buy it again at once.
It still looks new and runs quietly.
The whole family is delighted with it.
Set up in a minute and it never failed.
Exactly what I was hoping for.
It made my mornings so much easier.
Great value, and support answered within the hour.
I recommend it to all my friends.
The quality surprised me in the best way.
Five stars, it is a pleasure to use.
"""
DETAILS = """
Delivery took four days.
The box was large.
I paid with a voucher.
It comes in two sizes.
"""


def _lines(text: str) -> list[str]:
    return text.strip().splitlines()


OPINIONS = {"negative": _lines(NEGATIVE), "neutral": _lines(NEUTRAL), "positive": _lines(POSITIVE)}
PRODUCT_NAMES = [name.strip() for name in PRODUCTS.split(",")]


def write_review(user: int, number: int) -> tuple[str, str]:
    """Return a review and its label. The same arguments always give the same review."""
    draw = random.Random(f"{user}:{number}")
    label = draw.choice(LABELS)
    parts = [draw.choice(_lines(OPENINGS)).format(product=draw.choice(PRODUCT_NAMES)), draw.choice(OPINIONS[label])]
    if draw.random() < 0.6:
        parts.append(draw.choice(_lines(DETAILS)))
    return " ".join(parts), label
