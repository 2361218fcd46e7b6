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
The handle came off in my hand.
Cheap plastic, and it shows.
It leaks, and the shop refuses a refund.
I was disappointed from the first minute.
It arrived scratched and the replacement was worse.
Useless for what I need.
The battery is empty before lunch.
It hurts my back after an hour.
My old one was better in every way.
It feels flimsy and wobbles.
Twice the price of others and half as good.
The colour washed out at once.
It overheats, which scares me.
Do not believe the other reviews.
It took hours to set up and still fails.
The zip is stuck again.
I threw it away after a week.
A waste of time and space.
Customer service never called back.
I expected quality and got rubbish.
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
It is okay.
The size is as described.
It has two buttons and a cable.
I cannot say much about it yet.
Good idea, mediocre execution, fair price.
About what I expected.
It works, though others work as well.
I have seen better ones and worse ones.
It is made in Portugal and comes in blue.
The old model looked the same.
A normal product for normal use.
I might keep it, I might not.
It has been in the cupboard so far.
Three out of five.
Some like it, I am undecided.
It fits the cupboard where I keep it.
The manual has twelve pages.
Decent in summer, less so in winter.
It is a standard model with a standard plug.
It has the usual functions.
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
I love how light it is.
Best purchase of the year.
Sturdy, beautiful and worth every cent.
It works perfectly, even in the rain.
My sister bought one too.
So comfortable that I forget it is there.
It saves me an hour every week.
A brilliant design down to the last detail.
Faster and quieter than I dared to hope.
I smile each time I use it.
Excellent workmanship, no complaints at all.
It exceeded all my expectations.
Finally one that lasts.
The colours are gorgeous.
Happy with it from day one.
It solved a problem that I had for years.
Wonderful, and cheaper than in other shops.
It feels solid and precise.
My best choice in a long time.
Thank you for this fantastic product.
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
