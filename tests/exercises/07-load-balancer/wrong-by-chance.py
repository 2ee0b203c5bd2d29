# hint: the same back ends gave two different tables: two balancers, or one that was started again, would not agree
import random


def answer(names, size):
    table = [sorted(names)[slot % len(names)] for slot in range(size)]
    random.shuffle(table)
    return table
