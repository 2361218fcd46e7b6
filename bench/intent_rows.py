"""Synthetic requests of 15 intents of a bank, whose templates share words, for the benchmark of the training recipe.

Every intent speaks of cards, money, accounts and transfers, so that single words tell little. Some phrases occur only
in the test texts.
"""

import random
from dataclasses import dataclass

OPENERS = (
    "", "", "", "hi, ", "hello there, ", "please help: ", "quick question, ", "sorry to bother you but ",
    "good morning. ", "as I said on the phone, ", "third time I write: ",
)  # fmt: skip
CLOSERS = (
    "", "", "", " thanks", " please", ", can you help", ". it is urgent", ". I am at the airport",
    ". my account is the one with the card", ". I made a transfer last week", ". I have the app",
)  # fmt: skip
# The last two phrases of each intent are only in the test texts.
PHRASES: dict[str, tuple[str, ...]] = {
    "card_lost": (
        "I cannot find my card", "my card is gone", "I left my card in a shop", "my card is not in my wallet",
        "somebody may have my card", "I do not know where my card is", "my wallet with the card was stolen",
        "the card has disappeared since yesterday",
    ),
    "card_blocked": (
        "my card is blocked", "the card was refused after a wrong PIN", "the app says that my card is blocked",
        "why did you block my card", "unblock my card", "the machine kept saying that the card is locked",
        "I typed the PIN wrong three times and now the card does not work", "please make my card usable again",
    ),
    "card_new": (
        "I want a new card", "order a second card for my account", "can my wife get a card", "send me another card",
        "I would like a gold card", "how do I get a card for my account", "I need one more card for my son",
        "apply for a card with a picture",
    ),
    "card_delivery": (
        "my new card has not arrived", "when does my card come", "where is the card that I ordered",
        "how long does a card take in the post", "the card was sent two weeks ago and is not here",
        "is there a way to track my card", "still no card in the letter box", "has my card been posted yet",
    ),
    "pin_forgotten": (
        "I forgot my PIN", "I do not remember the PIN of my card", "send me the PIN again", "what is my PIN",
        "I lost the letter with the PIN", "how do I see my PIN in the app", "the number for my card escapes me",
        "show me the four digits of my card",
    ),
    "pin_change": (
        "I want to change my PIN", "set another PIN for my card", "how do I choose a PIN",
        "can I have a PIN that I can remember", "change the PIN at a machine", "the PIN of my card should be a new one",
        "pick different digits for my card", "I would like other four digits",
    ),
    "transfer_failed": (
        "my transfer did not go through", "the transfer was refused", "why was my payment returned to my account",
        "the app says that the transfer failed", "my money returned after the transfer",
        "I cannot send money to my landlord", "sending the rent ended with an error", "the payment bounced",
    ),
    "transfer_pending": (
        "my transfer has not arrived", "the transfer is still pending", "when does the money from my transfer arrive",
        "how long does a transfer take", "the shop did not get my transfer yet", "I sent money and it is not there",
        "my friend waits for the money that I sent", "two days and the payment is still on its way",
    ),
    "transfer_cancel": (
        "cancel my transfer", "I sent money to the wrong account", "stop the transfer that I just made",
        "I want the transfer back", "I typed a wrong amount in the transfer", "can I undo a payment",
        "take back the money that I sent", "recall yesterday's payment",
    ),
    "refund_missing": (
        "my refund has not arrived", "the shop says that it refunded me", "where is the money from my refund",
        "I returned the shoes and got no money", "a refund is not in my account", "the hotel paid back, I see nothing",
        "the seller gave the money back but my account is the same", "money for my returned order is missing",
    ),
    "refund_request": (
        "I want a refund", "how do I get my money back from a shop", "the goods never came, return my money",
        "ask the shop to pay me back", "I bought something broken and want my money", "dispute a card payment",
        "the shop does not answer and has my money", "charge back what I paid with the card",
    ),
    "charge_unknown": (
        "I do not know this payment", "there is a card payment that I did not make", "who took money from my account",
        "a shop that I never visited charged my card", "I see a strange transfer in my account",
        "somebody paid with my card", "an amount left my account and it was not me", "this purchase is not mine",
    ),
    "charge_twice": (
        "I was charged twice", "the shop took the money two times", "the same card payment is there twice",
        "a transfer was made double", "I paid once and see two payments", "my rent left my account twice",
        "one purchase, two amounts in my account", "the payment is doubled",
    ),
    "fee": (
        "why did I pay a fee", "what does a transfer cost", "you charged me for using my card abroad",
        "there is a fee in my account", "is there a fee for a new card", "what do you take for paying in dollars",
        "how much is it to get money at a machine", "the machine took two euros extra",
    ),
    "limit": (
        "raise the limit of my card", "how much can I transfer in a day", "my card has too low a limit",
        "what is the most that I can pay with my card", "I want to transfer more than the app lets me",
        "set a lower limit for my card", "I have to pay for a car and the amount is too high",
        "how much money can I get at a machine",
    ),
}  # fmt: skip
LABELS = tuple(PHRASES)
ONLY_TESTED = 2
INSTRUCTION = f"Name the intent of the customer's message. Answer with one of: {', '.join(LABELS)}."


@dataclass(frozen=True, slots=True)
class Text:
    """A customer's message, its intent, and the intent that its voter said."""

    text: str
    intent: str
    said: str
    user: str


def write_text(rng: random.Random, intent: str, *, tested: bool) -> str:
    """Return a message of an intent. `tested` messages may have phrases that no other message has."""
    phrases = PHRASES[intent] if tested else PHRASES[intent][:-ONLY_TESTED]
    text = rng.choice(OPENERS) + rng.choice(phrases) + rng.choice(CLOSERS)
    if rng.random() < 0.3:  # a second sentence that speaks of something else
        other = rng.choice(LABELS)
        text += f". last time it was: {rng.choice(PHRASES[other][:-ONLY_TESTED])}"
    return text


def learning_texts(seed: int, per_intent: int = 40, wrong: float = 0.05, users: int = 150) -> list[Text]:
    """Return messages with the intents that users said. A share of these is wrong."""
    rng = random.Random(f"learn:{seed}")
    found = []
    for intent in LABELS:
        for _ in range(per_intent):
            text = write_text(rng, intent, tested=False)
            said = rng.choice([label for label in LABELS if label != intent]) if rng.random() < wrong else intent
            found.append(Text(text, intent, said, f"u{rng.randrange(users)}"))
    rng.shuffle(found)
    return found


def other_texts(seed: int, count: int = 300) -> list[Text]:
    """Return messages of other users with their true intents."""
    rng = random.Random(f"test:{seed}")
    intents = [LABELS[n % len(LABELS)] for n in range(count)]
    return [Text(write_text(rng, intent, tested=True), intent, intent, "t") for intent in intents]
