"""The file `ledger.head` next to the store: the number and the hash of the ledger's newest row."""

from core import chain_head
from core.chain_head import HeadFile
from core.db import decisions

FILE = "ledger.head"
LEDGER = HeadFile(FILE, "ledger", decisions.head, lambda db, seq: decisions.hash_at(db, seq=seq))

read, write = chain_head.read, chain_head.write
beside, record, fault_of = LEDGER.beside, LEDGER.record, LEDGER.fault_of
verified, begin = LEDGER.verified, LEDGER.begin
