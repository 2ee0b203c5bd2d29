# hint: connections of back ends that stayed were moved when another went: a table by number modulo count moves half of them or more; let each name choose its own slots
def answer(names, size):
    names = sorted(names)
    return [names[slot % len(names)] for slot in range(size)]
